"""The mark of the forecast on the memory bar."""

from __future__ import annotations

import dataclasses

from backprop_app.views.machine import machine_view, with_forecast
from backprop_core.telemetry.gpu import GpuSample
from backprop_core.telemetry.host import HostSample
from backprop_core.telemetry.sampler import Sample

GIB = 1 << 30


def blank(kind: type, **known: object) -> object:
    names = {field.name for field in dataclasses.fields(kind)} - known.keys()
    return kind(**dict.fromkeys(names, None), **known)


def sample(gpu: GpuSample, host: HostSample) -> Sample:
    return blank(Sample, gpu=gpu, host=host)


CARD = sample(
    blank(GpuSample, name="NVIDIA GeForce RTX 4070", memory_used_bytes=8 * GIB, memory_total_bytes=16 * GIB),
    blank(HostSample),
)
PROCESSOR = sample(
    blank(GpuSample, name=""), blank(HostSample, ram_used_bytes=9 * GIB, ram_total_bytes=20 * GIB)
)


def test_on_a_card_the_mark_stands_at_the_forecast() -> None:
    view = with_forecast(machine_view(CARD), CARD, 12 * GIB, 7 * GIB)
    assert (view.forecast_at, view.memory_note) == ("75.0%", "forecast 12.0\u00a0GiB")


def test_on_a_processor_the_other_programs_come_first() -> None:
    view = with_forecast(machine_view(PROCESSOR), PROCESSOR, 2 * GIB, 1 * GIB)
    assert view.forecast_at == "50.0%"


def test_on_a_processor_there_is_no_mark_before_the_run_tells_its_memory() -> None:
    view = with_forecast(machine_view(PROCESSOR), PROCESSOR, 2 * GIB, None)
    assert (view.forecast_at, view.memory_note) == ("", "forecast 2.0\u00a0GiB")


def test_without_a_working_run_there_is_no_mark() -> None:
    view = machine_view(CARD)
    assert with_forecast(view, CARD, None, None) is view
