"""Why a run that should step does not: a named cause from what its journal and folder show.

A stall ends nothing: a worker that lives may still go on. A run whose worker is gone is none; it becomes
`interrupted` as soon as anybody looks.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from backprop_core import units
from backprop_core.events import types as ev
from backprop_core.events.journal import tail_events
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder
from backprop_core.workspace import Workspace

Cause = Literal["loading", "data", "checkpointing", "swapping", "gpu_lost", "unknown"]

STALL_MEDIANS: Final = 5.0
STALL_AT_LEAST_S: Final = 60.0
# A second of telemetry each, so that a minute without a step still shows the steps before it.
_EVENTS: Final = 600
_FEW_SAMPLES: Final = 3
# A host whose memory is this full trades pages with its disk.
_FULL: Final = 0.97

_WORDS: Final[dict[Cause, str]] = {
    "loading": "it loads the model",
    "data": "it reads the data",
    "checkpointing": "it writes a checkpoint or the result",
    "swapping": "the machine is out of memory and swaps",
    "gpu_lost": "the card no longer answers",
    "unknown": "the cause is not known; the log of the run may tell",
}
_BY_PHASE: Final[dict[str, Cause]] = {
    "downloading": "loading",
    "loading": "loading",
    "tokenizing": "data",
    "saving": "checkpointing",
}


@dataclass(frozen=True, slots=True)
class Stall:
    """A run that works and has not stepped for long.

    Attributes:
        seconds: since its last step, or since the attempt began.
        limit_s: from when on that counts as a stall.
    """

    cause: Cause
    seconds: float
    limit_s: float

    @property
    def text(self) -> str:
        """The stall as one sentence."""
        return f"No step for {units.duration(self.seconds)}: {_WORDS[self.cause]}."


def stall_of(ws: Workspace, state: RunState, *, host_bytes: int | None = None) -> Stall | None:
    """Return why a running run does not step; None when it steps in time.

    Args:
        host_bytes: memory of this machine, for telling whether it swaps.
    """
    if state.status != "running" or not state.is_training:
        return None
    folder = RunFolder(Path(state.folder))
    is_saving = any(folder.checkpoints.glob("*.partial"))
    events = tail_events(folder.journal_path, _EVENTS)
    return judge(events, ws.clock.monotonic(), is_saving=is_saving, host_bytes=host_bytes)


def judge(
    events: Sequence[ev.Event], now: float, *, is_saving: bool, host_bytes: int | None = None
) -> Stall | None:
    """Return the stall that the newest events of a running attempt show. Pure.

    The limit is five times the median of the steps at hand, at least a minute. Times are of the monotonic
    clock: setting the wall clock makes no stall.

    Args:
        now: monotonic seconds of this boot.
        is_saving: whether a checkpoint stands half written.
    """
    if not events:
        return None
    steps = [event for event in events if isinstance(event.body, ev.Metrics)]
    times = [event.body.step_s for event in steps if isinstance(event.body, ev.Metrics)]
    limit = max(STALL_AT_LEAST_S, STALL_MEDIANS * statistics.median(times) if times else 0.0)
    # Work that tells its progress moves, and what it tells is no step.
    moved = [event.mono for event in events if not isinstance(event.body, ev.TelemetrySampled)]
    seconds = now - (moved[-1] if moved else events[0].mono)
    if seconds < limit:
        return None
    return Stall(_cause(events, is_saving, host_bytes), seconds, limit)


def _cause(events: Sequence[ev.Event], is_saving: bool, host_bytes: int | None) -> Cause:
    samples = [event.body for event in events if isinstance(event.body, ev.TelemetrySampled)]
    if _is_card_lost(samples):
        return "gpu_lost"
    if is_saving:
        return "checkpointing"
    ram = next((sample.ram_bytes for sample in reversed(samples) if sample.ram_bytes is not None), None)
    if host_bytes and ram is not None and ram >= _FULL * host_bytes:
        return "swapping"
    has_stepped = any(isinstance(event.body, ev.Metrics) for event in events)
    phases = [event.body.phase for event in events if isinstance(event.body, ev.PhaseChanged)]
    newest = phases[-1] if phases else ""
    if has_stepped and newest != "saving":
        return "unknown"
    return _BY_PHASE.get(newest, "unknown")


def _is_card_lost(samples: Sequence[ev.TelemetrySampled]) -> bool:
    """Tell whether a card that had answered gives no figure any more."""
    newest = samples[-_FEW_SAMPLES:]
    is_silent = len(newest) == _FEW_SAMPLES and all(sample.gpu_memory_bytes is None for sample in newest)
    return is_silent and any(sample.gpu_memory_bytes is not None for sample in samples)
