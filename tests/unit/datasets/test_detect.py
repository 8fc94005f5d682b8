"""The format of a file is judged by many rows, with a confidence and a reason."""

from __future__ import annotations

import pytest

from backprop_core.datasets.detect import Detection, Layout, detect, layout_of


@pytest.mark.parametrize(
    ("row", "layout"),
    [
        ({"conversations": [{"from": "human", "value": "x"}]}, Layout.SHAREGPT),
        ({"conversations": [{"role": "user", "content": "x"}]}, Layout.OPENAI),
        ({"messages": [{"role": "user", "content": "x"}]}, Layout.OPENAI),
        ({"messages": [{"from": "human", "value": "x"}]}, Layout.SHAREGPT),
        ({"messages": None}, Layout.OPENAI),
        ({"instruction": "x", "input": "", "output": "y"}, Layout.ALPACA),
        ({"prompt": "x", "completion": "y"}, Layout.PROMPT_COMPLETION),
        ({"question": "x", "answer": "y"}, Layout.QUESTION_ANSWER),
        ({"text": "x"}, Layout.TEXT),
        ({"foo": "x"}, Layout.UNKNOWN),
        ({}, Layout.UNKNOWN),
    ],
)
def test_one_row_is_judged_by_its_columns(row, layout):
    assert layout_of(row) is layout


def test_rows_of_one_format_give_full_confidence():
    assert detect([{"text": "x"}] * 3) == Detection(
        Layout.TEXT, 1.0, "3 of 3 rows are raw text", ((Layout.TEXT, 3),), is_mixed=False
    )


def test_a_mixed_file_names_every_format_with_its_count():
    found = detect([{"text": "x"}] * 3 + [{"question": "x", "answer": "y"}])

    assert (found.layout, found.confidence, found.is_mixed) == (Layout.TEXT, 0.75, True)
    assert found.reason == "3 of 4 rows are raw text; the others: 1 question and answer"


def test_unknown_rows_do_not_outvote_known_ones():
    found = detect([{"foo": 1}] * 5 + [{"text": "x"}])

    assert (found.layout, found.is_mixed) == (Layout.TEXT, False)
    assert found.confidence == pytest.approx(1 / 6)


def test_only_unknown_rows_give_no_confidence():
    assert detect([{"foo": 1}]).reason == "none of 1 rows has columns of a known format"


def test_no_rows_are_of_no_format():
    assert detect([]) == Detection(Layout.UNKNOWN, 0.0, "no row could be read", (), is_mixed=False)
