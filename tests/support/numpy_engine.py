"""A worker without torch that drives the real journal, lock and checkpoint writer until it is killed.

`python -m tests.support.numpy_engine FOLDER SECONDS_PER_STEP`. Its weights after step n are a known
function of n, so that anybody can tell whether a checkpoint holds what it says.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from backprop_core.engine.checkpoints import CheckpointStore, Identity
from backprop_core.events.journal import JournalWriter
from backprop_core.events.types import CheckpointSaved, Metrics, RunResumed
from backprop_core.platform import FileLock

IDENTITY = Identity(run_id="r", config_sha256="c", data_sha256="d", base="b")
SIZE = 4096


def weights_after(step: int) -> np.ndarray:
    """Return the weights that every attempt has after `step`."""
    return np.random.default_rng(step).standard_normal(SIZE)


def metrics_of(step: int) -> Metrics:
    """Return the event of a step."""
    return Metrics(
        step=step,
        total_steps=10**6,
        epoch=0.0,
        loss=float(weights_after(step)[0]),
        learning_rate=1.0,
        grad_norm=1.0,
        tokens=step,
        supervised_tokens=step,
        tokens_per_s=1.0,
        step_s=1.0,
        memory_bytes=1,
    )


def main(folder: Path, seconds_per_step: float) -> None:
    """Take steps, journal each and write a checkpoint after each, from the newest one on."""
    lock = FileLock(folder / "lock")
    assert lock.acquire(), "the lock of a killed process must be free"
    store = CheckpointStore(folder / "checkpoints")
    store.clean()
    invalid: list[int] = []
    manifest = store.newest_valid(lambda step, _: invalid.append(step))
    assert not invalid, f"a visible checkpoint did not verify: {invalid}"
    step = manifest.step if manifest else 0
    if manifest:
        held = np.load(store.path(step) / "weights.npy")
        assert np.array_equal(held, weights_after(step)), "a checkpoint holds another step's weights"
    with JournalWriter(folder / "events.jsonl") as journal:
        journal.append(RunResumed(step=step, path=""))
        print("ready", step, flush=True)
        while True:
            time.sleep(seconds_per_step)
            step += 1
            journal.append(metrics_of(step))
            weights = weights_after(step)
            path = store.write(
                IDENTITY,
                step=step,
                attempt=1,
                created_at="now",
                write_files=lambda target, array=weights: np.save(target / "weights.npy", array),  # type: ignore[misc]
            )
            journal.append(CheckpointSaved(step=step, path=path.name, size_bytes=1, seconds=0.0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
