"""Plain text and Markdown files: passages of raw text, in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from backprop_core.datasets.jsonl import Batch, too_long
from backprop_core.datasets.rows import RowCode, RowProblem
from backprop_core.datasets.source import Limits

_HEADING: Final = re.compile(rb"#{1,2}\s")
_FENCE: Final = re.compile(rb"\s{0,3}(```|~~~)")


def read_text(chunks: Iterable[bytes], limits: Limits) -> Iterator[Batch]:
    """Yield the passages between blank lines, numbered by their first line."""
    passage = _Passage(limits)
    for number, line in _numbered(chunks, limits):
        if line.strip():
            passage.add(number, line)
        else:
            yield passage.close()
    yield passage.close()


def read_markdown(chunks: Iterable[bytes], limits: Limits) -> Iterator[Batch]:
    """Yield the sections under headings of the first two levels, numbered by their first line."""
    passage = _Passage(limits)
    is_code = False
    for number, line in _numbered(chunks, limits):
        if _FENCE.match(line):
            is_code = not is_code
        elif not is_code and _HEADING.match(line):
            yield passage.close()
        passage.add(number, line)
    yield passage.close()


class _Passage:
    """Lines gathered until the passage ends; never more than one row may hold."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lines: list[bytes] = []
        self._first = 0
        self._size = 0

    def add(self, number: int, line: bytes) -> None:
        if not self._first:
            self._first = number
        self._size += len(line) + 1
        if self._size <= self._limits.row_bytes:
            self._lines.append(line)

    def close(self) -> Batch:
        """Return what was gathered, if it says anything, and begin anew."""
        batch = Batch()
        number, text, size = self._first, b"\n".join(self._lines).strip(b"\r\n"), self._size
        self._lines, self._first, self._size = [], 0, 0
        if size > self._limits.row_bytes:
            batch.problems.append(too_long(number, self._limits))
        elif text.strip():
            try:
                batch.rows.append((number, {"text": text.decode("utf-8").replace("\r\n", "\n")}))
            except UnicodeDecodeError:
                batch.problems.append(RowProblem(number, RowCode.NOT_UTF8, "the passage is not valid UTF-8"))
        return batch


def _numbered(chunks: Iterable[bytes], limits: Limits) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines; a line longer than a row may be comes in pieces under one number."""
    number = 1
    tail = b""
    for chunk in chunks:
        *lines, tail = (tail + chunk).split(b"\n")
        for line in lines:
            yield number, line
            number += 1
        if len(tail) > limits.row_bytes:
            yield number, tail
            tail = b""
    if tail:
        yield number, tail
