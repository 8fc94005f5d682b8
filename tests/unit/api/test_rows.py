from __future__ import annotations

import json
from pathlib import Path

import pytest

from backprop_core.errors import InputError
from backpropagate.rows import DataFile, data_file

ROWS = [{"messages": [{"role": "user", "content": "Hé"}, {"role": "assistant", "content": "Ja"}]}]


def test_a_path_is_taken_as_it_is(tmp_path):
    assert data_file("some/rows.jsonl", tmp_path) == DataFile(Path("some/rows.jsonl"))
    assert list(tmp_path.iterdir()) == []


def test_rows_are_written_below_the_output_folder(tmp_path):
    path = data_file(ROWS, tmp_path / "out").path
    assert path.parent == tmp_path / "out" / "data"
    assert [json.loads(line) for line in path.read_text().splitlines()] == ROWS


def test_the_same_rows_are_the_same_file(tmp_path):
    first = data_file(ROWS, tmp_path)
    assert data_file([dict(row) for row in ROWS], tmp_path) == DataFile(first.path)


def test_other_rows_are_another_file(tmp_path):
    assert data_file(ROWS, tmp_path).path != data_file(ROWS * 2, tmp_path).path


def test_a_dataset_of_the_library_is_rows_too(tmp_path):
    datasets = pytest.importorskip("datasets")
    data = data_file(datasets.Dataset.from_list([{"text": "one"}, {"text": "two"}]), tmp_path)
    assert [json.loads(line) for line in data.path.read_text().splitlines()] == [
        {"text": "one"},
        {"text": "two"},
    ]


def test_discarded_rows_leave_no_folder_behind(tmp_path):
    data_file(ROWS, tmp_path / "new" / "out").discard()
    assert list(tmp_path.iterdir()) == []


def test_discarding_rows_keeps_what_was_there_before(tmp_path):
    first = data_file(ROWS, tmp_path / "out")
    data_file(ROWS * 2, tmp_path / "out").discard()
    data_file(ROWS, tmp_path / "out").discard()
    assert list((tmp_path / "out").rglob("*.jsonl")) == [first.path]


def test_an_output_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError) as caught:
        data_file(ROWS, tmp_path / "out")
    assert caught.value.code == "INPUT_OUTPUT_DIR_NOT_OURS"


@pytest.mark.parametrize(
    ("dataset", "code"),
    [
        ([], "INPUT_DATASET_INVALID"),
        (["text"], "INPUT_DATASET_PARSE_FAILED"),
        ([{"x": object()}], "INPUT_DATASET_PARSE_FAILED"),
        ([{1: "x"}], "INPUT_DATASET_PARSE_FAILED"),
        (42, "INPUT_DATASET_FORMAT_UNSUPPORTED"),
        ({"text": "x"}, "INPUT_DATASET_FORMAT_UNSUPPORTED"),
    ],
)
def test_what_is_no_rows_is_refused_and_nothing_is_written(tmp_path, dataset, code):
    with pytest.raises(InputError) as caught:
        data_file(dataset, tmp_path)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []
