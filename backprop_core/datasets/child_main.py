"""Entry of the limited child process: `python -m backprop_core.datasets.child_main JOB MEMORY ...`.

Its last line on stderr says why it stopped: a word, a tab, a sentence.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import orjson

from backprop_core.datasets.child import LENGTH, read_frame
from backprop_core.redact import redact

_FRAME_BYTES: Final = 1 << 18
_ROWS_AT_ONCE: Final = 32


class _Refused(Exception):
    def __init__(self, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.line = f"{word}\t{sentence}"


def main(arguments: Sequence[str]) -> int:
    """Run one job; the exit code is 0 when it came to its end."""
    job, memory, *rest = arguments
    try:
        _JOBS[job](int(memory), rest, sys.stdin.buffer, sys.stdout.buffer)
    except _Refused as refusal:
        sys.stderr.write(refusal.line)
        return 1
    except MemoryError:
        sys.stderr.write("memory\tit needed more memory than allowed")
        return 1
    except BrokenPipeError:
        return 1
    return 0


def limit_memory(extra_bytes: int) -> None:
    """Allow this process `extra_bytes` of address space beyond what it has; no-op where that is unknown."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows has no such limit; time and output still are limited
        return
    try:
        with open("/proc/self/statm") as stream:  # noqa: PTH123 - as early and small as can be
            used = int(stream.read().split()[0]) * resource.getpagesize()
    except OSError:  # pragma: no cover - macOS
        used = 1 << 30
    resource.setrlimit(resource.RLIMIT_AS, (used + extra_bytes, used + extra_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def write_frame(stream: IO[bytes], frame: bytes) -> None:
    """Send one frame."""
    stream.write(LENGTH.pack(len(frame)) + frame)
    stream.flush()


def _parquet(memory: int, arguments: Sequence[str], _: IO[bytes], out: IO[bytes]) -> None:
    """Send the rows of a Parquet file as JSON lines; arguments: path, bytes per row, columns."""
    # Its usual allocator reserves a gigabyte of addresses at once.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    import pyarrow
    import pyarrow.parquet

    path, row_bytes, columns = arguments[0], int(arguments[1]), int(arguments[2])
    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    limit_memory(memory)
    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as table:
            _check_columns(table.schema_arrow, columns)
            pending = bytearray()
            for batch in table.iter_batches(_ROWS_AT_ONCE, use_threads=False):
                for row in batch.to_pylist():
                    pending += _json_line(row, row_bytes)
                    if len(pending) >= _FRAME_BYTES:
                        write_frame(out, bytes(pending))
                        pending.clear()
            if pending:
                write_frame(out, bytes(pending))
            write_frame(out, b"")
    except (pyarrow.ArrowMemoryError, pyarrow.ArrowCapacityError) as error:
        raise MemoryError from error
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _Refused("damaged", type(error).__name__) from error


def _check_columns(schema: Any, columns: int) -> None:
    import pyarrow

    if len(schema) > columns:
        raise _Refused("unsupported", f"the table has {len(schema):,} columns; {columns:,} are read")
    for column in schema:
        if _holds_bytes(column.type, pyarrow.types):
            raise _Refused(
                "unsupported", f"the column {column.name[:40]!r} holds images or other bytes, not text"
            )


def _holds_bytes(kind: Any, types: Any) -> bool:
    if types.is_dictionary(kind):
        return _holds_bytes(kind.value_type, types)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(index).type, types) for index in range(kind.num_fields))


def _json_line(row: dict[str, Any], row_bytes: int) -> bytes:
    try:
        line = orjson.dumps(row, default=str) + b"\n"
    except orjson.JSONEncodeError:
        # Lone surrogates or integers beyond 64 bits: the reader names the row.
        return b"!\n"
    # The reader refuses a longer row by its length; its content need not travel.
    return line if len(line) <= row_bytes else b" " * (row_bytes + 1) + b"\n"


def _render(memory: int, _: Sequence[str], requests: IO[bytes], out: IO[bytes]) -> None:
    """Answer requests to render with the template that the first one brings, until the parent is gone."""
    import jinja2

    from backprop_core.datasets.rendering import LocalRenderer, serve, setup_from

    limit_memory(memory)
    first = read_frame(requests)
    if first is None:
        return
    try:
        renderer = LocalRenderer(setup_from(first))
    except jinja2.TemplateSyntaxError as error:
        write_frame(out, orjson.dumps({"syntax": [error.message, error.lineno]}))
        return
    write_frame(out, orjson.dumps({"shape": renderer.shape}))
    while request := read_frame(requests):
        write_frame(out, serve(request, renderer))


def _hub(memory: int, _: Sequence[str], requests: IO[bytes], out: IO[bytes]) -> None:
    """Send the rows of a data set of the hub as JSON lines; the first frame says which."""
    request = orjson.loads(read_frame(requests) or b"{}")
    try:
        import datasets
    except ImportError as error:
        raise _Refused("library", str(error)) from error
    limit_memory(memory)
    datasets.disable_progress_bars()
    pending = bytearray()
    try:
        stream = datasets.load_dataset(
            request["repo"],
            name=request["config"],
            split=request["split"],
            revision=request["revision"],
            token=request["token"],
            streaming=True,
        )
        _check_features(stream.features or {}, request["columns"])
        for row in stream if request["limit"] is None else stream.take(request["limit"]):
            pending += _json_line(row, request["row_bytes"])
            if len(pending) >= _FRAME_BYTES:
                write_frame(out, bytes(pending))
                pending.clear()
    except (datasets.exceptions.DatasetsError, FileNotFoundError, ValueError) as error:
        raise _Refused("missing", _first_line(error)) from error
    except OSError as error:
        raise _Refused("offline", _first_line(error)) from error
    if pending:
        write_frame(out, bytes(pending))
    write_frame(out, b"")


def _check_features(features: Mapping[str, Any], columns: int) -> None:
    if len(features) > columns:
        raise _Refused("unsupported", f"the table has {len(features):,} columns; {columns:,} are read")
    for name, feature in features.items():
        kind = type(feature).__name__
        if kind in ("Image", "Audio", "Video", "Pdf") or getattr(feature, "dtype", "") == "binary":
            raise _Refused("unsupported", f"the column {name[:40]!r} holds images or other bytes, not text")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return redact(lines[0][:300].replace("\t", " "))


def _operate(memory: int, arguments: Sequence[str], _: IO[bytes], out: IO[bytes]) -> None:
    """Send the lines of an operation; arguments: its name, its parameters as JSON, the source."""
    from backprop_core.datasets.operations import operation_from, run
    from backprop_core.errors import BackpropagateError

    limit_memory(memory)
    name, parameters, source = arguments
    pending = bytearray()
    try:
        for line in run(operation_from(name, orjson.loads(parameters)), Path(source)):
            pending += line
            if len(pending) >= _FRAME_BYTES:
                write_frame(out, bytes(pending))
                pending.clear()
    except BackpropagateError as error:
        raise _Refused("error", orjson.dumps(error.record()).decode()) from error
    if pending:
        write_frame(out, bytes(pending))
    write_frame(out, b"")


_JOBS: Final[dict[str, Callable[[int, Sequence[str], IO[bytes], IO[bytes]], None]]] = {
    "parquet": _parquet,
    "render": _render,
    "operate": _operate,
    "hub": _hub,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
