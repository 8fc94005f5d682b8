"""Chooses the reader of a data file and yields its rows in batches, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import orjson

from backprop_core.datasets.csv_table import read_csv
from backprop_core.datasets.gzipped import gunzip
from backprop_core.datasets.json_array import read_json_array
from backprop_core.datasets.jsonl import Batch, read_jsonl
from backprop_core.datasets.parquet import parquet_lines
from backprop_core.datasets.prose import read_markdown, read_text
from backprop_core.datasets.rows import RawRow, RowProblem
from backprop_core.datasets.source import (
    DEFAULT_LIMITS,
    ByteCounter,
    Limits,
    open_regular,
    raw_chunks,
    utf8_chunks,
)
from backprop_core.errors import InputError

ChunkReader = Callable[[Iterable[bytes], Limits], Iterator[Batch]]

_HINT: Final = "Name one file: .jsonl, .json, .csv, .parquet, .txt or .md."
_WRAPPER_BYTES: Final = 64 << 20


class RowReader:
    """One pass over a data file.

    Args:
        path: the file.
        limits: sizes at which reading stops.
        digest: whether to compute the SHA-256 on the way.
    """

    def __init__(self, path: Path, *, limits: Limits = DEFAULT_LIMITS, digest: bool = True) -> None:
        self._path = path
        self._limits = limits
        self.counter = ByteCounter(digest=digest)

    def batches(self) -> Iterator[Batch]:
        """Yield the rows and problems of the file, in order.

        Raises:
            InputError: the file is missing, not a regular file, empty, too large, of an unknown
                type, damaged as a whole, or changed while it was read.
        """
        seen = 0
        for batch in self._batches():
            seen += len(batch.rows)
            if seen > self._limits.rows:
                raise InputError(
                    "INPUT_DATASET_INVALID",
                    f"{self._path.name!r} has more than {self._limits.rows:,} rows.",
                    hint="Take a part of it with `backprop data split` or `--samples`.",
                )
            yield batch

    def _batches(self) -> Iterator[Batch]:
        with open_regular(self._path) as stream:
            raw = raw_chunks(stream, self._limits, self.counter)
            suffix = self._path.suffix.lower()
            if suffix == ".parquet":
                for _ in raw:
                    # Counted and hashed here; the child below opens the file itself.
                    pass
                yield from read_jsonl(parquet_lines(self._path, self._limits), self._limits)
                return
            if suffix == ".gz":
                suffix = Path(self._path.stem).suffix.lower()
                raw = gunzip(raw, self._limits)
            yield from _read_as(suffix, utf8_chunks(raw), self._limits, self._path.name)


def read_rows(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> Iterator[RawRow | RowProblem]:
    """Yield the rows of a file one by one in their order, unusable ones as problems.

    Raises:
        InputError: as `RowReader.batches`.
    """
    for batch in RowReader(path, limits=limits, digest=False).batches():
        rows: list[RawRow | RowProblem] = [RawRow(number, value) for number, value in batch.rows]
        if batch.problems:
            rows = sorted([*rows, *batch.problems], key=lambda row: row.row)
        yield from rows


def _read_as(suffix: str, chunks: Iterator[bytes], limits: Limits, shown: str) -> Iterator[Batch]:
    """Read by the ending of the name; a file without one must look like JSON."""
    reader = _BY_SUFFIX.get(suffix)
    if reader is None:
        first = next(chunks, b"")
        chunks = _again(first, chunks)
        if suffix or not first.lstrip().startswith((b"{", b"[")):
            kind = f"the type {suffix!r}" if suffix else "a file without a known ending"
            raise InputError(
                "INPUT_DATASET_FORMAT_UNSUPPORTED",
                f"{shown!r}: {kind} is not one that Backpropagate reads.",
                hint=_HINT,
            )
        reader = _read_json
    return reader(chunks, limits)


def _read_lines(chunks: Iterable[bytes], limits: Limits) -> Iterator[Batch]:
    """Read JSON lines; an array under their name is read as what it is."""
    source = iter(chunks)
    first = next(source, b"")
    reader = read_json_array if first.lstrip().startswith(b"[") else read_jsonl
    return reader(_again(first, source), limits)


def _read_json(chunks: Iterable[bytes], limits: Limits) -> Iterator[Batch]:
    """Read a `.json` file: an array, JSON lines under another name, or one object around an array."""
    source = iter(chunks)
    head = b""
    while not head.strip():
        more = next(source, None)
        if more is None:
            return iter(())
        head += more
    if head.lstrip().startswith(b"["):
        return read_json_array(_again(head, source), limits)
    while b"\n" not in head and len(head) <= limits.row_bytes:
        more = next(source, None)
        if more is None:
            break
        head += more
    first_line = head.lstrip().partition(b"\n")[0]
    if _is_json(first_line) and _inner_array(first_line) is None:
        return read_jsonl(_again(head, source), limits)
    return _read_wrapped(_again(head, source), limits)


def _read_wrapped(chunks: Iterable[bytes], limits: Limits) -> Iterator[Batch]:
    """Read one object that holds the rows in one of its fields, such as `{"data": [...]}`."""
    whole = b""
    for chunk in chunks:
        whole += chunk
        if len(whole) > _WRAPPER_BYTES:
            raise InputError(
                "INPUT_DATASET_FORMAT_UNSUPPORTED",
                "The file is one JSON object of more than 64 MiB.",
                hint="Save its rows as JSONL, one object per line.",
            )
    inner = _inner_array(whole)
    if inner is None:
        if any(_is_json(line) for line in whole.split(b"\n", 2)[1:2]):
            return read_jsonl([whole], limits)
        if not _is_json(whole):
            raise InputError(
                "INPUT_DATASET_PARSE_FAILED",
                "The file is neither a JSON array nor JSON lines.",
                hint="Save it as JSONL, one object per line.",
            )
        inner = [orjson.loads(whole)]
    return read_json_array([orjson.dumps(inner)], limits)


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _inner_array(text: bytes) -> list[object] | None:
    """Return the rows inside an object whose only list of objects they are, unless it is itself a row."""
    if not _is_json(text):
        return None
    value = orjson.loads(text)
    if not isinstance(value, dict):
        return None
    lists = {
        name: field
        for name, field in value.items()
        if isinstance(field, list) and field and all(isinstance(item, dict) for item in field)
    }
    if len(lists) != 1 or next(iter(lists)) in _ROW_FIELDS:
        return None
    return next(iter(lists.values()))


def _again(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


# Lists that belong to one row, not to a file.
_ROW_FIELDS: Final = frozenset(
    {
        "messages",
        "conversations",
        "conversation",
        "chat",
        "dialogue",
        "dialog",
        "tools",
        "prompt",
        "completion",
    }
)
_BY_SUFFIX: Final[dict[str, ChunkReader]] = {
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_text,
    ".md": read_markdown,
    ".markdown": read_markdown,
}
