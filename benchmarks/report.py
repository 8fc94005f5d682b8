"""Prints measured figures beside what they must reach. Knows nothing of what is measured."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured quantity; `limit` None when it is only for information."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    is_at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the value reaches what it must."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.is_at_least else self.value <= self.limit


def show(title: str, figures: list[Figure]) -> None:
    """Print a table of figures."""
    print(f"\n## {title}\n\n| figure | measured | must |\n|---|---|---|")
    for figure in figures:
        sign = "≥" if figure.is_at_least else "≤"
        must = "" if figure.limit is None else f"{sign} {figure.limit:g} {figure.unit}"
        mark = "" if figure.holds else " (missed)"
        print(f"| {figure.name} | {figure.value:.3g} {figure.unit}{mark} | {must} |")


def machine() -> str:
    """Return one line about this machine."""
    model = platform.processor() or platform.machine()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def median_s(work: Callable[[], object], times: int) -> float:
    """Return the median seconds of `times` calls."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
