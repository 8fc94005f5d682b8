"""CSV files: a header line, then one row per record; the separator is found by looking.

Cells stay text. An empty cell is an empty text, which the converter names as a fault of the row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Final

from backprop_core.datasets.jsonl import Batch, too_long
from backprop_core.datasets.rows import RowCode, RowProblem
from backprop_core.datasets.source import CHUNK_BYTES, Limits
from backprop_core.errors import InputError

_SEPARATORS: Final = (",", ";", "\t", "|")
_ROWS_PER_BATCH: Final = 500


def read_csv(chunks: Iterable[bytes], limits: Limits) -> Iterator[Batch]:
    """Yield the records of a CSV stream, numbered by the line on which each begins.

    Raises:
        InputError: INPUT_DATASET_PARSE_FAILED, the header has an empty or doubled name;
            INPUT_DATASET_FORMAT_UNSUPPORTED, it has too many columns.
    """
    lines = _lines(chunks, limits)
    first = next(lines, "")
    separator = max(_SEPARATORS, key=first.count)
    # The limit of the csv module is one for the whole process; ours per row is checked below.
    csv.field_size_limit(max(2 * limits.row_bytes + CHUNK_BYTES, csv.field_size_limit()))
    records = csv.reader(_again(first, lines), delimiter=separator, strict=True)
    names = _header(records, limits)
    batch = Batch()
    while True:
        number = records.line_num + 1
        try:
            record = next(records, None)
        except csv.Error as error:
            batch.problems.append(RowProblem(number, RowCode.NOT_CSV, f"not valid CSV: {error}"))
            continue
        if record is None:
            break
        _add(record, number, names, limits, batch)
        if len(batch.rows) + len(batch.problems) >= _ROWS_PER_BATCH:
            yield batch
            batch = Batch()
    yield batch


def _header(records: Iterator[list[str]], limits: Limits) -> list[str]:
    try:
        names = [name.strip() for name in next(records, [])]
    except csv.Error as error:
        raise InputError(
            "INPUT_DATASET_PARSE_FAILED", f"The first line is not a CSV header: {error}."
        ) from error
    if len(names) > limits.columns:
        raise InputError(
            "INPUT_DATASET_FORMAT_UNSUPPORTED",
            f"The table has {len(names):,} columns; {limits.columns:,} are read.",
        )
    if not all(names) or len(set(names)) != len(names):
        raise InputError(
            "INPUT_DATASET_PARSE_FAILED",
            "The first line is not a CSV header: a column name is empty or stands twice.",
            hint="Give every column its own name in the first line, for example `prompt,completion`.",
        )
    return names


def _add(record: list[str], number: int, names: list[str], limits: Limits, batch: Batch) -> None:
    if not record:
        return
    if sum(map(len, record)) > limits.row_bytes:
        batch.problems.append(too_long(number, limits))
    elif len(record) != len(names):
        reason = f"the row has {len(record):,} cells, the header has {len(names):,}"
        batch.problems.append(RowProblem(number, RowCode.FIELD_MISSING, reason))
    elif any(
        "\udc80" <= character <= "\udcff" for cell in record if not cell.isascii() for character in cell
    ):
        batch.problems.append(RowProblem(number, RowCode.NOT_UTF8, "the row is not valid UTF-8"))
    else:
        batch.rows.append((number, dict(zip(names, record, strict=True))))


def _lines(chunks: Iterable[bytes], limits: Limits) -> Iterator[str]:
    """Yield lines with their ends; one longer than a row may be is cut, so that it is refused."""
    tail = b""
    is_skipping = False
    for chunk in chunks:
        *lines, tail = (tail + chunk).split(b"\n")
        for line in lines:
            if not is_skipping:
                yield line.decode("utf-8", "surrogateescape") + "\n"
            is_skipping = False
        if is_skipping:
            tail = b""
        elif len(tail) > limits.row_bytes:
            yield tail.decode("utf-8", "surrogateescape") + "\n"
            tail, is_skipping = b"", True
    if tail:
        yield tail.decode("utf-8", "surrogateescape")


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
