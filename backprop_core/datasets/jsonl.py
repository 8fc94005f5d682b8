"""JSON lines: one object per line, parsed line by line in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from backprop_core.datasets.rows import RowCode, RowProblem
from backprop_core.datasets.source import Limits

_MEBIBYTE: Final = 1 << 20


@dataclass(slots=True)
class Batch:
    """Rows that were parsed together: numbers with objects, and the rows that were refused."""

    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)


def read_jsonl(chunks: Iterable[bytes], limits: Limits) -> Iterator[Batch]:
    """Yield the rows of a JSONL stream, numbered by line; blank lines are passed over.

    A line longer than `limits.row_bytes` is skipped without being held in memory.
    """
    number = 0
    tail = b""
    is_skipping = False
    for chunk in chunks:
        lines = (tail + chunk).split(b"\n")
        tail = lines.pop()
        batch = Batch()
        if is_skipping and lines:
            # The end of a line that was refused below; its number is already taken.
            lines = lines[1:]
            is_skipping = False
        elif is_skipping:
            tail = b""
        number = _parse_lines(lines, number, limits, batch)
        if len(tail) > limits.row_bytes and not is_skipping:
            number += 1
            batch.problems.append(too_long(number, limits))
            is_skipping = True
        if is_skipping:
            tail = b""
        yield batch
    if tail.strip():
        yield _last_line(tail, number + 1, limits)


def _parse_lines(lines: list[bytes], number: int, limits: Limits, batch: Batch) -> int:
    loads = orjson.loads
    rows = batch.rows
    cap = limits.row_bytes
    for line in lines:
        number += 1
        if len(line) > cap:
            batch.problems.append(too_long(number, limits))
            continue
        try:
            value = loads(line)
        except orjson.JSONDecodeError as error:
            if line.strip():
                batch.problems.append(json_problem(number, error))
            continue
        if type(value) is dict:
            rows.append((number, value))
        else:
            batch.problems.append(not_object(number, value))
    return number


def _last_line(line: bytes, number: int, limits: Limits) -> Batch:
    batch = Batch()
    _parse_lines([line], number - 1, limits, batch)
    if batch.problems and batch.problems[0].code is RowCode.NOT_JSON and line.lstrip().startswith(b"{"):
        reason = "the file ends in the middle of this row; every row before it is whole"
        batch.problems = [RowProblem(number, RowCode.CUT_OFF, reason)]
    return batch


def json_problem(number: int, error: orjson.JSONDecodeError) -> RowProblem:
    """Return the problem of a row that is not JSON; the text of the row is not repeated."""
    if "UTF-8" in error.msg:
        return RowProblem(number, RowCode.NOT_UTF8, "the row is not valid UTF-8")
    if "depth limit" in error.msg:
        return RowProblem(number, RowCode.TOO_DEEP, "the row nests deeper than 1,024 levels")
    return RowProblem(number, RowCode.NOT_JSON, f"not valid JSON: {error.msg} at column {error.colno}")


def not_object(number: int, value: object) -> RowProblem:
    """Return the problem of a row that is JSON but not an object."""
    return RowProblem(number, RowCode.NOT_OBJECT, f"a row must be a JSON object, not {_json_type(value)}")


def too_long(number: int, limits: Limits) -> RowProblem:
    """Return the problem of a row above the size limit."""
    return RowProblem(
        number, RowCode.TOO_LONG, f"the row is longer than {limits.row_bytes / _MEBIBYTE:g} MiB"
    )


def _json_type(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "null")
