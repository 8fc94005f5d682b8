"""Which code an exception of a training library means. Pure: judges by type names and texts.

Libraries raise the same fault in several classes, and some of them cannot be imported everywhere.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Final

from backprop_core.errors import BackpropagateError, DependencyError, RunError
from backprop_core.redact import redact
from backprop_core.runs.store import RunKind

_OUT_OF_MEMORY: Final = re.compile(
    r"out of memory|CUBLAS_STATUS_ALLOC_FAILED|can't allocate memory|cannot allocate memory|std::bad_alloc"
    r"|CUDNN_STATUS_ALLOC_FAILED|not enough memory",
    re.IGNORECASE,
)
_DEVICE_LOST: Final = re.compile(
    r"\bXid\b|fallen off the bus|GPU is lost|device is lost|unspecified launch failure"
    r"|uncorrectable ECC|CUDA error: unknown error|devices? (?:is|are) (?:busy or )?unavailable"
    r"|no CUDA-capable device",
    re.IGNORECASE,
)
_DISK_FULL: Final = re.compile(r"no space left on device|disk quota exceeded|\(os error 28\)", re.IGNORECASE)
_DISK_FULL_NUMBERS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_MESSAGE_LENGTH: Final = 300
_BY_KIND: Final[dict[RunKind, tuple[str, str]]] = {
    "train": ("RUNTIME_TRAINING_FAILED", "Training"),
    "multi-run": ("RUNTIME_TRAINING_FAILED", "Training"),
    "export": ("RUNTIME_GGUF_EXPORT_FAILED", "The export"),
    "download": ("DEP_MODEL_LOAD_FAILED", "The download"),
    "eval": ("RUNTIME_EVALUATION_FAILED", "The evaluation"),
    "proof": ("RUNTIME_EXPORT_PROOF_FAILED", "The proof"),
    "push": ("HUB_PUSH_FAILED", "The push"),
}


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that device or host memory ran out."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None)
    )


def classify(error: BaseException, kind: RunKind = "train") -> BackpropagateError:
    """Return `error` of a job of this kind as one of ours: the most telling of it and its causes decides."""
    known = known_failure(error)
    if known is not None:
        return known
    code, subject = _BY_KIND[kind]
    family = DependencyError if code.startswith("DEP_") else RunError
    return family(code, f"{subject} ended with {_first_line(error)}")


def known_failure(error: BaseException) -> BackpropagateError | None:
    """Return the fault that `error` or one of its causes tells of, None when nobody foresaw it."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, BackpropagateError):
            return link
    return next((known for known in map(_known, chain) if known is not None), None)


def _known(error: BaseException) -> BackpropagateError | None:
    text = str(error)
    if is_out_of_memory(error):
        return RunError("RUNTIME_GPU_OOM", f"Memory ran out: {_first_line(error)}")
    if isinstance(error, RuntimeError) and _DEVICE_LOST.search(text):
        return RunError("RUNTIME_GPU_LOST", f"The driver lost the card: {_first_line(error)}")
    if (isinstance(error, OSError) and error.errno in _DISK_FULL_NUMBERS) or _DISK_FULL.search(text):
        return RunError("RUNTIME_DISK_FULL", f"The disk is full: {_first_line(error)}")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _first_line(error: BaseException) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    name = type(error).__name__
    return redact(f"{name}: {line}"[:_MESSAGE_LENGTH] if line else name)
