"""Explains how a worker ended that wrote no last word. Pure."""

from __future__ import annotations

import signal
from typing import Final

from backprop_core.errors import BackpropagateError, ErrorRecord, RunError, StateError

EXIT_LOCKED: Final = 3

_OUT_OF_MEMORY_WORDS: Final = ("out of memory", "oom-kill", "cannot allocate memory", "std::bad_alloc")


def explain_exit(code: int | None, log_tail: str) -> ErrorRecord:
    """Return the error of a worker that ended with `code`.

    Args:
        code: exit status; a negative number is the signal that killed it; None when nobody saw it end.
        log_tail: the last lines of its log.
    """
    return _explain(code, log_tail).record()


def _explain(code: int | None, log_tail: str) -> BackpropagateError:
    if code is None:
        return RunError(
            "RUNTIME_TRAINING_ABORTED", "The training process is gone: the machine or it was stopped."
        )
    if code == EXIT_LOCKED:
        return StateError("STATE_RUN_LOCKED", "Another process was working on this run already.")
    lowered = log_tail.lower()
    if code < 0:
        name = _signal_name(-code)
        if name == "SIGKILL" and not any(word in lowered for word in _OUT_OF_MEMORY_WORDS):
            return RunError(
                "RUNTIME_TRAINING_ABORTED",
                "The training process was killed, by the user or by the system when memory ran out.",
            )
        if any(word in lowered for word in _OUT_OF_MEMORY_WORDS):
            return RunError("RUNTIME_GPU_OOM", f"Memory ran out and the training process ended with {name}.")
        if name == "SIGTERM":
            return RunError("RUNTIME_TRAINING_ABORTED", "The system ended the training process.")
        return RunError("RUNTIME_TRAINING_ABORTED", f"The training process crashed with {name}.")
    last = next((line.strip() for line in reversed(log_tail.splitlines()) if line.strip()), "")
    detail = f": {last[:200]}" if last else ""
    return RunError("RUNTIME_TRAINING_FAILED", f"The training process ended with exit code {code}{detail}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
