"""An encoded file is kept under everything that decides over it, and taken from there."""

from __future__ import annotations

import json

import pytest

from backprop_core.datasets import cache as cache_module
from backprop_core.datasets.cache import EncodeChoices, encode_file
from backprop_core.datasets.convert import convert
from backprop_core.datasets.mask import encode
from backprop_core.datasets.rows import Conversation, RowCode
from backprop_core.errors import InputError
from tests.unit.datasets.families import SMOLLM2_SHAPE, family

ROWS = [{"prompt": f"Question {number}", "completion": "word " * (number + 1)} for number in range(12)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "{broken\n" + '{"prompt": "x"}\n')
    return path


def test_sequences_are_those_of_encode(path):
    tokenizer = family("smollm2-135m")

    found = encode_file(path, tokenizer, EncodeChoices(60))

    assert len(found) == 12
    for number, (row, (ids, mask)) in enumerate(zip(ROWS, found.sequences(), strict=True), 1):
        conversation = convert(row, number)
        assert isinstance(conversation, Conversation)
        expected = encode(conversation, tokenizer, 60)
        assert ids.tolist() == expected.input_ids
        assert mask.tolist() == expected.labels_mask
    assert found.rows.tolist() == list(range(1, 13))
    assert [(problem.row, problem.code) for problem in found.problems] == [
        (13, RowCode.NOT_JSON),
        (14, RowCode.LAYOUT_UNKNOWN),
    ]


def test_the_second_time_nothing_is_tokenized(path, tmp_path, monkeypatch):
    tokenizer = family("smollm2-135m")
    first = encode_file(path, tokenizer, EncodeChoices(60), cache=tmp_path / "cache")
    monkeypatch.setattr(cache_module, "encode_many", None)

    second = encode_file(path, tokenizer, EncodeChoices(60), cache=tmp_path / "cache")

    assert (first.was_cached, second.was_cached) == (False, True)
    assert second.ids.tolist() == first.ids.tolist()
    assert second.mask.tolist() == first.mask.tolist()
    assert second.starts.tolist() == first.starts.tolist()
    assert second.truncated.tolist() == first.truncated.tolist()
    assert (second.problems, second.sha256) == (first.problems, first.sha256)


@pytest.mark.parametrize(
    "choices",
    [
        EncodeChoices(61),
        EncodeChoices(60, train_on_responses=False),
        EncodeChoices(60, overlength="drop"),
        EncodeChoices(60, samples=3),
    ],
)
def test_another_choice_is_encoded_anew(path, tmp_path, choices):
    tokenizer = family("smollm2-135m")
    encode_file(path, tokenizer, EncodeChoices(60), cache=tmp_path / "cache")

    assert not encode_file(path, tokenizer, choices, cache=tmp_path / "cache").was_cached


def test_another_file_template_or_setting_is_encoded_anew(path, tmp_path):
    cache = tmp_path / "cache"
    encode_file(path, family("smollm2-135m"), EncodeChoices(60), cache=cache)
    others = [
        family("smollm2-135m", template=SMOLLM2_SHAPE + " "),
        family("smollm2-135m", enable_thinking=True),
        family("phi-4-mini-3.8b"),
    ]

    assert not any(encode_file(path, other, EncodeChoices(60), cache=cache).was_cached for other in others)
    path.write_text(json.dumps(ROWS[0]) + "\n")
    assert not encode_file(path, family("smollm2-135m"), EncodeChoices(60), cache=cache).was_cached


def test_a_damaged_cache_is_written_anew(path, tmp_path):
    cache = tmp_path / "cache"
    encode_file(path, family("smollm2-135m"), EncodeChoices(60), cache=cache)
    [kept] = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])

    assert not encode_file(path, family("smollm2-135m"), EncodeChoices(60), cache=cache).was_cached
    assert encode_file(path, family("smollm2-135m"), EncodeChoices(60), cache=cache).was_cached


def test_only_the_asked_for_samples_are_taken_but_the_digest_is_of_the_whole_file(path):
    tokenizer = family("smollm2-135m")

    part = encode_file(path, tokenizer, EncodeChoices(60, samples=2))

    assert part.rows.tolist() == [1, 2]
    assert part.sha256 == encode_file(path, tokenizer, EncodeChoices(60)).sha256


def test_progress_counts_rows(path):
    seen: list[int] = []

    encode_file(path, family("smollm2-135m"), EncodeChoices(60), progress=seen.append)

    assert seen == [12]


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(InputError) as caught:
        encode_file(
            tmp_path / "no.jsonl", family("smollm2-135m"), EncodeChoices(60), cache=tmp_path / "cache"
        )

    assert caught.value.code == "INPUT_DATASET_NOT_FOUND"
