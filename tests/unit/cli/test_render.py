from __future__ import annotations

import json
import math

from backprop_core.units import sparkline
from backpropagate.cli.render import bar, put_json, shown, table


def test_columns_are_aligned_and_no_cell_is_cut_on_a_pipe(capsys):
    table(("ID", "LOSS"), [("a" * 120, "1.5"), ("b", "10.25")], numbers=("LOSS",))
    assert capsys.readouterr().out.splitlines() == [
        f"ID{' ' * 118}   LOSS",
        f"{'a' * 120}    1.5",
        f"b{' ' * 119}  10.25",
    ]


def test_wide_characters_keep_the_columns_aligned(capsys):
    table(("NAME", "N"), [("日本", "1"), ("abcd", "2")])
    assert capsys.readouterr().out.splitlines() == ["NAME  N", "日本  1", "abcd  2"]


def test_text_that_looks_like_markup_stays_text(capsys):
    table(("NAME",), [("[red]x[/red]",)])
    assert capsys.readouterr().out.splitlines()[1] == "[red]x[/red]"


def test_json_carries_its_schema_version(capsys):
    put_json("runs", [])
    assert json.loads(capsys.readouterr().out) == {"schema_version": 1, "runs": []}


def test_a_sparkline_runs_from_lowest_to_highest():
    assert sparkline([4.0, 3.0, 2.0, 1.0]) == "█▆▃▁"


def test_a_sparkline_leaves_out_what_is_no_number():
    assert sparkline([2.0, math.nan, 1.0]) == "█▁"


def test_one_value_is_no_sparkline():
    assert sparkline([1.0]) == ""


def test_a_flat_line_is_flat():
    assert sparkline([1.0, 1.0, 1.0]) == "▁▁▁"


def test_a_bar_never_leaves_its_cells():
    assert (bar(0.5, 4), bar(7, 4), bar(-1, 4)) == ("██░░", "████", "░░░░")


def test_values_are_shown_as_a_user_types_them():
    assert [shown(value) for value in (None, True, False, 0.5, "auto")] == ["–", "on", "off", "0.5", "auto"]
