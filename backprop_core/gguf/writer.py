"""A planned GGUF file streamed to disk: rows in, packed blocks out, on all cores.

Nothing appears under the final name before every byte is safe on disk. The tensors in flight are a
few row chunks per thread, whatever the size of the model.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np

from backprop_core import files
from backprop_core.errors import RunError, StateError
from backprop_core.gguf.header import ALIGNMENT
from backprop_core.gguf.plan import GgufPlan, PlannedTensor
from backprop_core.gguf.quantize import ByteArray, Packer
from backprop_core.gguf.source import FloatArray, TensorSource
from backprop_core.gguf.types import TensorType
from backprop_core.platform import FileLock

Progress = Callable[[int, int, str], None]
ShouldCancel = Callable[[], bool]

_CHUNK_ELEMENTS: Final = 1 << 20
_CHUNKS_PER_THREAD: Final = 3
_RELEASE_BYTES: Final = 64 << 20
_RESERVE_BYTES: Final = 64 << 20
_FLOAT16_MAX: Final = 65504
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class TensorDigest:
    """What was written for one tensor."""

    name: str
    type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class GgufReport:
    """A finished file.

    Attributes:
        path: where it lies.
        size_bytes: its size.
        seconds: how long writing took.
        sha256: of the whole file.
        architecture: the engine's name of the family.
        quantization: key of the quantization, or `adapter`.
        tensors: one digest per tensor, in file order.
        warnings: what the user should know, as sentences.
    """

    path: Path
    size_bytes: int
    seconds: float
    sha256: str
    architecture: str
    quantization: str
    tensors: tuple[TensorDigest, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Chunk:
    tensor: PlannedTensor
    start: int
    stop: int
    ends_tensor: bool


def write_gguf(
    plan: GgufPlan,
    source: TensorSource,
    path: Path,
    packer: Packer,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    should_cancel: ShouldCancel | None = None,
) -> GgufReport:
    """Write a planned file.

    Args:
        plan: the file.
        source: the tensors that the plan names.
        path: the final name; an existing file is replaced in one step.
        packer: turns float32 rows into stored bytes.
        threads: packing threads; all cores when not given.
        progress: receives done bytes, total bytes and the phase.
        should_cancel: asked between chunks.

    Raises:
        RunError: RUNTIME_DISK_FULL, RUNTIME_EXPORT_CANCELLED or RUNTIME_GGUF_EXPORT_FAILED; nothing is
            left under the final name.
        StateError: STATE_RUN_LOCKED, another process writes the same file.
    """
    began = time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _only_writer_of(path), _failures_coded(path):
        files.require_free(path.parent, plan.size_bytes + _RESERVE_BYTES, "The GGUF export")
        with files.atomic_writer(path) as stream:
            sink = _Sink(stream, plan.size_bytes, progress)
            sink.write(plan.header)
            with closing(_packed_chunks(plan, source, packer, threads or os.cpu_count() or 1)) as chunks:
                digests = _write_chunks(chunks, source, sink, should_cancel)
            if progress is not None:
                progress(plan.size_bytes, plan.size_bytes, "saving")
    return GgufReport(
        path=path,
        size_bytes=plan.size_bytes,
        seconds=time.monotonic() - began,
        sha256=sink.digest.hexdigest(),
        architecture=plan.architecture,
        quantization=plan.quantization,
        tensors=tuple(digests),
        warnings=plan.warnings,
    )


class _Sink:
    """The file, its digest and its progress, moved on together."""

    def __init__(self, stream: IO[bytes], total_bytes: int, progress: Progress | None) -> None:
        self._stream = stream
        self._total_bytes = total_bytes
        self._progress = progress
        self.digest = hashlib.sha256()
        self.done_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        self._stream.write(data)
        self.digest.update(data)
        self.done_bytes += len(data)
        if self._progress is not None:
            self._progress(self.done_bytes, self._total_bytes, "writing")


def _write_chunks(
    chunks: Iterable[tuple[_Chunk, ByteArray]],
    source: TensorSource,
    sink: _Sink,
    should_cancel: ShouldCancel | None,
) -> list[TensorDigest]:
    """Write packed chunks in order; return one digest per tensor."""
    digests: list[TensorDigest] = []
    digest = hashlib.sha256()
    unreleased = 0
    for chunk, packed in chunks:
        if should_cancel is not None and should_cancel():
            raise RunError("RUNTIME_EXPORT_CANCELLED", "The GGUF export was cancelled.")
        sink.write(packed.data)
        digest.update(packed.data)
        unreleased += (chunk.stop - chunk.start) * chunk.tensor.entry.shape[-1] * 4
        if unreleased >= _RELEASE_BYTES:
            source.release()
            unreleased = 0
        if chunk.ends_tensor:
            entry = chunk.tensor.entry
            sink.write(bytes(-entry.size_bytes % ALIGNMENT))
            digests.append(TensorDigest(entry.name, entry.kind.name, entry.size_bytes, digest.hexdigest()))
            digest = hashlib.sha256()
    return digests


def _packed_chunks(
    plan: GgufPlan, source: TensorSource, packer: Packer, threads: int
) -> Generator[tuple[_Chunk, ByteArray]]:
    """Yield chunks in file order while the pool works ahead by a bounded number of them."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="gguf")
    ahead: deque[tuple[_Chunk, Future[ByteArray]]] = deque()
    try:
        for chunk in _chunks(plan):
            ahead.append(
                (chunk, pool.submit(pack_rows, chunk.tensor, source, packer, chunk.start, chunk.stop))
            )
            if len(ahead) >= threads * _CHUNKS_PER_THREAD:
                done, future = ahead.popleft()
                yield done, future.result()
        while ahead:
            done, future = ahead.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _chunks(plan: GgufPlan) -> Iterator[_Chunk]:
    for tensor in plan.tensors:
        rows = tensor.entry.shape[0]
        step = rows if len(tensor.entry.shape) == 1 else max(1, _CHUNK_ELEMENTS // tensor.entry.shape[-1])
        for start in range(0, rows, step):
            stop = min(rows, start + step)
            yield _Chunk(tensor, start, stop, stop == rows)


def pack_rows(
    tensor: PlannedTensor, source: TensorSource, packer: Packer, start: int, stop: int
) -> ByteArray:
    """Return the stored bytes of output rows `start` to `stop` of a tensor.

    Raises:
        RunError: RUNTIME_GGUF_EXPORT_FAILED, a value is not finite or too large for the type.
    """
    if tensor.constant is not None:
        values: FloatArray = tensor.constant[start:stop]
    else:
        transform = tensor.transform
        values = transform.apply(source.rows(tensor.source, transform.stored_rows(start, stop)))
    kind = tensor.entry.kind
    largest = np.abs(values).max()
    if not np.isfinite(largest):
        raise _unwritable(
            tensor, "holds a value that is not a finite number", "Train again with a lower learning rate."
        )
    if kind is TensorType.F16 and largest > _FLOAT16_MAX:
        raise _unwritable(
            tensor, f"holds {largest:.3g}, more than f16 can", "Choose bf16, which has the wider range."
        )
    return packer(values.reshape(-1, tensor.entry.shape[-1]), kind)


def _unwritable(tensor: PlannedTensor, reason: str, hint: str) -> RunError:
    return RunError("RUNTIME_GGUF_EXPORT_FAILED", f"The tensor {tensor.entry.name!r} {reason}.", hint=hint)


@contextmanager
def _only_writer_of(path: Path) -> Iterator[None]:
    """Hold the lock of one target file and clear away what a killed writer of it left."""
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    if not lock.acquire():
        raise StateError("STATE_RUN_LOCKED", f"Another export is writing {path}.")
    try:
        for leftover in path.parent.iterdir():
            if leftover.name.startswith(f"{path.name}.") and leftover.name.endswith(".partial"):
                leftover.unlink()
        yield
    finally:
        lock.release()
        with suppress(OSError):
            lock.path.unlink()


@contextmanager
def _failures_coded(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise RunError(
                "RUNTIME_DISK_FULL", f"The disk of {path.parent} is full; nothing was left there."
            ) from error
        raise RunError(
            "RUNTIME_GGUF_EXPORT_FAILED", f"{path} could not be written: {error.strerror}."
        ) from error
