"""One JSON array of objects, streamed in constant memory.

Elements are parsed many at a time: a guess where one ends is verified by the parse itself, because
only a cut between two elements leaves whole JSON on its left. Where the guess fails, an exact
scanner finds the ends, so one bad element costs only itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from backprop_core.datasets.jsonl import Batch, json_problem, not_object, too_long
from backprop_core.datasets.rows import RowCode, RowProblem
from backprop_core.datasets.source import Limits
from backprop_core.errors import InputError

_BLANK: Final = b" \t\r\n"
_NEXT: Final = re.compile(rb'["\[\]{},]')
_IN_STRING: Final = re.compile(rb'["\\]')
_BORDER: Final = re.compile(rb'\}\s*,\s*\{\s*"(?:[^"\\]|\\.){0,100}"')


class _ElementEnd:
    """Finds the end of the element at the start of a buffer, resuming where the buffer ended."""

    def __init__(self) -> None:
        self._position = 0
        self._depth = 0
        self._is_in_string = False

    def find(self, buffer: bytes) -> int | None:
        """Return where the element ends (at a comma or the closing bracket), or None to go on."""
        while True:
            pattern = _IN_STRING if self._is_in_string else _NEXT
            found = pattern.search(buffer, self._position)
            if found is None:
                self._position = len(buffer)
                return None
            mark = found[0]
            if mark == b"\\":
                if found.end() >= len(buffer):
                    self._position = found.start()
                    return None
                self._position = found.end() + 1
                continue
            if mark == b'"':
                self._is_in_string = not self._is_in_string
            elif mark in b"[{":
                self._depth += 1
            elif mark in b"]}":
                if self._depth == 0:
                    return found.start()
                self._depth -= 1
            elif self._depth == 0:
                return found.start()
            self._position = found.end()

    def forget(self, count: int) -> None:
        """Adjust to a buffer that lost its first `count` bytes."""
        self._position -= count


class _ArrayReader:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._number = 0
        self._border: bytes | None = None
        self._end = _ElementEnd()
        self._is_skipping = False
        self.is_closed = False

    def take(self, buffer: bytes) -> tuple[Batch, bytes]:
        """Return the rows at the start of the buffer and what is left of it."""
        batch = Batch()
        if self._border is not None and not self._is_skipping:
            buffer = self._take_many(buffer, batch)
        while not self.is_closed:
            end = self._end.find(buffer)
            if end is None:
                return batch, self._shorten(buffer, batch)
            self._take_one(buffer[:end], batch)
            if buffer[end : end + 1] != b",":
                self.is_closed = True
                if buffer[end : end + 1] != b"]":
                    batch.problems.append(_broken(self._number + 1))
                return batch, b""
            if self._border is None:
                self._learn_border(buffer, end)
                buffer = self._take_many(buffer[end + 1 :], batch)
            else:
                buffer = buffer[end + 1 :]
        return batch, buffer

    def _learn_border(self, buffer: bytes, comma: int) -> None:
        found = _BORDER.match(buffer, buffer.rfind(b"}", 0, comma))
        self._border = found[0] if found else None

    def _take_many(self, buffer: bytes, batch: Batch) -> bytes:
        """Parse everything up to the last border in the buffer, or nothing when that fails."""
        cut = buffer.rfind(self._border) + 1 if self._border else 0
        # Past the size of one row the elements are measured one by one.
        if not 0 < cut <= self._limits.row_bytes:
            return buffer
        try:
            values = orjson.loads(b"[" + buffer[:cut] + b"]")
        except orjson.JSONDecodeError:
            return buffer
        for value in values:
            self._number += 1
            self._add(value, batch)
        self._end = _ElementEnd()
        return buffer[buffer.index(b",", cut) + 1 :]

    def _take_one(self, element: bytes, batch: Batch) -> None:
        self._end = _ElementEnd()
        if self._is_skipping:
            self._is_skipping = False
            return
        if not element.strip():
            # An empty array, or a comma before the closing bracket.
            return
        self._number += 1
        if len(element) > self._limits.row_bytes:
            batch.problems.append(too_long(self._number, self._limits))
            return
        try:
            self._add(orjson.loads(element), batch)
        except orjson.JSONDecodeError as error:
            batch.problems.append(json_problem(self._number, error))

    def _add(self, value: Any, batch: Batch) -> None:
        if type(value) is dict:
            batch.rows.append((self._number, value))
        else:
            batch.problems.append(not_object(self._number, value))

    def _shorten(self, buffer: bytes, batch: Batch) -> bytes:
        """Drop the bytes of an element that is too long to be a row."""
        if not self._is_skipping and len(buffer) > self._limits.row_bytes:
            self._number += 1
            batch.problems.append(too_long(self._number, self._limits))
            self._is_skipping = True
        if self._is_skipping:
            kept = buffer[-1:]
            self._end.forget(len(buffer) - len(kept))
            return kept
        return buffer

    def close(self, rest: bytes) -> Batch:
        """Return what a file without its closing bracket leaves over."""
        batch = Batch()
        if not self.is_closed and not self._is_skipping and rest.strip():
            reason = "the file ends in the middle of this row; every row before it is whole"
            batch.problems.append(RowProblem(self._number + 1, RowCode.CUT_OFF, reason))
        return batch


def read_json_array(chunks: Iterable[bytes], limits: Limits) -> Iterator[Batch]:
    """Yield the elements of one array, numbered from 1.

    Raises:
        InputError: INPUT_DATASET_PARSE_FAILED, the stream does not begin with `[`.
    """
    reader = _ArrayReader(limits)
    rest = b""
    is_open = False
    for chunk in chunks:
        rest += chunk
        if not is_open:
            rest = rest.lstrip(_BLANK)
            if not rest:
                continue
            if not rest.startswith(b"["):
                raise InputError("INPUT_DATASET_PARSE_FAILED", "The file is not a JSON array.")
            rest = rest[1:]
            is_open = True
        if reader.is_closed:
            rest = b""
            continue
        batch, rest = reader.take(rest)
        yield batch
    yield reader.close(rest)


def _broken(number: int) -> RowProblem:
    return RowProblem(
        number, RowCode.NOT_JSON, "the brackets do not match here; everything after it is passed over"
    )
