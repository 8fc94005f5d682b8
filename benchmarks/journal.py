"""What the journal costs a step and a reader. `python -m benchmarks.journal`"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from backprop_core.events.journal import JournalReader, JournalWriter
from backprop_core.events.types import Metrics, TelemetrySampled
from benchmarks.report import Figure, machine, show

_FAST_STEP_S = 0.05
"""A step of a small model on a fast card; every real step is longer."""


def measure() -> list[Figure]:
    """Return the cost of writing and of following."""
    with tempfile.TemporaryDirectory() as folder:
        append_s = _append_s(Path(folder) / "events.jsonl", 20_000)
        short, long = (_follow_s(Path(folder) / f"{steps}.jsonl", steps) for steps in (100, 100_000))
    # One metrics line per step, one telemetry line per second.
    share = 100 * (append_s + append_s * _FAST_STEP_S) / _FAST_STEP_S
    return [
        Figure("one event appended", append_s * 1e6, "µs"),
        Figure(f"journal and telemetry, share of a step of {_FAST_STEP_S * 1000:.0f} ms", share, "%", 1.0),
        Figure("one update of a run of 100 steps", short * 1e6, "µs"),
        Figure("one update of a run of 100,000 steps", long * 1e6, "µs"),
        Figure("the long one by the short one", long / short, "x", 1.5),
    ]


def _append_s(path: Path, count: int) -> float:
    with JournalWriter(path) as journal:
        start = time.perf_counter()
        for step in range(count):
            journal.append(_metrics(step) if step % 2 else TelemetrySampled(cpu_pct=50.0, ram_bytes=1 << 30))
        return (time.perf_counter() - start) / count


def _follow_s(path: Path, steps: int) -> float:
    """Return the median seconds to see one new event at the end of a journal of `steps`."""
    seconds = []
    with JournalWriter(path) as journal:
        for step in range(steps):
            journal.append(_metrics(step))
        reader = JournalReader(path)
        for _ in reader.read_all():
            pass
        for step in range(300):
            journal.append(_metrics(step))
            start = time.perf_counter()
            assert reader.has_news()
            assert len(reader.read_new()) == 1
            seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2]


def _metrics(step: int) -> Metrics:
    return Metrics(
        step=step,
        total_steps=100_000,
        epoch=0.5,
        loss=1.25,
        learning_rate=1e-4,
        grad_norm=0.7,
        tokens=step * 1000,
        supervised_tokens=step * 400,
        tokens_per_s=1000.0,
        step_s=0.05,
        memory_bytes=1 << 30,
    )


if __name__ == "__main__":
    print(machine())
    show("Journal", measure())
