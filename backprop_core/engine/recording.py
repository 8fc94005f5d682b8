"""The machine's figures in the journal once a second, while an attempt works.

A thread of its own: figures keep coming in the middle of a long step, and a driver that hangs holds
up nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from backprop_core.engine.context import RunContext
from backprop_core.errors import RunError
from backprop_core.events.types import TelemetrySampled
from backprop_core.telemetry.sampler import Sample

INTERVAL_S: Final = 1.0
_END_TIMEOUT_S: Final = 3.0


@contextmanager
def recorded(context: RunContext) -> Iterator[None]:
    """Journal telemetry while the block runs; nothing comes after it."""
    ending = threading.Event()
    thread = threading.Thread(target=_record, args=(context, ending), name="telemetry", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(_END_TIMEOUT_S)
        context.sampler.stop()


def _record(context: RunContext, ending: threading.Event) -> None:
    while not ending.wait(INTERVAL_S):
        sample = context.sampler.take()
        if ending.is_set():
            return
        try:
            context.journal.append(_event(sample))
        except RunError:
            # The disk is full; the training thread meets that too and ends the run.
            return


def _event(sample: Sample) -> TelemetrySampled:
    gpu, host = sample.gpu, sample.host
    return TelemetrySampled(
        gpu_util_pct=gpu.util_pct,
        gpu_memory_bytes=gpu.memory_used_bytes,
        gpu_temperature_c=gpu.temperature_c,
        gpu_power_w=gpu.power_w,
        cpu_pct=host.cpu_pct,
        ram_bytes=host.ram_used_bytes,
    )
