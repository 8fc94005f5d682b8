"""A worker without torch: the real lock, journal and control file around an invented loss.

`python fake_worker.py RUN_DIR`; the run's name says how it behaves: `plain`, `slow`, `ignores-stop`,
`dies-at-once`, `dies-in-the-middle`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from backprop_core.events import types as ev
from backprop_core.events.journal import JournalReader, JournalWriter
from backprop_core.jobs.exits import EXIT_LOCKED
from backprop_core.platform import FileLock, process_start_token
from backprop_core.runs.store import RunFolder


def main(run_dir: str) -> int:
    folder = RunFolder(Path(run_dir))
    lock = FileLock(folder.lock_path)
    if not lock.acquire(wait_s=2.0):
        return EXIT_LOCKED
    info, spec = folder.info(), folder.spec()
    if info.is_detached and os.environ.get("BACKPROPAGATE_LAUNCH_ID") != info.launch_id:
        return EXIT_LOCKED
    behaviour = info.name
    if behaviour == "dies-at-once":
        print("ImportError: a library is missing", flush=True)
        return 1
    slot = FileLock(Path(os.environ["BACKPROPAGATE_HOME"]) / "slot.lock")
    while not slot.acquire():
        time.sleep(0.02)
    if behaviour == "ignores-stop":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    attempt = 1 + sum(
        isinstance(event.body, ev.RunStarted) for event in JournalReader(folder.journal_path).read_all()
    )
    with JournalWriter(folder.journal_path) as journal:
        journal.append(
            ev.RunStarted(
                attempt=attempt,
                pid=os.getpid(),
                process_token=process_start_token(os.getpid()),
                device="fake",
            )
        )
        total, paused = spec.steps or 10, False
        done = max(
            (
                e.body.step
                for e in JournalReader(folder.journal_path).read_all()
                if isinstance(e.body, ev.Metrics)
            ),
            default=0,
        )
        for step in range(done + 1, total + 1):
            time.sleep(0.05 if behaviour in {"slow", "ignores-stop"} else 0.002)
            journal.append(metrics(step, total))
            while (control := folder.control()) and control.request == "pause":
                if not paused:
                    journal.append(ev.RunPaused(step=step, reason="asked"))
                    paused = True
                time.sleep(0.02)
            if paused:
                journal.append(ev.RunContinued(step=step))
                paused = False
            if behaviour == "dies-in-the-middle" and step == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            control = folder.control()
            if control and control.request == "stop" and behaviour != "ignores-stop":
                journal.append(ev.RunStopped(step=step, artifact="adapter", seconds=1.0))
                return 0
        journal.append(ev.RunCompleted(step=total, artifact="adapter", seconds=1.0))
    return 0


def metrics(step: int, total: int) -> ev.Metrics:
    return ev.Metrics(
        step=step,
        total_steps=total,
        epoch=step / total,
        loss=2.0 / step,
        learning_rate=1e-4,
        grad_norm=1.0,
        tokens=100 * step,
        supervised_tokens=40 * step,
        tokens_per_s=1000.0,
        step_s=0.05,
        memory_bytes=1 << 20,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
