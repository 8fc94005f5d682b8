"""When a run counts as stalled, and which cause is named."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backprop_core.events import types as ev
from backprop_core.services.stalls import judge
from tests.support.fake_worker import metrics

GIB = 1 << 30


def told(*bodies: tuple[float, ev.Body]) -> list[ev.Event]:
    return [
        ev.Event(n, datetime(2026, 1, 1, tzinfo=UTC), mono, body) for n, (mono, body) in enumerate(bodies, 1)
    ]


def steps(step_s: float, count: int = 5) -> list[tuple[float, ev.Body]]:
    return [
        (number * step_s, metrics(number, 100).model_copy(update={"step_s": step_s}))
        for number in range(1, count + 1)
    ]


def cause(events: list[ev.Event], now: float = 1000.0, **facts: object) -> str | None:
    stall = judge(events, now, **{"is_saving": False, **facts})
    return None if stall is None else stall.cause


@pytest.mark.parametrize("step_s, limit", [(1.0, 60.0), (12.0, 60.0), (20.0, 100.0)])
def test_the_limit_is_five_medians_and_at_least_a_minute(step_s, limit):
    events = told(*steps(step_s))
    last = 5 * step_s
    assert judge(events, last + limit - 0.1, is_saving=False) is None
    stall = judge(events, last + limit, is_saving=False)
    assert (stall.limit_s, round(stall.seconds, 3)) == (limit, limit)


def test_telemetry_is_no_sign_of_a_step():
    events = told(*steps(1.0), *[(5.0 + second, ev.TelemetrySampled()) for second in range(100)])
    assert cause(events, now=105.0) == "unknown"


@pytest.mark.parametrize(
    "phase, named",
    [("loading", "loading"), ("downloading", "loading"), ("tokenizing", "data"), ("saving", "checkpointing")],
)
def test_before_the_first_step_the_phase_is_the_cause(phase, named):
    assert cause(told((0.0, ev.PhaseChanged(phase=phase)))) == named


def test_progress_of_a_download_is_no_stall():
    assert cause(told((990.0, ev.PhaseChanged(phase="downloading", done=1, total=9)))) is None


def test_a_checkpoint_that_is_half_written_is_the_cause():
    assert cause(told(*steps(1.0)), is_saving=True) == "checkpointing"


def test_a_card_that_stopped_answering_is_lost():
    before = [(6.0, ev.TelemetrySampled(gpu_memory_bytes=GIB))]
    silent = [(7.0 + number, ev.TelemetrySampled()) for number in range(3)]
    assert cause(told(*steps(1.0), *before, *silent)) == "gpu_lost"
    assert cause(told(*steps(1.0), *silent)) == "unknown"


def test_a_full_machine_swaps():
    events = told(*steps(1.0), (6.0, ev.TelemetrySampled(ram_bytes=98 * GIB)))
    assert cause(events, host_bytes=100 * GIB) == "swapping"
    assert cause(events, host_bytes=200 * GIB) == "unknown"


def test_a_stall_is_one_sentence():
    stall = judge(told(*steps(1.0)), 130.0, is_saving=True)
    assert stall.text.replace("\u00a0", " ") == "No step for 2 m 5 s: it writes a checkpoint or the result."
