"""Chooses the reader of a data file and yields its rows in batches, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from backprop_core.datasets.jsonl import Batch, read_jsonl
from backprop_core.datasets.rows import RawRow, RowProblem
from backprop_core.datasets.source import DEFAULT_LIMITS, ByteCounter, Limits, open_regular, utf8_chunks
from backprop_core.errors import InputError

ChunkReader = Callable[[Iterable[bytes], Limits], Iterator[Batch]]

_BY_SUFFIX: Final[dict[str, ChunkReader]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
}
_HINT: Final = "Name one file: .jsonl, .json, .csv, .parquet, .txt or .md."


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
                type, or changed while it was read.
        """
        seen = 0
        with open_regular(self._path) as stream:
            chunks = utf8_chunks(stream, self._limits, self.counter)
            reader, chunks = _choose(self._path, chunks)
            for batch in reader(chunks, self._limits):
                seen += len(batch.rows)
                if seen > self._limits.rows:
                    raise InputError(
                        "INPUT_DATASET_INVALID",
                        f"{self._path.name!r} has more than {self._limits.rows:,} rows.",
                        hint="Take a part of it with `backprop data split` or `--samples`.",
                    )
                yield batch


def read_rows(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> Iterator[RawRow | RowProblem]:
    """Yield the rows of a file one by one, unusable ones as problems.

    Raises:
        InputError: as `RowReader.batches`.
    """
    for batch in RowReader(path, limits=limits, digest=False).batches():
        for number, value in batch.rows:
            yield RawRow(number, value)
        yield from batch.problems


def _choose(path: Path, chunks: Iterator[bytes]) -> tuple[ChunkReader, Iterator[bytes]]:
    """Return the reader of a file by its name, else by its first character."""
    suffix = path.suffix.lower()
    reader = _BY_SUFFIX.get(suffix)
    if reader is not None:
        return reader, chunks
    first = next(chunks, b"")
    if not suffix and first.lstrip().startswith(b"{"):
        return read_jsonl, _again(first, chunks)
    kind = f"the type {suffix!r}" if suffix else "a file without a known ending"
    raise InputError(
        "INPUT_DATASET_FORMAT_UNSUPPORTED",
        f"{path.name!r}: {kind} is not one that Backpropagate reads.",
        hint=_HINT,
    )


def _again(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
