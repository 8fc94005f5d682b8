"""Parquet files, decoded in a child process with limits on memory, time and output.

A footer can promise little and unfold to gigabytes, so nothing in the file is believed: the child
may not use much memory, and what it sends is counted against the size of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backprop_core.datasets.child import Child, ChildFailed
from backprop_core.datasets.gzipped import check_expansion
from backprop_core.datasets.source import Limits
from backprop_core.errors import InputError

_MEMORY_BYTES = 768 << 20
_SILENCE_S = 30.0


def parquet_lines(path: Path, limits: Limits) -> Iterator[bytes]:
    """Yield the rows of a Parquet file as JSON lines.

    Raises:
        InputError: INPUT_DATASET_INVALID, it unfolds beyond the limits;
            INPUT_DATASET_FORMAT_UNSUPPORTED, it holds images or binary columns;
            INPUT_DATASET_PARSE_FAILED, it is damaged.
    """
    packed = path.stat().st_size
    unpacked = 0
    arguments = [str(path), str(limits.row_bytes), str(limits.columns)]
    with Child("parquet", arguments, memory_bytes=_MEMORY_BYTES) as child:
        try:
            for chunk in child.output(silence_s=_SILENCE_S):
                unpacked += len(chunk)
                check_expansion(packed, unpacked, limits)
                yield chunk
        except ChildFailed as failure:
            raise _as_input_error(failure, path.name) from failure


def _as_input_error(failure: ChildFailed, shown: str) -> InputError:
    if failure.word == "unsupported":
        return InputError("INPUT_DATASET_FORMAT_UNSUPPORTED", f"{shown!r}: {failure.sentence}")
    if failure.word == "damaged":
        return InputError("INPUT_DATASET_PARSE_FAILED", f"{shown!r} is not a Parquet file that can be read.")
    return InputError(
        "INPUT_DATASET_INVALID",
        f"{shown!r} needs more memory or time to unfold than a data file may; it is refused.",
        hint="Save it as JSONL, or with smaller row groups.",
    )
