"""Numbers as people read them: one unit, fixed precision, a thousands comma, a true minus.

GiB for memory, GB for files. The space before a unit does not break.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

NBSP: Final = "\u00a0"
MINUS: Final = "\u2212"
GIB: Final = 1 << 30

_BARS: Final = "▁▂▃▄▅▆▇█"
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


def count(value: float) -> str:
    """Format a whole number: 18204 -> "18,204"."""
    return f"{value:,.0f}".replace("-", MINUS)


def compact(value: float) -> str:
    """Format a large count in three figures: 15_300_000 -> "15.3 M"."""
    for limit, suffix in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / (1e3 if suffix == "k" else limit)
            return f"{scaled:.3g}{NBSP}{suffix}".replace("-", MINUS)
    return count(value)


def gib(value_bytes: float) -> str:
    """Format memory: 14.2 * 2**30 -> "14.2 GiB"."""
    return f"{value_bytes / GIB:.1f}{NBSP}GiB"


def file_size(value_bytes: float) -> str:
    """Format a file size in powers of ten: 93_000_000 -> "93 MB"."""
    for limit, suffix in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value_bytes >= limit:
            scaled = value_bytes / limit
            return (
                f"{scaled:.0f}{NBSP}{suffix}"
                if scaled >= 10 and suffix != "GB"
                else f"{scaled:.1f}{NBSP}{suffix}"
            )
    return f"{value_bytes:.0f}{NBSP}B"


def duration(seconds: float) -> str:
    """Format a time span: 11_400 -> "3 h 10 m", 95 -> "1 m 35 s", 2.4 -> "2.4 s"."""
    if not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}{NBSP}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}{NBSP}m {whole % _MINUTE}{NBSP}s"
    if whole < _DAY:
        return f"{whole // _HOUR}{NBSP}h {whole % _HOUR // _MINUTE}{NBSP}m"
    return f"{whole // _DAY}{NBSP}d {whole % _DAY // _HOUR}{NBSP}h"


def loss(value: float | None) -> str:
    """Format a loss with three decimals; unknown and non-finite values are words."""
    if value is None:
        return "–"
    return f"{value:.3f}" if math.isfinite(value) else "not finite"


def rate(value: float) -> str:
    """Format a learning rate: 0.0002 -> "2e-4"."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def sparkline(values: Sequence[float]) -> str:
    """Return a line of bars, lowest to highest value; empty for fewer than two finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in finite)
