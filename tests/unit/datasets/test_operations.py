"""Operations write new versions with their recipe; the source is never touched."""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import UTC, datetime

import orjson
import pytest

from backprop_core.datasets.convert import convert
from backprop_core.datasets.duplicates import can_find_near
from backprop_core.datasets.operations import (
    OPERATIONS,
    Convert,
    Curriculum,
    Dedupe,
    Filter,
    Sample,
    Split,
    operation_from,
    parameters_of,
    run,
)
from backprop_core.datasets.readers import read_rows
from backprop_core.datasets.versions import apply, list_versions, next_version, read_recipe, repeat
from backprop_core.errors import InputError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def write(tmp_path, rows, name="talks.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made(tmp_path, operation, rows):
    source = write(tmp_path, rows)
    version = apply(operation, source, next_version(source, tmp_path), now=NOW)
    return [json.loads(line) for line in version.path.read_text().splitlines()]


def qa(question: str, answer: str) -> dict[str, str]:
    return {"prompt": question, "completion": answer}


ROWS = [qa(f"Question {number}?", "word " * (number % 5 + 1)) for number in range(20)]


def test_a_version_has_a_number_a_recipe_and_leaves_its_source_alone(tmp_path):
    source = write(tmp_path, ROWS)
    before = source.read_bytes()

    version = apply(Sample(rows=3, seed=1), source, next_version(source, tmp_path), now=NOW)

    assert version.path.name == "talks.v2.jsonl"
    assert source.read_bytes() == before
    assert version.recipe == read_recipe(version.path)
    assert version.recipe is not None
    assert version.recipe.operation == "sample"
    assert version.recipe.parameters == {"rows": 3, "seed": 1}
    assert version.recipe.source == "talks.jsonl"
    assert version.recipe.source_sha256 == hashlib.sha256(before).hexdigest()
    assert version.recipe.sha256 == hashlib.sha256(version.path.read_bytes()).hexdigest()
    assert version.recipe.rows == 3
    assert version.recipe.made_at == "2026-03-01T12:00:00+00:00"


def test_versions_are_counted_on_and_listed_oldest_first(tmp_path):
    source = write(tmp_path, ROWS)
    second = apply(Sample(rows=9), source, next_version(source, tmp_path), now=NOW)
    third = apply(Sample(rows=3), second.path, next_version(second.path, tmp_path), now=NOW)
    write(tmp_path, ROWS, "other.jsonl")

    listed = list_versions(third.path, tmp_path)

    assert [version.path.name for version in listed] == ["talks.jsonl", "talks.v2.jsonl", "talks.v3.jsonl"]
    assert [version.recipe is None for version in listed] == [True, False, False]


def test_a_version_is_never_overwritten(tmp_path):
    source = write(tmp_path, ROWS)
    target = next_version(source, tmp_path)
    apply(Sample(rows=3), source, target, now=NOW)

    with pytest.raises(InputError, match="never overwritten"):
        apply(Sample(rows=4), source, target, now=NOW)


def test_an_operation_that_leaves_no_row_leaves_no_file(tmp_path):
    source = write(tmp_path, ROWS)

    with pytest.raises(InputError, match="No row"):
        apply(Filter(min_chars=10_000), source, next_version(source, tmp_path), now=NOW)

    assert [path.name for path in tmp_path.glob("talks*")] == ["talks.jsonl"]


def test_a_recipe_can_be_followed_again(tmp_path):
    source = write(tmp_path, ROWS)
    first = apply(Sample(rows=5, seed=3), source, tmp_path / "a.jsonl", now=NOW)
    assert first.recipe is not None

    again = repeat(first.recipe, source, tmp_path / "b.jsonl", now=NOW)

    assert again.path.read_bytes() == first.path.read_bytes()


@pytest.mark.parametrize(
    ("operation", "kept"),
    [
        (Filter(min_chars=7), ["bb cccc"]),
        (Filter(max_chars=6), ["a bb"]),
        (Filter(min_turns=3), []),
        (Filter(max_turns=2), ["a bb", "bb cccc"]),
    ],
)
def test_rows_are_filtered_by_length_and_turns(tmp_path, operation, kept):
    rows = [qa("a", "bb"), qa("bb", "cccc"), {"prompt": "x", "completion": None}]
    if not kept:
        with pytest.raises(InputError):
            made(tmp_path, operation, rows)
        return

    assert [f"{row['prompt']} {row['completion']}" for row in made(tmp_path, operation, rows)] == kept


def test_rows_that_cannot_be_used_can_be_kept(tmp_path):
    rows = [qa("a", "bb"), {"prompt": "x", "completion": None}]

    assert made(tmp_path, Filter(usable_only=False), rows) == rows


@pytest.mark.parametrize(
    ("operation", "kept"),
    [(Filter(matching=r"\bcat\b"), ["a cat"]), (Filter(not_matching="(?i)CAT"), ["a dog"])],
)
def test_rows_are_filtered_by_regular_expressions(tmp_path, operation, kept):
    rows = [qa("Q", "a cat"), qa("Q", "a dog")]

    assert [row["completion"] for row in made(tmp_path, operation, rows)] == kept


@pytest.mark.skipif(not can_find_near(), reason="needs the extra `validation`")
def test_of_equal_and_nearly_equal_rows_the_first_is_kept(tmp_path):
    long = " ".join(
        f"in the year {year} the river rose again and the bridge held" for year in range(1900, 1920)
    )
    rows = [qa("Q", long), qa("q!", long), qa("Q", long.replace("1910", "2010")), qa("Other", "thing")]

    assert made(tmp_path, Dedupe(), rows) == [rows[0], rows[3]]


def test_only_equal_rows_go_when_nearness_is_off(tmp_path):
    rows = [qa("Q", "A"), qa("q?", "a."), qa("Q", "B")]

    assert made(tmp_path, Dedupe(near=False), rows) == [rows[0], rows[2]]


@pytest.mark.parametrize(("order", "expected"), [("short_first", [1, 1, 2, 3]), ("long_first", [3, 2, 1, 1])])
def test_a_curriculum_orders_by_length_and_keeps_equal_ones_in_order(tmp_path, order, expected):
    rows = [qa("q", "xxx"), qa("q", "x"), qa("q", "xx"), qa("q", "y")]

    found = made(tmp_path, Curriculum(order), rows)

    assert [len(row["completion"]) for row in found] == expected
    assert [row["completion"] for row in found if len(row["completion"]) == 1] == ["x", "y"]


def test_a_sample_is_the_same_for_the_same_seed_and_keeps_the_order(tmp_path):
    first = made(tmp_path, Sample(rows=7, seed=5), ROWS)
    second = made(tmp_path, Sample(rows=7, seed=5), ROWS)
    other = made(tmp_path, Sample(rows=7, seed=6), ROWS)

    assert first == second != other
    assert [ROWS.index(row) for row in first] == sorted(ROWS.index(row) for row in first)
    assert len(first) == 7


def test_the_parts_of_a_split_share_no_row_and_no_question(tmp_path):
    rows = [*ROWS, qa("question 3", "again"), qa("Question 3!", "and again")]

    train = made(tmp_path, Split(share=0.3, seed=2), rows)
    heldout = made(tmp_path, Split(share=0.3, seed=2, part="heldout"), rows)

    assert sorted(map(json.dumps, train + heldout)) == sorted(map(json.dumps, rows))
    questions = [{row["prompt"].lower().strip("?!") for row in part} for part in (train, heldout)]
    assert not questions[0] & questions[1]
    assert 5 <= len(heldout) <= 9


def test_a_file_of_one_question_cannot_be_split(tmp_path):
    with pytest.raises(InputError, match="too few different questions"):
        made(tmp_path, Split(), [qa("Q", "a"), qa("Q", "b")])


CHAT = {
    "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Rain?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "type": "function",
                    "id": "c1",
                    "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                }
            ],
        },
        {"role": "tool", "content": "dry", "tool_call_id": "c1"},
        {"role": "assistant", "content": "No.", "weight": 0},
    ],
    "tools": [{"type": "function", "function": {"name": "weather"}}],
}


def test_conversion_to_openai_loses_nothing(tmp_path):
    [row] = made(tmp_path, Convert("openai"), [CHAT])

    assert convert(row, 1) == convert(CHAT, 1)
    assert row == CHAT


def test_conversion_to_sharegpt_keeps_turns_calls_and_tools(tmp_path):
    [row] = made(tmp_path, Convert("sharegpt"), [CHAT])

    assert [turn["from"] for turn in row["conversations"]] == [
        "system",
        "human",
        "gpt",
        "function_call",
        "tool",
        "gpt",
    ]
    assert row["tools"] == CHAT["tools"]


def test_formula_cells_of_a_csv_file_are_made_harmless(tmp_path):
    source = write(tmp_path, [qa("=1+1", "@SUM(A1)"), qa("-2", 'fine, "quoted"\nline')])

    version = apply(Convert("csv"), source, tmp_path / "out.csv", now=NOW)

    with version.path.open(newline="") as stream:
        cells = list(csv.reader(stream))
    assert cells == [["prompt", "completion"], ["'=1+1", "'@SUM(A1)"], ["'-2", 'fine, "quoted"\nline']]
    assert version.recipe is not None
    assert version.recipe.rows == 2
    assert len(list(read_rows(version.path))) == 2


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("shrink", {}, "not an operation"),
        ("sample", {"row": 5}, "no parameter 'row'"),
        ("sample", {"rows": 0}, "must be 1 or more"),
        ("split", {"share": 1.0}, "above 0 and below 1"),
        ("dedupe", {"threshold": 0.1}, "from 0.5 to 1"),
        ("filter", {"matching": "("}, "not a regular expression"),
    ],
)
def test_a_wrong_name_or_value_is_refused(name, parameters, reason):
    with pytest.raises(InputError, match=reason) as caught:
        operation_from(name, parameters)

    assert caught.value.code == "INPUT_VALIDATION_FAILED"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_comes_back_from_its_own_parameters(name):
    operation = OPERATIONS[name]()

    assert operation_from(name, json.loads(json.dumps(parameters_of(operation)))) == operation


def test_columns_named_by_hand_become_turns_and_stay_in_the_recipe(tmp_path):
    source = tmp_path / "odd.jsonl"
    source.write_bytes(b'{"frage": "Hi", "antwort": "Hello!", "rest": 1}\n')

    version = apply(
        Convert("openai", prompt="frage", completion="antwort"), source, tmp_path / "odd.v2.jsonl", now=NOW
    )

    assert orjson.loads(version.path.read_bytes()) == {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    }
    assert version.recipe.parameters["prompt"] == "frage"


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (Convert(prompt="frage"), "Both a column of questions and one of answers must be named."),
        (Convert(text="frage", chat="antwort"), "Name a pair of columns"),
        (Convert(text="nope"), "'odd.jsonl' has no column 'nope'."),
    ],
)
def test_columns_that_cannot_be_are_refused(tmp_path, operation, words):
    source = tmp_path / "odd.jsonl"
    source.write_bytes(b'{"frage": "Hi", "antwort": "Hello!"}\n')

    with pytest.raises(InputError, match=words):
        list(run(operation, source))
