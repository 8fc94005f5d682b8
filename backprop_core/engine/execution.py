"""One attempt from the waiting for the device to its last word, in whatever process it runs.

The one place in the engine that catches everything: an attempt never ends without an event.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from backprop_core import platform
from backprop_core.engine.context import RunContext
from backprop_core.engine.control import AttemptEnded
from backprop_core.engine.failures import classify
from backprop_core.engine.outcome import Outcome
from backprop_core.engine.recording import recorded
from backprop_core.errors import BackpropagateError, RunError
from backprop_core.events.types import RunCompleted, RunFailed, RunInterrupted, RunStarted, RunStopped
from backprop_core.redact import RedactingFormatter
from backprop_core.runs.projection import TRAINING_KINDS
from backprop_core.runs.store import DEVICE_LANE

# Room for the last words of a run whose disk is full.
_RESERVE_BYTES: Final = 1 << 16

_log = logging.getLogger(__name__)


def execute(context: RunContext, *, logs_to_file: bool = True) -> None:
    """Run one attempt in this process and journal how it ended.

    Args:
        logs_to_file: whether this package's log goes to the run's own file instead of where the
            program sends its logs; a worker's output goes there anyway.

    Raises:
        BackpropagateError: the attempt failed; `run.failed` stands in the journal.
    """
    with _own_log(context) if logs_to_file else contextlib.nullcontext():
        _attempt(context)


def _attempt(context: RunContext) -> None:
    began = context.clock.monotonic()
    try:
        _reserve(context).write_bytes(bytes(_RESERVE_BYTES))
        with _device_slot(context):
            began = context.clock.monotonic()
            _announce(context)
            with recorded(context), platform.keep_awake():
                outcome = _recipe(context)(context)
    except AttemptEnded as ended:
        _say_end(context, Outcome(ended.how, ""), ended.reason, began)
    except KeyboardInterrupt:
        _say_end(context, Outcome("interrupted", ""), "the user interrupted the program", began)
        raise
    except Exception as error:
        known = classify(error, context.info.kind)
        _log.error("attempt %d failed: %s", context.attempt, known, exc_info=error)
        _say_failure(context, known)
        if known is error:
            raise
        raise known from error
    else:
        _say_end(context, outcome, "the system ended the process", began)
    finally:
        _reserve(context).unlink(missing_ok=True)


@contextlib.contextmanager
def _own_log(context: RunContext) -> Iterator[None]:
    """Send the log of this package to the run's file, redacted."""
    logger = logging.getLogger("backprop_core")
    handler = logging.FileHandler(context.folder.log_path, encoding="utf-8")
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def _device_slot(context: RunContext) -> Iterator[None]:
    """Hold the device's lock; while another run has it, say so and keep listening.

    Jobs of other lanes work without it and wait for nobody.
    """
    if context.info.kind not in DEVICE_LANE:
        yield
        return
    slot = platform.FileLock(context.slot_path)
    if not slot.acquire():
        context.phase("waiting", "another run is using the device")
        while not slot.acquire():
            context.control.check()
            context.control.wait()
    try:
        yield
    finally:
        slot.release()


def _announce(context: RunContext) -> None:
    device, versions = "", {}
    if context.info.kind in TRAINING_KINDS:
        from backprop_core.engine.devices import library_versions, select_device

        versions = library_versions()
        with contextlib.suppress(BackpropagateError):
            device = select_device(context.spec.device).name
    context.journal.append(
        RunStarted(
            attempt=context.attempt,
            pid=os.getpid(),
            process_token=platform.process_start_token(os.getpid()),
            device=device,
            versions=versions,
        )
    )
    context.control.check()


def _recipe(context: RunContext) -> Callable[[RunContext], Outcome]:
    """Return the recipe of the run's kind; importing that of training loads its libraries."""
    if context.info.kind not in TRAINING_KINDS:
        return _job_recipe(context)
    context.phase("loading", "training libraries")
    # It reports each kernel that it was built without.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import torch

    from backprop_core.engine.backends import choose_backend

    backend = choose_backend(context, has_cuda=torch.cuda.is_available())
    if context.info.kind == "multi-run":
        from backprop_core.engine.run_multi import run_multi

        return partial(run_multi, backend=backend)
    from backprop_core.engine.run_sft import run_sft

    return partial(run_sft, backend=backend)


def _job_recipe(context: RunContext) -> Callable[[RunContext], Outcome]:
    """Return the recipe of a job that is no training."""
    if context.info.kind == "export":
        from backprop_core.engine.run_export import run_export

        return run_export
    if context.info.kind == "download":
        from backprop_core.engine.run_download import run_download

        return run_download
    if context.info.kind == "proof":
        from backprop_core.engine.run_proof import run_proof

        return run_proof
    if context.info.kind == "push":
        from backprop_core.engine.run_push import run_push

        return run_push
    context.phase("loading", "evaluation libraries")
    from backprop_core.engine.run_eval import run_eval

    return run_eval


def _say_failure(context: RunContext, error: BackpropagateError) -> None:
    """Journal a failure, on a full disk into the room that was kept free for it."""
    body = RunFailed(step=context.position.step, error=error.record())
    try:
        context.journal.append(body)
    except RunError:
        _reserve(context).unlink(missing_ok=True)
        context.journal.append(body)


def _reserve(context: RunContext) -> Path:
    return context.folder.path / "reserve"


def _say_end(context: RunContext, end: Outcome, reason: str, began: float) -> None:
    step, seconds = context.position.step, round(context.clock.monotonic() - began, 3)
    if end.how == "completed":
        context.journal.append(RunCompleted(step=step, artifact=end.artifact, seconds=seconds))
    elif end.how == "stopped":
        context.journal.append(
            RunStopped(step=step, artifact=end.artifact, seconds=seconds, rule=end.rule, reason=end.reason)
        )
    else:
        context.journal.append(RunInterrupted(step=step, reason=reason))
