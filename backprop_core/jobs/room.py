"""Whether the device has room for a run that waits: its forecast against what is free now.

Memory of a run that has just ended, or of a program outside, may come back a moment later. A figure
that nobody knows never holds a run back, and neither does a forecast within its own error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from backprop_core import files, units
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder
from backprop_core.telemetry.bounded import Bounded
from backprop_core.telemetry.gpu import GpuReader, GpuSample
from backprop_core.telemetry.host import HostReader
from backprop_core.telemetry.sampler import Sampler

_GPU_TIMEOUT_S: Final = 1.0


class FreeMemory(Protocol):
    """Tells how much memory is free; None where the machine does not tell."""

    def on_card(self) -> int | None:
        """Return the free bytes of the card."""
        ...

    def on_host(self) -> int | None:
        """Return the bytes that a new process can take without swapping."""
        ...


class MachineMemory:
    """The free memory of this machine, from the driver and the host."""

    def __init__(self, gpu: GpuReader | None = None, host: HostReader | None = None) -> None:
        self._gpu = Bounded((gpu or GpuReader()).read, timeout_s=_GPU_TIMEOUT_S, name="room")
        self._host = host or HostReader()

    def on_card(self) -> int | None:
        """Return the free bytes of the card; None while its driver does not answer."""
        sample = self._gpu()
        return None if sample is None else _free_on(sample)

    def on_host(self) -> int | None:
        """Return the bytes that a new process can take, a container's limit included."""
        return self._host.read().ram_available_bytes


class SampledMemory:
    """The free memory of this machine as a sampler last saw it, for who looks once a second."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def on_card(self) -> int | None:
        """Return the free bytes of the card; None while nothing was sampled or the card does not tell."""
        sample = self._sampler.latest()
        return None if sample is None else _free_on(sample.gpu)

    def on_host(self) -> int | None:
        """Return the bytes that a new process can take, a container's limit included."""
        sample = self._sampler.latest()
        return None if sample is None else sample.host.ram_available_bytes


def _free_on(card: GpuSample) -> int | None:
    if card.memory_total_bytes is None or card.memory_used_bytes is None:
        return None
    return card.memory_total_bytes - card.memory_used_bytes


@dataclass(frozen=True, slots=True)
class Need:
    """What a run was forecast to take.

    Attributes:
        peak_bytes: the forecast peak.
        least_bytes: the peak less the error of the forecast; with less free memory it cannot begin.
        seconds: how long it works; None when nobody knows.
    """

    peak_bytes: int
    least_bytes: int
    seconds: float | None


def need_of(state: RunState) -> Need | None:
    """Return what the run was planned with; None when its folder does not tell."""
    try:
        plan = files.read_json(RunFolder(Path(state.folder)).spec_path)["plan"]
        peak = int(plan["peak_bytes"])
        seconds = plan.get("time_s")
        return Need(
            peak, peak - int(plan.get("error_bytes") or 0), None if seconds is None else float(seconds)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def why_no_room(state: RunState, memory: FreeMemory) -> str | None:
    """Return in a few words which memory the run waits for; None when there is room or nobody knows."""
    need = need_of(state)
    if need is None:
        return None
    is_card = RunFolder(Path(state.folder)).spec().device == "cuda"
    free = memory.on_card() if is_card else memory.on_host()
    if free is None or free >= need.least_bytes:
        return None
    where = "on the card" if is_card else "of memory"
    return f"{units.gib(free)} {where} free, {units.gib(need.least_bytes)} needed"
