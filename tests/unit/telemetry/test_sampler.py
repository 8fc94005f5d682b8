from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from itertools import count

from backprop_core.telemetry.gpu import GpuReader, GpuSample
from backprop_core.telemetry.host import HostSample
from backprop_core.telemetry.sampler import KEPT, Sampler
from tests.support.fake_nvml import FakeNvml

START = datetime(2026, 1, 1, tzinfo=UTC)


def _sampler(**changes) -> Sampler:
    ticks = count()
    options = {
        "read_gpu": lambda: GpuSample("card", util_pct=50.0),
        "read_host": lambda: HostSample(cpu_pct=10.0),
        "clock": lambda: float(next(ticks)),
        "now": lambda: START,
        **changes,
    }
    return Sampler(**options)


def test_a_sample_carries_card_host_and_time():
    sampler = _sampler()
    sample = sampler.take()
    sampler.stop()
    assert (sample.seq, sample.ts, sample.gpu.util_pct, sample.host.cpu_pct) == (1, START, 50.0, 10.0)


def test_latest_is_none_before_the_first_sample():
    assert _sampler().latest() is None


def test_since_gives_only_newer_samples_oldest_first():
    sampler = _sampler()
    for _ in range(5):
        sampler.take()
    sampler.stop()
    assert [sample.seq for sample in sampler.since(3)] == [4, 5]
    assert sampler.since(5) == []
    assert sampler.since(99) == []


def test_ten_minutes_are_kept():
    sampler = _sampler()
    for _ in range(KEPT + 7):
        sampler.take()
    sampler.stop()
    kept = sampler.since(0)
    assert KEPT == 600
    assert (len(kept), kept[0].seq, kept[-1].seq) == (600, 8, 607)


def test_a_driver_that_hangs_costs_its_own_figures_only():
    api = FakeNvml()
    api.answers["nvmlDeviceGetMemoryInfo"] = api.hang
    sampler = _sampler(read_gpu=GpuReader(api).read, gpu_timeout_s=0.02)
    first, second = sampler.take(), sampler.take()
    assert first.gpu == second.gpu == GpuSample(problem="The NVIDIA driver does not answer.")
    assert second.host.cpu_pct == 10.0
    assert api.calls["nvmlDeviceGetMemoryInfo"] == 1
    api.hang.set()
    sampler.stop()


def test_a_driver_that_fails_costs_its_own_figures_only():
    api = FakeNvml()
    api.fail(15)
    sampler = _sampler(read_gpu=GpuReader(api).read)
    sample = sampler.take()
    sampler.stop()
    assert (sample.gpu.problem, sample.host.cpu_pct) == ("The driver lost the card.", 10.0)


def test_the_thread_samples_until_it_is_stopped():
    enough = threading.Event()
    seen = []

    def read_host() -> HostSample:
        seen.append(threading.current_thread().name)
        if len(seen) == 3:
            enough.set()
        return HostSample()

    sampler = Sampler(GpuSample, read_host, interval_s=0.001)
    sampler.start()
    assert enough.wait(10)
    sampler.stop()
    taken = len(sampler.since(0))
    assert taken >= 3
    assert set(seen) == {"telemetry"}
    assert not any(thread.name == "telemetry" for thread in threading.enumerate())


def test_a_stopped_sampler_can_start_again():
    again = threading.Event()
    sampler = Sampler(GpuSample, lambda: (again.set(), HostSample())[1], interval_s=0.001)
    sampler.start()
    sampler.stop()
    again.clear()
    sampler.start()
    assert again.wait(10)
    sampler.stop()


def test_a_wall_clock_that_jumps_does_not_change_the_order():
    moments = iter([START, START - timedelta(days=1)])
    sampler = _sampler(now=lambda: next(moments))
    sampler.take()
    sampler.take()
    sampler.stop()
    first, second = sampler.since(0)
    assert (second.seq, second.mono > first.mono) == (2, True)
