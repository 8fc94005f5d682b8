from __future__ import annotations

import sys

import pytest

from backprop_core.telemetry import nvml
from backprop_core.telemetry.gpu import GpuReader, GpuSample, gpu_info
from backprop_core.telemetry.nvml import NvmlError, PyNvml
from tests.support.fake_nvml import GIB, FakeNvml


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_all_figures_of_a_card_that_tells_everything():
    assert GpuReader(FakeNvml()).read() == GpuSample(
        name="NVIDIA GeForce RTX 4070 Ti SUPER",
        util_pct=97.0,
        memory_used_bytes=1 * GIB,
        memory_total_bytes=16 * GIB,
        temperature_c=71.0,
        slowdown_c=83.0,
        margin_c=12.0,
        power_w=240.5,
        power_limit_w=285.0,
        clock_mhz=2610,
        is_heat_limited=False,
        problem="",
    )


def test_margin_falls_back_to_the_slowdown_threshold():
    api = FakeNvml()
    api.fail(nvml.NOT_SUPPORTED, "nvmlDeviceGetMarginTemperature")
    sample = GpuReader(api).read()
    assert (sample.margin_c, sample.slowdown_c) == (20.0, 91.0)


def test_a_threshold_of_zero_is_no_threshold():
    api = FakeNvml()
    api.fail(nvml.FUNCTION_NOT_FOUND, "nvmlDeviceGetMarginTemperature")
    api.thresholds[1] = 0
    assert GpuReader(api).read().margin_c == 18.0


def test_margin_below_zero_is_kept():
    api = FakeNvml()
    api.answers["nvmlDeviceGetMarginTemperature"] = -3
    assert GpuReader(api).read().margin_c == -3.0


def test_temperature_falls_back_to_the_older_function():
    api = FakeNvml()
    api.fail(nvml.FUNCTION_NOT_FOUND, "nvmlDeviceGetTemperatureV")
    api.answers["nvmlDeviceGetTemperature"] = 66
    assert GpuReader(api).read().temperature_c == 66.0


def test_an_unsupported_figure_is_none_and_the_others_stand():
    api = FakeNvml()
    api.fail(nvml.NOT_SUPPORTED, "nvmlDeviceGetPowerUsage", "nvmlDeviceGetUtilizationRates")
    sample = GpuReader(api).read()
    assert (sample.power_w, sample.util_pct, sample.temperature_c) == (None, None, 71.0)


def test_an_unsupported_function_is_asked_only_once():
    api = FakeNvml()
    api.fail(nvml.NOT_SUPPORTED, "nvmlDeviceGetPowerUsage")
    reader = GpuReader(api)
    reader.read()
    reader.read()
    assert api.calls["nvmlDeviceGetPowerUsage"] == 1


def test_a_passing_error_is_asked_again():
    api = FakeNvml()
    power = api.answers["nvmlDeviceGetPowerUsage"]
    api.fail(999, "nvmlDeviceGetPowerUsage")
    reader = GpuReader(api)
    assert reader.read().power_w is None
    api.answers["nvmlDeviceGetPowerUsage"] = power
    assert reader.read().power_w == 240.5


@pytest.mark.parametrize(("reasons", "limited"), [(0x4, False), (0x20, True), (0x40, True), (0x0, False)])
def test_heat_is_told_apart_from_a_power_limit(reasons, limited):
    api = FakeNvml()
    api.answers["nvmlDeviceGetCurrentClocksEventReasons"] = reasons
    assert GpuReader(api).read().is_heat_limited is limited


def test_a_lost_card_keeps_its_name_and_says_so():
    api = FakeNvml()
    reader = GpuReader(api)
    reader.read()
    api.fail(nvml.GPU_IS_LOST)
    assert reader.read() == GpuSample(
        name="NVIDIA GeForce RTX 4070 Ti SUPER", problem="The driver lost the card."
    )


def test_a_lost_card_is_left_alone_and_found_again_later():
    clock = _Clock()
    api = FakeNvml()
    answers = dict(api.answers)
    api.fail(nvml.GPU_IS_LOST)
    reader = GpuReader(api, clock=clock)
    reader.read()
    asked = api.calls.total()
    clock.now = 29.0
    reader.read()
    assert api.calls.total() == asked
    api.answers = answers
    clock.now = 30.0
    assert reader.read().temperature_c == 71.0
    assert reader.problem == ""


def test_info_of_a_card():
    info, problem = gpu_info(GpuReader(FakeNvml()))
    assert problem == ""
    assert info is not None
    assert (info.name, info.memory_free_bytes) == ("NVIDIA GeForce RTX 4070 Ti SUPER", 15 * GIB)
    assert (info.compute_capability, info.cuda_version, info.driver_version) == ((8, 9), (13, 0), "581.29")
    assert info.has_bf16


def test_a_turing_card_has_no_bf16():
    api = FakeNvml()
    api.answers["nvmlDeviceGetCudaComputeCapability"] = (7, 5)
    info, _ = gpu_info(GpuReader(api))
    assert info is not None
    assert not info.has_bf16


def test_info_without_a_driver_says_why():
    api = FakeNvml()
    api.fail(nvml.VERSION_MISMATCH, "nvmlInit")
    assert gpu_info(GpuReader(api)) == (None, "The NVIDIA driver was updated; restart the machine.")


def test_info_does_not_wait_for_a_driver_that_hangs():
    api = FakeNvml()
    api.answers["nvmlInit"] = api.hang
    assert gpu_info(GpuReader(api), timeout_s=0.02) == (None, "The NVIDIA driver does not answer.")
    api.hang.set()


def test_a_missing_library_is_an_error_of_the_border(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NvmlError) as caught:
        PyNvml().call("nvmlInit")
    assert caught.value.code == nvml.LIBRARY_NOT_FOUND


def test_a_function_that_this_version_lacks_is_an_error_of_the_border():
    with pytest.raises(NvmlError) as caught:
        PyNvml().call("nvmlNoSuchFunction")
    assert caught.value.code == nvml.FUNCTION_NOT_FOUND


def test_an_error_of_the_real_library_carries_its_code():
    # Nothing initialised the library in this process, with or without a driver.
    with pytest.raises(NvmlError) as caught:
        PyNvml().call("nvmlDeviceGetCount")
    assert caught.value.code == nvml.UNINITIALIZED
