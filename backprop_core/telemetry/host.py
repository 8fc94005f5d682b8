"""Figures of processor and memory: psutil where it is installed, else Linux's /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

_KIB: Final = 1024
# What a cgroup without a limit tells is a number near 2**63.
_NO_LIMIT: Final = 1 << 60
_BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})


@dataclass(frozen=True, slots=True)
class HostSample:
    """One reading; None where the system does not tell.

    Attributes:
        cpu_pct: busy share of all processors since the last reading.
        cores: physical cores.
        load_1m: runnable processes, mean of a minute.
        ram_available_bytes: what a new process can take without swapping, a container's limit included.
        rss_bytes: resident memory of this process.
    """

    cpu_pct: float | None = None
    cores: int | None = None
    load_1m: float | None = None
    clock_mhz: float | None = None
    ram_used_bytes: int | None = None
    ram_total_bytes: int | None = None
    ram_available_bytes: int | None = None
    rss_bytes: int | None = None


class HostSource(Protocol):
    """Where the raw figures come from."""

    def cpu_times(self) -> tuple[float, float] | None:
        """Return busy and total processor seconds since boot."""

    def memory(self) -> tuple[int, int] | None:
        """Return total and available bytes."""

    def cores(self) -> int | None:
        """Return the number of physical cores."""

    def clock_mhz(self) -> float | None:
        """Return the mean clock."""

    def rss_bytes(self) -> int | None:
        """Return the resident memory of this process."""


class HostReader:
    """Reads the host; keeps the last processor times, so that a share is of the time between two reads."""

    def __init__(
        self,
        source: HostSource | None = None,
        *,
        memory_limit: Callable[[], tuple[int, int] | None] | None = None,
    ) -> None:
        """Take the source of figures and of a container's memory limit (limit and used bytes)."""
        self._source = best_source() if source is None else source
        self._memory_limit = container_memory if memory_limit is None else memory_limit
        self._last: tuple[float, float] | None = self._source.cpu_times()

    def read(self) -> HostSample:
        """Return a reading."""
        memory = self._memory()
        total, available = memory if memory is not None else (None, None)
        return HostSample(
            cpu_pct=self._cpu_pct(),
            cores=self._source.cores(),
            load_1m=_load(),
            clock_mhz=self._source.clock_mhz(),
            ram_used_bytes=total - available if total is not None and available is not None else None,
            ram_total_bytes=total,
            ram_available_bytes=available,
            rss_bytes=self._source.rss_bytes(),
        )

    def _memory(self) -> tuple[int, int] | None:
        memory = self._source.memory()
        limit = self._memory_limit()
        if memory is None or limit is None or limit[0] >= memory[0]:
            return memory
        return limit[0], max(0, min(memory[1], limit[0] - limit[1]))

    def _cpu_pct(self) -> float | None:
        now = self._source.cpu_times()
        before, self._last = self._last, now
        if now is None or before is None or now[1] <= before[1]:
            return None
        return min(100.0, max(0.0, 100 * (now[0] - before[0]) / (now[1] - before[1])))


def best_source() -> HostSource:
    """Return psutil's figures where it is installed, else those of /proc."""
    try:
        return PsutilSource()
    except ImportError:
        return ProcSource()


class PsutilSource:
    """Figures from psutil, which knows every system."""

    def __init__(self) -> None:
        """Import psutil.

        Raises:
            ImportError: it is not installed.
        """
        import psutil

        self._psutil = psutil
        self._process = psutil.Process()

    def cpu_times(self) -> tuple[float, float] | None:
        """Return busy and total processor seconds since boot."""
        times = self._psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Linux counts guest time within user time already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return total - idle, total

    def memory(self) -> tuple[int, int] | None:
        """Return total and available bytes."""
        memory = self._psutil.virtual_memory()
        return int(memory.total), int(memory.available)

    def cores(self) -> int | None:
        """Return the number of physical cores, of logical ones where the system hides them."""
        return self._psutil.cpu_count(logical=False) or os.cpu_count()

    def clock_mhz(self) -> float | None:
        """Return the mean clock."""
        try:
            clock = self._psutil.cpu_freq()
        except (OSError, NotImplementedError):
            return None
        return float(clock.current) if clock is not None and clock.current else None

    def rss_bytes(self) -> int | None:
        """Return the resident memory of this process."""
        return int(self._process.memory_info().rss)


class ProcSource:
    """Figures from Linux's /proc; None for all of them elsewhere."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        """Take the folder that holds `stat`, `meminfo` and `cpuinfo`."""
        self._root = root

    def cpu_times(self) -> tuple[float, float] | None:
        """Return busy and total processor ticks since boot, from the first line of `stat`."""
        fields = self._read("stat").partition("\n")[0].split()[1:9]
        if len(fields) < 5:
            return None
        ticks = [float(field) for field in fields]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)

    def memory(self) -> tuple[int, int] | None:
        """Return total and available bytes."""
        found = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", self._read("meminfo"), re.MULTILINE))
        if len(found) < 2:
            return None
        return int(found["MemTotal"]) * _KIB, int(found["MemAvailable"]) * _KIB

    def cores(self) -> int | None:
        """Return the number of physical cores."""
        text = self._read("cpuinfo")
        pairs = set(re.findall(r"^physical id\s*: (\d+)$[\s\S]*?^core id\s*: (\d+)$", text, re.MULTILINE))
        return len(pairs) or os.cpu_count()

    def clock_mhz(self) -> float | None:
        """Return the mean clock."""
        clocks = [
            float(clock)
            for clock in re.findall(r"^cpu MHz\s*: ([\d.]+)", self._read("cpuinfo"), re.MULTILINE)
        ]
        return sum(clocks) / len(clocks) if clocks else None

    def rss_bytes(self) -> int | None:
        """Return the resident memory of this process."""
        found = re.search(r"^VmRSS:\s+(\d+) kB", self._read("self/status"), re.MULTILINE)
        return int(found[1]) * _KIB if found else None

    def _read(self, name: str) -> str:
        try:
            return (self._root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def container_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[int, int] | None:
    """Return limit and used bytes of the container's cgroup; None when there is no limit."""
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit = int((cgroup / limit_name).read_text())
            used = int((cgroup / used_name).read_text())
        except (OSError, ValueError):
            continue
        return (limit, used) if limit < _NO_LIMIT else None
    return None


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the processor multiplies bf16 itself; False where the system does not tell."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    found = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    return found is not None and not _BF16_FLAGS.isdisjoint(found[1].split())


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None
