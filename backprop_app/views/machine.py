"""The machine in words: a card with its memory, or the processor where there is no card."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from backprop_core import units
from backprop_core.planning.records import MachineFacts
from backprop_core.telemetry.gpu import GpuSample
from backprop_core.telemetry.host import HostSample
from backprop_core.telemetry.sampler import Sample

# Length of the ring: 2 pi r with r = 27.
_RING: Final = 169.6


@dataclass(frozen=True, slots=True)
class Pair:
    """A label and a value, with an aside such as "of 83"."""

    label: str
    value: str
    aside: str = ""


@dataclass(frozen=True, slots=True)
class MachineView:
    """The GPU or processor block of the rail. What the machine does not tell is a dash, never 0."""

    label: str = ""
    title: str = "Processor"
    index: str = ""
    is_gpu: bool = False
    busy_text: str = "–"
    busy_unit: str = ""
    ring: str = "0 170"
    memory_label: str = "Memory"
    memory_used: str = "–"
    memory_of: str = ""
    memory_width: str = "0%"
    memory_note: str = ""
    memory_free: str = ""
    strip_busy: str = ""
    strip_memory: str = ""
    forecast_at: str = ""


def machine_view(sample: Sample | None) -> MachineView:
    """Return the block for the newest sample, the card when there is one."""
    if sample is None:
        return MachineView()
    return _card_view(sample.gpu) if sample.gpu.name else _host_view(sample.host)


def with_forecast(
    view: MachineView, sample: Sample | None, peak_bytes: int | None, resident_bytes: int | None
) -> MachineView:
    """Return `view` with the mark of what the run that works is expected to take at its peak.

    The forecast for a card counts everything the run puts on it, its context too. On a processor the other
    programs come first: they are what is used now without the run.

    Args:
        peak_bytes: forecast of the run; None when there is no run or no forecast.
        resident_bytes: what the run takes now, None before its first step.
    """
    if sample is None or peak_bytes is None:
        return view
    others: int | None = 0
    total = sample.gpu.memory_total_bytes
    if not sample.gpu.name:
        used, total = sample.host.ram_used_bytes, sample.host.ram_total_bytes
        others = None if used is None or resident_bytes is None else max(0, used - resident_bytes)
    note = f"forecast {units.gib(peak_bytes)}"
    if not total or others is None:
        return replace(view, memory_note=note)
    return replace(
        view, memory_note=note, forecast_at=f"{min(100.0, 100 * (others + peak_bytes) / total):.1f}%"
    )


def machine_pairs(sample: Sample | None) -> list[Pair]:
    """Return the figures beside the ring."""
    if sample is None:
        return []
    if sample.gpu.name:
        gpu = sample.gpu
        return [
            Pair("Temperature", _number(gpu.temperature_c, "°C"), _of(gpu.slowdown_c)),
            Pair("Power", _number(gpu.power_w, "W"), _of(gpu.power_limit_w)),
            Pair("Clock", _number(gpu.clock_mhz, "MHz")),
        ]
    host = sample.host
    clock = None if host.clock_mhz is None else host.clock_mhz / 1000
    return [
        Pair("Cores", "–" if host.cores is None else str(host.cores)),
        Pair("Load", "–" if host.load_1m is None else f"{host.load_1m:.1f}"),
        Pair("Clock", "–" if clock is None else f"{clock:.1f}{units.NBSP}GHz"),
    ]


def _card_view(gpu: GpuSample) -> MachineView:
    total = gpu.memory_total_bytes
    busy = _busy(gpu.util_pct)
    size = "" if total is None else f", {total / 1e9:.0f}{units.NBSP}GB"
    return MachineView(
        label=f"{_short_card(gpu.name)}{size}",
        title=_short_card(gpu.name),
        index="GPU 0",
        is_gpu=True,
        memory_label="VRAM",
        strip_busy=f"GPU {busy[0]}{busy[1]}",
        **_busy_fields(gpu.util_pct),
        **_memory_fields(gpu.memory_used_bytes, total),
    )


def _host_view(host: HostSample) -> MachineView:
    total = host.ram_total_bytes
    cores = "–" if host.cores is None else f"{host.cores} core{'' if host.cores == 1 else 's'}"
    size = "" if total is None else f", {total / units.GIB:.0f}{units.NBSP}GiB"
    busy = _busy(host.cpu_pct)
    return MachineView(
        label=f"{cores}{size}",
        title="Processor",
        index="no GPU",
        strip_busy=f"CPU {busy[0]}{busy[1]}",
        **_busy_fields(host.cpu_pct),
        **_memory_fields(host.ram_used_bytes, total),
    )


def _busy(percent: float | None) -> tuple[str, str]:
    return ("–", "") if percent is None else (f"{percent:.0f}", f"{units.NBSP}%")


def _busy_fields(percent: float | None) -> dict[str, Any]:
    text, unit = _busy(percent)
    arc = 0.0 if percent is None else _RING * min(100.0, max(0.0, percent)) / 100
    return {"busy_text": text, "busy_unit": unit, "ring": f"{arc:.1f} {_RING:.1f}"}


def _memory_fields(used: int | None, total: int | None) -> dict[str, Any]:
    if used is None or not total:
        return {"memory_used": "–", "strip_memory": ""}
    text, of = f"{used / units.GIB:.1f}", f"of {total / units.GIB:.1f}{units.NBSP}GiB"
    return {
        "memory_used": text,
        "memory_of": f" {of}",
        "memory_width": f"{100 * used / total:.1f}%",
        "memory_note": "all programs",
        "memory_free": f"{(total - used) / units.GIB:.1f} free",
        "strip_memory": f"{text} {of}",
    }


def _number(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{units.count(value)}{units.NBSP}{unit}"


def _of(value: float | None) -> str:
    return "" if value is None else f" of {units.count(value)}"


def _short_card(name: str) -> str:
    for word in ("NVIDIA ", "GeForce "):
        name = name.replace(word, "")
    return name


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of what this machine can do; `tone` is ok, warn or none."""

    tone: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class MachineCard:
    """The card about this machine on the first-run page."""

    pill_tone: str = ""
    pill_text: str = ""
    text: str = ""


def machine_card_view(facts: MachineFacts) -> MachineCard:
    """Return the head of the card."""
    if facts.gpu is not None:
        text = f"{units.gib(facts.gpu.free_bytes)} of {units.gib(facts.gpu.total_bytes)} are free."
        return MachineCard("ok", facts.gpu.name, text)
    reason = facts.gpu_problem or "No NVIDIA driver answered."
    return MachineCard("warn", "No GPU found", f"{reason} Small models train on the processor.")


def machine_facts_list(facts: MachineFacts) -> list[Fact]:
    """Return what this machine can train, and what works everywhere."""
    memory = f"{units.gib(facts.ram_free_bytes)} of {units.gib(facts.ram_total_bytes)} memory free"
    cores = Fact("ok", f"{facts.cpu_cores} core{'' if facts.cpu_cores == 1 else 's'}", memory)
    if facts.gpu is not None:
        lines = [
            Fact("ok", "Models that fit the card", "the plan says which, before anything is downloaded"),
            Fact("ok", "Small models", "on the card in minutes"),
        ]
    else:
        lines = [
            Fact("ok", "Models up to 0.5 B", "minutes to hours on the processor"),
            Fact("", "Larger models", "need an NVIDIA card with 8 GB or more"),
        ]
    elsewhere = Fact("ok", "Runs from the command line and Python", "are listed and followed here too")
    return [*lines, elsewhere, cores]
