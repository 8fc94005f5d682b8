"""JSON arrays, CSV, plain text, Markdown and gzip give the same rows as JSONL would."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_core.datasets.gzipped import gunzip
from backprop_core.datasets.json_array import read_json_array
from backprop_core.datasets.readers import read_rows
from backprop_core.datasets.rows import RawRow, RowCode, RowProblem
from backprop_core.datasets.source import Limits
from backprop_core.errors import InputError


def read(tmp_path, name: str, data: bytes, limits: Limits | None = None):
    path = tmp_path / name
    path.write_bytes(data)
    rows = list(read_rows(path, limits=limits or Limits()))
    values = {row.row: row.value for row in rows if isinstance(row, RawRow)}
    problems = {row.row: row.code for row in rows if isinstance(row, RowProblem)}
    return values, problems


def elements(data: bytes, size: int, limits: Limits | None = None):
    pieces = [data[first : first + size] for first in range(0, len(data), size)]
    rows, problems = [], []
    for batch in read_json_array(pieces, limits or Limits()):
        rows += batch.rows
        problems += batch.problems
    return rows, problems


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(max_size=6)
    | st.just('},{"k":[')
    | st.just('\\"'),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["k", '"', "\\"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["k", "id", "m"]), JSON, max_size=3) | JSON, max_size=6),
    indent=st.sampled_from([None, 2]),
    size=st.sampled_from([1, 5, 64, 1 << 18]),
)
def test_any_array_in_any_pieces_gives_its_objects_in_order(rows, indent, size):
    found, problems = elements(json.dumps(rows, indent=indent).encode(), size)

    assert found == [(number, row) for number, row in enumerate(rows, 1) if isinstance(row, dict)]
    assert [problem.row for problem in problems] == [
        number for number, row in enumerate(rows, 1) if not isinstance(row, dict)
    ]


def test_a_broken_element_costs_only_itself():
    rows, problems = elements(b'[{"a": 1}, {"a": }, {"a": 3}]', 1 << 18)

    assert rows == [(1, {"a": 1}), (3, {"a": 3})]
    assert [(problem.row, problem.code) for problem in problems] == [(2, RowCode.NOT_JSON)]


def test_an_element_above_the_limit_is_passed_over():
    data = b'[{"a": 1}, {"a": "' + b"\\\\x" * 100_000 + b'"}, {"a": 3}]'

    rows, problems = elements(data, 1 << 12, Limits(row_bytes=50_000))

    assert rows == [(1, {"a": 1}), (3, {"a": 3})]
    assert [(problem.row, problem.code) for problem in problems] == [(2, RowCode.TOO_LONG)]


def test_an_array_that_is_cut_off_keeps_every_whole_element():
    rows, problems = elements(b'[{"a": 1}, {"a": 2}, {"a": "thr', 1 << 18)

    assert rows == [(1, {"a": 1}), (2, {"a": 2})]
    assert [(problem.row, problem.code) for problem in problems] == [(3, RowCode.CUT_OFF)]


def test_brackets_that_do_not_match_are_named():
    rows, problems = elements(b'[{"a": 1}}, {"a": 2}]', 1 << 18)

    assert rows == [(1, {"a": 1})]
    assert [(problem.row, problem.code) for problem in problems] == [(2, RowCode.NOT_JSON)]


@pytest.mark.parametrize(
    "data",
    [
        b'[{"text": "a"}, {"text": "b"}]',
        b' \n [\n{"text": "a"},\n{"text": "b"}\n]\n',
        b'{"text": "a"}\n{"text": "b"}\n',
        b'{"version": 1, "data": [{"text": "a"}, {"text": "b"}]}',
        b'{\n "train": [\n  {"text": "a"},\n  {"text": "b"}\n ]\n}',
    ],
    ids=["array", "spread", "lines", "wrapped", "wrapped-spread"],
)
def test_a_json_file_may_be_an_array_or_lines_or_an_object_around_an_array(tmp_path, data):
    assert read(tmp_path, "data.json", data) == ({1: {"text": "a"}, 2: {"text": "b"}}, {})


def test_a_json_file_of_one_chat_is_one_row(tmp_path):
    row = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}

    assert read(tmp_path, "data.json", json.dumps(row, indent=2).encode())[0] == {1: row}


def test_a_json_file_of_lines_may_begin_with_a_bad_one(tmp_path):
    values, problems = read(tmp_path, "data.json", b'{"text": NaN}\n{"text": "b"}\n')

    assert (values, problems) == ({2: {"text": "b"}}, {1: RowCode.NOT_JSON})


def test_an_array_under_the_name_of_json_lines_is_read_as_what_it_is(tmp_path):
    data = b' [\n {"text": "a"},\n {"text": "b"}\n]'

    assert read(tmp_path, "data.jsonl", data) == ({1: {"text": "a"}, 2: {"text": "b"}}, {})


def test_a_json_file_that_is_no_json_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, "data.json", b"{oops")

    assert caught.value.code == "INPUT_DATASET_PARSE_FAILED"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_rows_are_numbered_by_their_first_line(tmp_path, separator):
    lines = ["prompt,completion", '"a\nb",c', '"d ""e""",f']
    data = "\r\n".join(line.replace(",", separator) for line in lines).encode()

    values, problems = read(tmp_path, "data.csv", data)

    assert values == {2: {"prompt": "a\nb", "completion": "c"}, 4: {"prompt": 'd "e"', "completion": "f"}}
    assert problems == {}


def test_csv_rows_that_do_not_fit_the_header_are_named(tmp_path):
    values, problems = read(tmp_path, "data.csv", b"a,b\n1,2\n1\n1,2,3\n\n\xff,2\n")

    assert values == {2: {"a": "1", "b": "2"}}
    assert problems == {3: RowCode.FIELD_MISSING, 4: RowCode.FIELD_MISSING, 6: RowCode.NOT_UTF8}


def test_a_csv_cell_of_ten_megabytes_is_named_and_the_rest_is_read(tmp_path):
    data = b"a,b\n1," + b"x" * (10 << 20) + b"\n3,4\n"

    values, problems = read(tmp_path, "data.csv", data)

    assert (values, problems) == ({3: {"a": "3", "b": "4"}}, {2: RowCode.TOO_LONG})


@pytest.mark.parametrize("header", [b"a,,c\n", b"a,a\n"])
def test_a_csv_header_with_an_empty_or_doubled_name_is_refused(tmp_path, header):
    with pytest.raises(InputError, match="header") as caught:
        read(tmp_path, "data.csv", header + b"1,2,3\n")

    assert caught.value.code == "INPUT_DATASET_PARSE_FAILED"


def test_ten_thousand_columns_are_refused(tmp_path):
    header = ",".join(f"c{number}" for number in range(10_000)).encode()

    with pytest.raises(InputError, match="10,000 columns") as caught:
        read(tmp_path, "data.csv", header + b"\n")

    assert caught.value.code == "INPUT_DATASET_FORMAT_UNSUPPORTED"


def test_text_is_cut_at_blank_lines(tmp_path):
    values, _ = read(tmp_path, "data.txt", "One\r\ntwo\r\n\r\n\r\nthrée\n".encode())

    assert values == {1: {"text": "One\ntwo"}, 5: {"text": "thrée"}}


def test_markdown_is_cut_at_headings_outside_of_code(tmp_path):
    data = b"intro\n\nmore\n# A\nx\n```\n# no heading\n```\n### deep\n## B\ny\n"

    values, _ = read(tmp_path, "data.md", data)

    assert values == {
        1: {"text": "intro\n\nmore"},
        4: {"text": "# A\nx\n```\n# no heading\n```\n### deep"},
        10: {"text": "## B\ny"},
    }


def test_a_passage_above_the_limit_is_named(tmp_path):
    values, problems = read(tmp_path, "data.txt", b"a\n\n" + b"x" * 300 + b"\n\nb", Limits(row_bytes=100))

    assert (values, problems) == ({1: {"text": "a"}, 5: {"text": "b"}}, {3: RowCode.TOO_LONG})


def test_a_gzip_file_is_read_like_what_it_holds(tmp_path):
    data = gzip.compress(b'{"text": "a"}\n') + gzip.compress(b'{"text": "b"}\n')

    assert read(tmp_path, "data.jsonl.gz", data) == ({1: {"text": "a"}, 2: {"text": "b"}}, {})


@pytest.mark.parametrize("data", [b"not gzip at all", gzip.compress(b'{"text": "a"}\n' * 99)[:-9]])
def test_a_damaged_gzip_file_is_refused(tmp_path, data):
    with pytest.raises(InputError) as caught:
        read(tmp_path, "data.jsonl.gz", data)

    assert caught.value.code == "INPUT_DATASET_PARSE_FAILED"


def test_a_gzip_bomb_is_stopped_by_what_it_becomes_not_by_what_it_is():
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(90)) + packer.flush()
    assert len(packed) < 500_000
    seen = 0

    with pytest.raises(InputError) as caught:
        for piece in gunzip([packed], Limits(expansion=40)):
            seen += len(piece)

    assert caught.value.code == "INPUT_DATASET_INVALID"
    assert seen < 86 << 20
