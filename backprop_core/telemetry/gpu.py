"""Figures of one NVIDIA card. Every figure may be missing; none of them is ever guessed.

Blocking: a driver in trouble can hang for minutes, so callers wrap `read` in `Bounded`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from backprop_core.telemetry import nvml
from backprop_core.telemetry.bounded import Bounded
from backprop_core.telemetry.nvml import Nvml, NvmlError, PyNvml

INFO_TIMEOUT_S: Final = 3.0
NO_ANSWER: Final = "The NVIDIA driver does not answer."

_RETRY_S: Final = 30.0
_GPU_SENSOR: Final = 0
_GRAPHICS_CLOCK: Final = 0
_SLOWDOWN, _GPU_MAX = 1, 3
_HW_THERMAL_SLOWDOWN: Final = 0x40
_SW_THERMAL_SLOWDOWN: Final = 0x20


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """What does not change while the machine runs, and the memory as it is now."""

    name: str
    memory_total_bytes: int
    memory_free_bytes: int
    compute_capability: tuple[int, int] | None
    driver_version: str
    cuda_version: tuple[int, int] | None
    count: int

    @property
    def has_bf16(self) -> bool:
        """Whether the card multiplies bf16 itself: compute capability 8.0 and newer."""
        return self.compute_capability is not None and self.compute_capability >= (8, 0)


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One reading; None where the card does not tell.

    Attributes:
        slowdown_c: temperature at which the card slows itself down.
        margin_c: degrees left to it; negative above it.
        is_heat_limited: whether the card says that heat slows it now.
        problem: why there are no figures; empty when there are.
    """

    name: str = ""
    util_pct: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: float | None = None
    slowdown_c: float | None = None
    margin_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    clock_mhz: int | None = None
    is_heat_limited: bool | None = None
    problem: str = ""


class GpuReader:
    """Reads one card, opens the library when it can and opens it again after the card was lost."""

    def __init__(
        self, api: Nvml | None = None, *, index: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the library, the card's number on the PCI bus and monotonic seconds; nothing is opened yet."""
        self.problem = ""
        self._api = PyNvml() if api is None else api
        self._index = index
        self._clock = clock
        self._handle: Any = None
        self._name = ""
        self._retry_at = float("-inf")
        self._unsupported: set[str] = set()

    def read(self) -> GpuSample:
        """Return a reading; without a card that answers, one that says why. Never raises for the library."""
        if self._clock() < self._retry_at:
            return GpuSample(self._name, problem=self.problem)
        try:
            self._open()
            return self._sample()
        except NvmlError as error:
            self._give_up(error)
            return GpuSample(self._name, problem=self.problem)

    def info(self) -> GpuInfo | None:
        """Return the card's fixed facts, looked up now; None without a card (`problem` says why)."""
        try:
            self._open()
            memory = self._api.call("nvmlDeviceGetMemoryInfo", self._handle)
            driver = str(self._api.call("nvmlSystemGetDriverVersion"))
            count = int(self._api.call("nvmlDeviceGetCount"))
            capability = self._optional("nvmlDeviceGetCudaComputeCapability", self._handle)
            cuda = self._optional("nvmlSystemGetCudaDriverVersion")
        except NvmlError as error:
            self._give_up(error)
            return None
        return GpuInfo(
            name=self._name,
            memory_total_bytes=int(memory.total),
            memory_free_bytes=int(memory.free),
            compute_capability=(int(capability[0]), int(capability[1])) if capability else None,
            driver_version=driver,
            cuda_version=(int(cuda) // 1000, int(cuda) % 1000 // 10) if cuda else None,
            count=count,
        )

    def _open(self) -> None:
        if self._handle is not None:
            return
        self._unsupported.clear()
        self._api.call("nvmlInit")
        handle = self._api.call("nvmlDeviceGetHandleByIndex", self._index)
        self._name = str(self._api.call("nvmlDeviceGetName", handle))
        self._handle = handle
        self.problem = ""

    def _give_up(self, error: NvmlError) -> None:
        """Keep the reason and leave the library alone for a while; a lost card may come back."""
        self._handle = None
        self.problem = describe(error.code)
        self._retry_at = self._clock() + _RETRY_S

    def _sample(self) -> GpuSample:
        temperature = self._temperature()
        margin = self._margin(temperature)
        memory = self._optional("nvmlDeviceGetMemoryInfo", self._handle)
        usage = self._optional("nvmlDeviceGetUtilizationRates", self._handle)
        power = self._optional("nvmlDeviceGetPowerUsage", self._handle)
        limit = self._first("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementLimit")
        clock = self._optional("nvmlDeviceGetClockInfo", self._handle, _GRAPHICS_CLOCK)
        return GpuSample(
            name=self._name,
            util_pct=float(usage.gpu) if usage is not None else None,
            memory_used_bytes=int(memory.used) if memory is not None else None,
            memory_total_bytes=int(memory.total) if memory is not None else None,
            temperature_c=temperature,
            slowdown_c=temperature + margin if temperature is not None and margin is not None else None,
            margin_c=margin,
            power_w=power / 1000 if power is not None else None,
            power_limit_w=limit / 1000 if limit is not None else None,
            clock_mhz=int(clock) if clock is not None else None,
            is_heat_limited=self._heat_limited(),
        )

    def _temperature(self) -> float | None:
        for function in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):
            value = self._optional(function, self._handle, _GPU_SENSOR)
            if value is not None:
                return float(value)
        return None

    def _margin(self, temperature: float | None) -> float | None:
        """Return the degrees left until the card slows down.

        The library's own margin first. It replaces the thresholds, which older cards still tell and
        newer ones no longer do.
        """
        margin = self._optional("nvmlDeviceGetMarginTemperature", self._handle)
        if margin is not None:
            return float(margin)
        if temperature is None:
            return None
        for threshold in (_SLOWDOWN, _GPU_MAX):
            limit = self._optional("nvmlDeviceGetTemperatureThreshold", self._handle, threshold)
            # Some laptop cards answer 0 for a threshold that they do not have.
            if limit:
                return float(limit) - temperature
        return None

    def _heat_limited(self) -> bool | None:
        """Return whether heat slows the card. A power limit alone is normal and does not count."""
        reasons = self._first(
            "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"
        )
        if reasons is None:
            return None
        return bool(int(reasons) & (_HW_THERMAL_SLOWDOWN | _SW_THERMAL_SLOWDOWN))

    def _first(self, *functions: str) -> Any:
        """Return what the first of `functions` that works says about the card."""
        for function in functions:
            value = self._optional(function, self._handle)
            if value is not None:
                return value
        return None

    def _optional(self, function: str, *arguments: Any) -> Any:
        """Call `function`; None when this card does not support it, which is asked only once.

        Raises:
            NvmlError: the card or the driver is gone.
        """
        key = f"{function}{arguments[1:]}"
        if key in self._unsupported:
            return None
        try:
            return self._api.call(function, *arguments)
        except NvmlError as error:
            if error.code in nvml.GONE:
                raise
            if error.code in nvml.LASTING:
                self._unsupported.add(key)
            return None


def gpu_info(reader: GpuReader, *, timeout_s: float = INFO_TIMEOUT_S) -> tuple[GpuInfo | None, str]:
    """Return the card's fixed facts, or why there are none, even when the driver hangs."""
    done: list[GpuInfo | None] = []

    def look() -> bool:
        done.append(reader.info())
        return True

    ask = Bounded(look, timeout_s=timeout_s, name="gpu-info")
    answered = ask() is not None
    ask.close()
    if not answered:
        return None, NO_ANSWER
    return done[0], reader.problem


def describe(code: int) -> str:
    """Return in one sentence why the library gives no figures."""
    return _WORDS.get(code, f"The NVIDIA driver answered with error {code}.")


_WORDS: Final = {
    nvml.NO_PERMISSION: "The NVIDIA driver refuses to answer this user.",
    nvml.DRIVER_NOT_LOADED: "No NVIDIA driver is loaded.",
    nvml.LIBRARY_NOT_FOUND: "No NVIDIA driver answered.",
    nvml.NOT_FOUND: "The NVIDIA driver knows no such card.",
    nvml.GPU_IS_LOST: "The driver lost the card.",
    nvml.VERSION_MISMATCH: "The NVIDIA driver was updated; restart the machine.",
}
