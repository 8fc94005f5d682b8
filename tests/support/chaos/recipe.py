"""A training of plain Python behind the real worker: a number is fitted, each step a known function of the last.

Its checkpoints go through the real writer, so that a step that was lost or taken twice shows in the losses.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backprop_core import files, platform
from backprop_core.engine import execution, worker
from backprop_core.engine.checkpoints import CheckpointStore, Identity
from backprop_core.engine.context import RunContext
from backprop_core.engine.outcome import Outcome
from backprop_core.errors import RunError
from backprop_core.events.types import (
    CheckpointSaved,
    Metrics,
    RunContinued,
    RunPaused,
    RunResumed,
    TrainingPlanned,
)

STEP_S = 0.002
EVERY = 4
DISK_FULL = "disk-is-full"
DRAWN = tuple(range(1, 8))
_MAX_NOT_FINITE = 3
_IDENTITY = Identity(run_id="r", config_sha256="c", data_sha256="d", base="b")


def loss_after(step: int) -> float:
    """Return the loss that every attempt has in `step`."""
    weight = 0.0
    for number in range(1, step + 1):
        weight = _next(weight, number)
    return weight


def _next(weight: float, step: int, targets: Sequence[float] = DRAWN) -> float:
    return weight + 0.1 * (targets[step % len(targets)] - weight)


def _targets(dataset: str) -> Sequence[float]:
    """Return the numbers that the data holds, one `{"x": 1.5}` a line; the usual ones without data."""
    path = Path(dataset)
    return [json.loads(line)["x"] for line in path.read_text().splitlines()] if path.is_file() else DRAWN


def train(context: RunContext) -> Outcome:
    """Take every step, obey wishes at the step boundaries, save what was learned."""
    total = context.spec.steps or 10
    store = CheckpointStore(context.folder.checkpoints)
    step, weight = _go_on(context, store)
    context.journal.append(
        TrainingPlanned(
            total_steps=total,
            epochs=1,
            rows=1,
            micro_batch=1,
            accumulation=1,
            trainable_parameters=1,
            lora_r=1,
            lora_alpha=1,
            tokens=1,
            supervised_tokens=1,
        )
    )
    context.phase("training")
    targets, bad, ending = _targets(context.spec.dataset), 0, None
    with context.busy():
        while step < total and ending is None:
            time.sleep(STEP_S)
            step += 1
            weight = _next(weight, step, targets)
            context.position.step = step
            context.journal.append(_metrics(step, total, weight))
            bad = 0 if math.isfinite(weight) else bad + 1
            if bad == _MAX_NOT_FINITE:
                raise RunError("RUNTIME_LOSS_NOT_FINITE", f"The loss was no number up to step {step}.")
            ending = _obey(context, step)
            if (step % EVERY == 0 or ending) and not bad:
                _save(context, store, step, weight)
    if ending == "interrupted":
        return Outcome("interrupted", "")
    context.phase("saving")
    _require_disk(context.folder.path)
    staged = context.folder.path / "adapter.partial"
    staged.mkdir(exist_ok=True)
    files.write_text(staged / "weight", weight.hex())
    if not context.folder.adapter.exists():
        platform.replace(staged, context.folder.adapter)
    return Outcome("stopped" if ending else "completed", "adapter")


def _go_on(context: RunContext, store: CheckpointStore) -> tuple[int, float]:
    store.clean()
    if context.attempt == 1:
        return 0, 0.0
    passed_over: list[int] = []
    manifest = store.newest_valid(lambda number, _: passed_over.append(number))
    assert not passed_over, f"a visible checkpoint did not verify: {passed_over}"
    step = manifest.step if manifest else 0
    context.journal.append(RunResumed(step=step, path=""))
    weight = float.fromhex((store.path(step) / "weight").read_text()) if manifest else 0.0
    return step, weight


def _save(context: RunContext, store: CheckpointStore, step: int, weight: float) -> None:
    def write(target: Path) -> None:
        (target / "weight").write_text(weight.hex())
        _require_disk(context.folder.path)

    if step in store.steps():
        return
    path = store.write(_IDENTITY, step=step, attempt=context.attempt, created_at="now", write_files=write)
    context.journal.append(CheckpointSaved(step=step, path=path.name, size_bytes=1, seconds=0.0))


def _obey(context: RunContext, step: int) -> str | None:
    watch = context.control
    if watch.request() == "pause":
        context.journal.append(RunPaused(step=step, reason="asked"))
        while not watch.is_unwanted() and watch.request() == "pause":
            watch.ordered.wait(0.01)
        if not watch.is_unwanted():
            context.journal.append(RunContinued(step=step))
    if watch.is_interrupted:
        return "interrupted"
    return "stopped" if watch.request() == "stop" else None


def _metrics(step: int, total: int, weight: float) -> Metrics:
    return Metrics(
        step=step,
        total_steps=total,
        epoch=step / total,
        loss=weight if math.isfinite(weight) else None,
        learning_rate=0.1,
        grad_norm=1.0,
        tokens=step,
        supervised_tokens=step,
        tokens_per_s=1.0,
        step_s=STEP_S,
        memory_bytes=1,
    )


def _is_full(folder: Path) -> bool:
    return (folder.parent / DISK_FULL).exists() or (folder / DISK_FULL).exists()


def _require_disk(folder: Path) -> None:
    if _is_full(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def prepare() -> None:
    """Put the recipe in the place of torch, in a process that will be forked from."""
    devices: Any = types.ModuleType("backprop_core.engine.devices")
    devices.library_versions = dict
    devices.use_physical_cores = lambda: None
    devices.select_device = lambda _: types.SimpleNamespace(name="plain Python")
    sys.modules["backprop_core.engine.devices"] = devices
    execution._recipe = lambda _: train


def run_worker(run_dir: str) -> int:
    """Be the worker of a run whose disk is full while the file `disk-is-full` lies in its folder or beside it."""
    reserve = Path(run_dir) / "reserve"
    write = os.write

    def write_or_cut(fd: int, data: bytes) -> int:
        # A full disk cuts the line in two; the room of the reserve is free once that is removed.
        if len(data) > 32 and _is_full(Path(run_dir)) and reserve.exists():
            return write(fd, data[: len(data) // 2])
        return write(fd, data)

    os.write = write_or_cut  # type: ignore[assignment]
    return worker.main([run_dir])
