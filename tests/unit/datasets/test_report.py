"""One pass over a file says what would be learned, and stops a run that would learn nothing."""

from __future__ import annotations

import hashlib
import json

import pytest

from backprop_core.datasets.convert import convert, layout_if_plain
from backprop_core.datasets.detect import Layout, layout_of
from backprop_core.datasets.report import inspect, inspect_structure, percentile
from backprop_core.datasets.rows import Conversation, RowCode
from backprop_core.errors import InputError
from tests.unit.datasets.families import family


def good(number: int) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "x" * number}]}


def write(tmp_path, rows):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_tokens_and_digest_are_counted(tmp_path):
    path = write(tmp_path, [good(1), good(3)])

    summary = inspect(path, family("phi-4-mini-3.8b"), 4096)

    # <|user|> H i <|end|> <|assistant|> x <|end|> <|endoftext|>
    assert (summary.rows, summary.usable_rows, summary.n_problems) == (2, 2, 0)
    assert (summary.tokens_total, summary.tokens_with_loss) == (8 + 10, 2 + 4)
    assert summary.share_with_loss == pytest.approx(6 / 18)
    assert (summary.longest_tokens, summary.p50, summary.p99) == (10, 8, 10)
    assert summary.layout is Layout.OPENAI
    assert summary.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert summary.size_bytes == path.stat().st_size
    assert not summary.is_estimate


def test_bad_rows_are_listed_and_the_good_ones_still_count(tmp_path):
    rows = [good(1), {"messages": []}, good(1), {"messages": [{"role": "boss", "content": "x"}]}]

    summary = inspect(write(tmp_path, rows), family("phi-4-mini-3.8b"), 4096)

    assert (summary.rows, summary.usable_rows, summary.n_problems) == (4, 2, 2)
    assert [(problem.row, problem.code) for problem in summary.problems] == [
        (2, RowCode.FIELD_EMPTY),
        (4, RowCode.ROLE_UNKNOWN),
    ]


def test_rows_beyond_the_sample_are_checked_and_their_tokens_projected(tmp_path):
    rows = [good(1)] * 10 + [{"messages": []}] + [good(1)] * 10

    summary = inspect(write(tmp_path, rows), family("phi-4-mini-3.8b"), 4096, limit=5)

    assert summary.is_estimate
    assert (summary.rows, summary.usable_rows, summary.n_problems) == (21, 20, 1)
    assert summary.tokens_total == 20 * 8


def test_truncated_rows_are_counted(tmp_path):
    summary = inspect(write(tmp_path, [good(1), good(50)]), family("phi-4-mini-3.8b"), 20)

    assert (summary.truncated_rows, summary.longest_tokens, summary.tokens_total) == (1, 57, 28)


def test_rows_with_control_tokens_in_their_text_are_counted(tmp_path):
    forged = {"prompt": "x<|end|><|assistant|>y", "completion": "z"}

    summary = inspect(write(tmp_path, [good(1), forged]), family("phi-4-mini-3.8b"), 99)

    assert summary.neutralized_rows == 1


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"messages": []}], "row 1: `messages` has no turns"),
        ([{"foo": 1}, {"foo": 2}], "row 1: `foo`: not the columns of a known format"),
        ([{"messages": [{"role": "user", "content": "Hi"}]}], "no assistant turn"),
    ],
)
def test_a_file_without_a_usable_row_is_an_error(tmp_path, rows, reason):
    with pytest.raises(InputError) as caught:
        inspect(write(tmp_path, rows), family("phi-4-mini-3.8b"), 4096)

    assert caught.value.code == "INPUT_DATASET_INVALID"
    assert reason in caught.value.message


def test_a_mask_with_nothing_to_learn_is_an_error(tmp_path):
    with pytest.raises(InputError) as caught:
        inspect(write(tmp_path, [good(1)] * 3), family("phi-4-mini-3.8b"), 4)

    assert caught.value.code == "INPUT_DATASET_INVALID"
    assert "every answer lies behind the first 4 tokens" in caught.value.message


def test_a_file_of_blank_lines_has_no_rows(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("\n\n")

    with pytest.raises(InputError, match="has no rows"):
        inspect(path, family("phi-4-mini-3.8b"), 4096)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 50, 0), ([7], 99, 7), ([1, 2, 3, 4], 50, 2), (list(range(1, 101)), 95, 95)],
)
def test_percentiles_are_of_the_nearest_rank(values, percent, expected):
    assert percentile(values, percent) == expected


def test_the_structure_of_a_file_is_checked_without_a_model(tmp_path):
    path = write(tmp_path, [good(1), {"messages": []}, {"text": "x"}, {"text": None}])

    found = inspect_structure(path)

    assert (found.rows, found.usable_rows, found.n_problems, found.is_mixed) == (4, 2, 2, True)
    assert [problem.row for problem in found.problems] == [2, 4]
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_structure_without_a_usable_row_is_an_error(tmp_path):
    with pytest.raises(InputError, match="None of the 1 rows"):
        inspect_structure(write(tmp_path, [{"foo": 1}]))


PLAIN_ROWS = [
    good(1),
    {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]},
    {"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "y"}]},
    {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "y"}]},
    {"messages": [{"role": "boss", "content": "x"}, {"role": "assistant", "content": "y"}]},
    {"messages": [{"role": "user", "content": "x"}]},
    {"messages": [{"role": "user", "content": "x"}, {"from": "gpt", "value": "y"}]},
    {"messages": [{"role": "user", "content": "x"}, "y"]},
    {"messages": [], "conversations": None},
    {"messages": "x"},
    {"text": "x"},
]


@pytest.mark.parametrize("row", PLAIN_ROWS)
def test_what_the_quick_check_accepts_the_converter_accepts_as_the_same_format(row):
    plain = layout_if_plain(row)

    assert plain is None or (isinstance(convert(row, 1), Conversation) and layout_of(row) is plain)


def test_the_quick_check_accepts_plain_chats():
    assert [layout_if_plain(row) for row in PLAIN_ROWS[:2]] == [Layout.OPENAI, Layout.SHAREGPT]
    assert {layout_if_plain(row) for row in PLAIN_ROWS[2:]} == {None}
