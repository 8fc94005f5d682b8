"""A management library with one card, whose every answer a test can change: value, error, or a hang."""

from __future__ import annotations

import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

from backprop_core.telemetry.nvml import FUNCTION_NOT_FOUND, NvmlError

GIB = 1 << 30


class FakeNvml:
    """Answers like `nvidia-ml-py` on an RTX card; `calls` counts the calls by function."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.hang = threading.Event()
        self.answers: dict[str, Any] = {
            "nvmlInit": None,
            "nvmlDeviceGetHandleByIndex": "card 0",
            "nvmlDeviceGetName": "NVIDIA GeForce RTX 4070 Ti SUPER",
            "nvmlDeviceGetCount": 1,
            "nvmlSystemGetDriverVersion": "581.29",
            "nvmlSystemGetCudaDriverVersion": 13000,
            "nvmlDeviceGetCudaComputeCapability": (8, 9),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=16 * GIB, used=1 * GIB, free=15 * GIB),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=40),
            "nvmlDeviceGetTemperatureV": 71,
            "nvmlDeviceGetTemperature": 71,
            "nvmlDeviceGetMarginTemperature": 12,
            "nvmlDeviceGetPowerUsage": 240_500,
            "nvmlDeviceGetEnforcedPowerLimit": 285_000,
            "nvmlDeviceGetPowerManagementLimit": 285_000,
            "nvmlDeviceGetClockInfo": 2610,
            "nvmlDeviceGetCurrentClocksEventReasons": 0x4,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x4,
        }
        self.thresholds: dict[int, int] = {1: 91, 3: 89}

    def fail(self, code: int, *functions: str) -> None:
        """Let `functions` (all when none is named) end with an NVML error."""
        for function in functions or tuple(self.answers):
            self.answers[function] = NvmlError(function, code)

    def call(self, function: str, *arguments: Any) -> Any:
        self.calls[function] += 1
        if function == "nvmlDeviceGetTemperatureThreshold":
            return self.thresholds[arguments[1]]
        answer = self.answers.get(function, NvmlError(function, FUNCTION_NOT_FOUND))
        if isinstance(answer, NvmlError):
            raise answer
        if answer is self.hang:
            self.hang.wait(30)
            return None
        return answer
