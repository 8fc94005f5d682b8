from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backprop_core.telemetry.host import (
    HostReader,
    ProcSource,
    PsutilSource,
    best_source,
    container_memory,
    cpu_has_bf16,
)

MEMINFO = "MemTotal:       32000000 kB\nMemFree:        1000000 kB\nMemAvailable:   24000000 kB\n"
CPUINFO = """processor\t: 0
flags\t\t: fpu sse avx512_bf16 amx_tile
cpu MHz\t\t: 2500.000
physical id\t: 0
core id\t\t: 0

processor\t: 1
flags\t\t: fpu sse avx512_bf16 amx_tile
cpu MHz\t\t: 3500.000
physical id\t: 0
core id\t\t: 0

processor\t: 2
flags\t\t: fpu sse avx512_bf16 amx_tile
cpu MHz\t\t: 3000.000
physical id\t: 0
core id\t\t: 1
"""


@pytest.fixture
def proc(tmp_path) -> Path:
    (tmp_path / "self").mkdir()
    (tmp_path / "stat").write_text("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n")
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    (tmp_path / "self" / "status").write_text("Name:\tx\nVmRSS:\t   150000 kB\n")
    return tmp_path


def _no_limit() -> None:
    return None


def test_proc_gives_memory_cores_clock_and_own_memory(proc):
    sample = HostReader(ProcSource(proc), memory_limit=_no_limit).read()
    assert sample.ram_total_bytes == 32_000_000 * 1024
    assert sample.ram_available_bytes == 24_000_000 * 1024
    assert sample.ram_used_bytes == 8_000_000 * 1024
    assert sample.rss_bytes == 150_000 * 1024
    assert (sample.cores, sample.clock_mhz) == (2, 3000.0)


def test_cpu_share_is_that_since_the_last_reading(proc):
    reader = HostReader(ProcSource(proc), memory_limit=_no_limit)
    (proc / "stat").write_text("cpu  160 0 50 820 70 0 0 0 0 0\n")
    assert reader.read().cpu_pct == 60.0
    (proc / "stat").write_text("cpu  160 0 50 920 70 0 0 0 0 0\n")
    assert reader.read().cpu_pct == 0.0


def test_cpu_share_is_unknown_when_no_time_has_passed(proc):
    assert HostReader(ProcSource(proc), memory_limit=_no_limit).read().cpu_pct is None


def test_a_missing_proc_gives_no_figures(tmp_path):
    sample = HostReader(ProcSource(tmp_path / "none"), memory_limit=_no_limit).read()
    assert (sample.ram_total_bytes, sample.ram_used_bytes, sample.rss_bytes, sample.cpu_pct) == (
        None,
        None,
        None,
        None,
    )


def test_a_containers_limit_takes_the_place_of_the_machines_memory(proc):
    limit = (4_000_000_000, 1_000_000_000)
    sample = HostReader(ProcSource(proc), memory_limit=lambda: limit).read()
    assert (sample.ram_total_bytes, sample.ram_available_bytes) == (4_000_000_000, 3_000_000_000)


def test_a_limit_above_the_machines_memory_does_not_count(proc):
    sample = HostReader(ProcSource(proc), memory_limit=lambda: (1 << 50, 5)).read()
    assert sample.ram_available_bytes == 24_000_000 * 1024


def test_container_limit_of_the_unified_hierarchy(tmp_path):
    (tmp_path / "memory.max").write_text("4000000000\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    assert container_memory(tmp_path) == (4_000_000_000, 1_000_000_000)


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n"])
def test_a_container_without_a_limit_has_none(tmp_path, text):
    (tmp_path / "memory.max").write_text(text)
    (tmp_path / "memory.current").write_text("1000\n")
    assert container_memory(tmp_path) is None


def test_bf16_units_are_read_from_the_flags(proc):
    assert cpu_has_bf16(proc / "cpuinfo")


def test_a_processor_without_the_flag_has_no_bf16_units(tmp_path):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx2 avx512f\n")
    assert not cpu_has_bf16(tmp_path / "cpuinfo")
    assert not cpu_has_bf16(tmp_path / "absent")


def test_psutil_and_proc_agree_about_this_machine():
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has /proc")
    by_psutil = HostReader(PsutilSource(), memory_limit=_no_limit).read()
    by_proc = HostReader(ProcSource(), memory_limit=_no_limit).read()
    assert by_psutil.ram_total_bytes == by_proc.ram_total_bytes
    assert by_psutil.cores == by_proc.cores


def test_without_psutil_the_figures_come_from_proc(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert isinstance(best_source(), ProcSource)
