"""JSONL files of every kind are read in bounded memory; what cannot be read is named by its row."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from backprop_core.datasets.readers import RowReader, read_rows
from backprop_core.datasets.rows import RawRow, RowCode, RowProblem
from backprop_core.datasets.source import Limits
from backprop_core.errors import InputError


def rows_of(tmp_path, data: bytes, *, name: str = "data.jsonl", limits: Limits | None = None):
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_rows(path, limits=limits or Limits()))


def codes_of(rows) -> dict[int, str]:
    return {row.row: row.code for row in rows if isinstance(row, RowProblem)}


def values_of(rows) -> dict[int, object]:
    return {row.row: row.value for row in rows if isinstance(row, RawRow)}


def test_rows_are_numbered_by_line_and_blank_lines_are_passed_over(tmp_path):
    rows = rows_of(tmp_path, b'{"a": 1}\n\n  \n{"a": 4}')

    assert values_of(rows) == {1: {"a": 1}, 4: {"a": 4}}
    assert codes_of(rows) == {}


@pytest.mark.parametrize(
    "data",
    [
        '{"a": "ü"}\r\n{"a": "2"}\r\n'.encode(),
        b"\xef\xbb\xbf" + '{"a": "ü"}\n{"a": "2"}'.encode(),
        '{"a": "ü"}\n{"a": "2"}\n'.encode("utf-16"),
        '{"a": "ü"}\n{"a": "2"}\n'.encode("utf-16-le"),
        '{"a": "ü"}\n{"a": "2"}\n'.encode("utf-16-be"),
        '{"a": "ü"}\n{"a": "2"}\n'.encode("utf-32"),
    ],
    ids=["crlf", "utf8-bom", "utf16-bom", "utf16-le", "utf16-be", "utf32"],
)
def test_encodings_and_line_ends_are_recognised(tmp_path, data):
    assert values_of(rows_of(tmp_path, data)) == {1: {"a": "ü"}, 2: {"a": "2"}}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"a": NaN}', RowCode.NOT_JSON),
        (b'{"a": "\\ud800"}', RowCode.NOT_JSON),
        (b'{"a": "\x00"}', RowCode.NOT_JSON),
        (b'{"a": "\xff"}', RowCode.NOT_UTF8),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", RowCode.TOO_DEEP),
        (b'{"a": ' + b"9" * 5000 + b"}", RowCode.NOT_JSON),
        (b"[1, 2]", RowCode.NOT_OBJECT),
        (b"null", RowCode.NOT_OBJECT),
        (b'{"a": "' + b"x" * (1 << 20) + b'"}', RowCode.TOO_LONG),
        (b'{"a": "' + b"x" * (10 << 20) + b'"}', RowCode.TOO_LONG),
    ],
    ids=["nan", "surrogate", "nul", "bad-utf8", "deep", "big-int", "array", "null", "1mib", "10mib"],
)
def test_a_bad_row_is_named_and_its_neighbours_are_kept(tmp_path, line, code):
    rows = rows_of(tmp_path, b'{"a": 1}\n' + line + b'\n{"a": 3}\n')

    assert values_of(rows) == {1: {"a": 1}, 3: {"a": 3}}
    assert codes_of(rows) == {2: code}


def test_the_last_of_two_equal_keys_counts(tmp_path):
    assert values_of(rows_of(tmp_path, b'{"a": 1, "a": 2}\n')) == {1: {"a": 2}}


def test_a_file_cut_off_in_its_last_row_keeps_every_whole_row(tmp_path):
    rows = rows_of(tmp_path, b'{"a": 1}\n{"a": "hal')

    assert values_of(rows) == {1: {"a": 1}}
    [problem] = [row for row in rows if isinstance(row, RowProblem)]
    assert (problem.row, problem.code) == (2, RowCode.CUT_OFF)
    assert problem.reason == "the file ends in the middle of this row; every row before it is whole"


def test_rows_that_straddle_the_pieces_of_the_file_are_whole(tmp_path):
    lines = [b'{"a": "' + bytes([97 + number % 26]) * 50_000 + b'"}' for number in range(40)]

    values = values_of(rows_of(tmp_path, b"\n".join(lines)))

    assert [len(value["a"]) for value in values.values()] == [50_000] * 40


def test_reasons_do_not_repeat_the_content_of_a_row(tmp_path):
    rows = rows_of(tmp_path, b'{"password": hunter2}\n')

    assert "hunter2" not in rows[0].reason


def test_a_smaller_limit_per_row_is_kept(tmp_path):
    rows = rows_of(tmp_path, b'{"a": "123456789"}\n{"a": 2}\n', limits=Limits(row_bytes=10))

    assert codes_of(rows) == {1: RowCode.TOO_LONG}
    assert values_of(rows) == {2: {"a": 2}}


def test_more_bytes_than_the_limit_stop_the_reading(tmp_path):
    with pytest.raises(InputError, match="larger than"):
        rows_of(tmp_path, b'{"a": 1}\n' * 60_000, limits=Limits(decoded_bytes=300_000))


def test_more_rows_than_the_limit_stop_the_reading(tmp_path):
    with pytest.raises(InputError, match="more than 3 rows"):
        rows_of(tmp_path, b'{"a": 1}\n' * 4, limits=Limits(rows=3))


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(InputError) as caught:
        list(read_rows(tmp_path / "nothing.jsonl"))

    assert caught.value.code == "INPUT_DATASET_NOT_FOUND"


def test_an_empty_file_is_invalid(tmp_path):
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path, b"")

    assert caught.value.code == "INPUT_DATASET_INVALID"


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        list(read_rows(tmp_path))

    assert caught.value.code == "INPUT_DATASET_FORMAT_UNSUPPORTED"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/tty0"])
def test_a_device_is_refused_at_once(path):
    with pytest.raises(InputError) as caught:
        list(read_rows(Path(path)))

    assert caught.value.code in {"INPUT_DATASET_FORMAT_UNSUPPORTED", "INPUT_DATASET_NOT_FOUND"}


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path):
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    caught: list[InputError] = []

    def read() -> None:
        try:
            list(read_rows(path))
        except InputError as error:
            caught.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(timeout=5)

    assert [error.code for error in caught] == ["INPUT_DATASET_FORMAT_UNSUPPORTED"]


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ"])
def test_system_files_are_refused_without_their_content(path):
    with pytest.raises(InputError) as caught:
        list(read_rows(Path(path)))

    assert caught.value.code in {"INPUT_DATASET_FORMAT_UNSUPPORTED", "INPUT_DATASET_INVALID"}
    assert "root:" not in caught.value.message and "PATH=" not in caught.value.message


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 100_000)
    batches = RowReader(path).batches()
    next(batches)
    with path.open("ab") as stream:
        stream.write(b'{"a": 2}\n')

    with pytest.raises(InputError, match="changed while it was read"):
        list(batches)


def test_a_file_that_is_left_early_is_not_judged(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 100_000)
    batches = RowReader(path).batches()
    next(batches)
    path.write_bytes(b"")

    batches.close()


def test_the_digest_and_the_size_of_the_file_are_counted_on_the_way(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"a": 1}\n')
    reader = RowReader(path)

    list(reader.batches())

    assert reader.counter.bytes_read == 9
    assert reader.counter.sha256 == "e8c628edc9968ef0c668f54e0ba2636b35503357eb1aca0ddc828aeace432f67"
