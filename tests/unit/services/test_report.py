"""The report tells of each ended run what came of it, from its journal alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backprop_core.errors import InputError
from backprop_core.events import types as ev
from backprop_core.events.journal import JournalWriter
from backprop_core.runs import index
from backprop_core.runs.store import RunFolder
from backprop_core.services.report import energy_text, morning_report
from backprop_core.services.report_page import html_report
from backprop_core.workspace import Workspace
from tests.support.fake_worker import metrics
from tests.support.stores import FakeWorkerLauncher, make_run

START = datetime(2026, 1, 1, 22, 0, tzinfo=UTC)


class SetClock:
    """A clock that is set by hand; both faces move together."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def ws(clock):
    ws = Workspace.open(FakeWorkerLauncher(), clock=clock)
    yield ws
    ws.close()


def run(ws, clock, *events, name="night"):
    """Write the journal of a run, each event so many seconds after the one before, and list it."""
    state = make_run(ws, name=name)
    folder = RunFolder(Path(state.folder))
    with JournalWriter(folder.journal_path, clock) as journal:
        journal.append(ev.RunStarted(attempt=1, pid=1))
        for seconds, body in events:
            clock.seconds += seconds
            journal.append(body)
    index.rebuild(ws.database, [folder.path.parent], ws.now())
    return state.run_id


DONE = (1, ev.RunCompleted(step=3, artifact="adapter", seconds=30.0))


def test_energy_is_the_integral_of_the_sampled_power(ws, clock):
    samples = [(1, ev.TelemetrySampled(gpu_power_w=watts)) for watts in (100.0, 300.0, 300.0)]
    run(ws, clock, *samples, DONE)
    [told] = morning_report(ws).runs
    # 200 W in the mean for one second, then 300 W for another.
    assert told.energy_wh == pytest.approx(500 / 3600)


def test_a_hole_in_the_samples_and_a_new_attempt_add_no_energy(ws, clock):
    power = ev.TelemetrySampled(gpu_power_w=100.0)
    run(ws, clock, (1, power), (3600, power), (1, ev.RunStarted(attempt=2, pid=1)), (1, power), DONE)
    assert morning_report(ws).runs[0].energy_wh is None


def test_without_a_sensor_energy_is_not_measured(ws, clock):
    run(ws, clock, (1, ev.TelemetrySampled(cpu_pct=50.0)), (1, ev.TelemetrySampled(cpu_pct=50.0)), DONE)
    report = morning_report(ws)
    assert (report.energy_wh, energy_text(report.energy_wh)) == (None, "not measured")


def test_the_lowest_held_out_loss_counts_before_that_of_a_step(ws, clock):
    steps = [(1, metrics(step, 3)) for step in (1, 2, 3)]
    measures = [(1, ev.Evaluated(step=1, loss=0.9, rows=4)), (1, ev.Evaluated(step=3, loss=1.2, rows=4))]
    run(ws, clock, *steps, *measures, DONE)
    [told] = morning_report(ws).runs
    assert (told.best_step, told.best_loss, told.curve) == (1, 0.9, (2.0, 1.0, 2.0 / 3))


def test_every_halt_is_told_in_order(ws, clock):
    run(
        ws,
        clock,
        (1, ev.BatchSplit(step=1, before=4, after=2)),
        (1, ev.RunPaused(step=2, reason="the card is hot")),
        (1, ev.RunInterrupted(step=3, reason="the system ended the process")),
    )
    assert morning_report(ws).runs[0].stops == (
        "batch 4 to 2 in step 1: memory ran out",
        "paused after step 2: the card is hot",
        "interrupted after step 3: the system ended the process",
    )


def test_the_last_night_is_told_at_noon_and_the_night_before_is_not(ws, clock):
    run(ws, clock, DONE, name="before")
    clock.seconds += 24 * 3600
    run(ws, clock, DONE, name="last")
    clock.seconds += 14 * 3600
    assert [told.name for told in morning_report(ws).runs] == ["last"]
    assert [told.name for told in morning_report(ws, "2d").runs] == ["before", "last"]
    assert morning_report(ws, "12h").headline == "No run ended"


@pytest.mark.parametrize("since", ["", "yesterday", "0h", "-1h", "99999d", "12", "١h"])
def test_a_span_that_is_none_is_refused(ws, since):
    with pytest.raises(InputError) as caught:
        morning_report(ws, since)
    assert caught.value.code == "INPUT_VALIDATION_FAILED"


def test_a_hostile_name_is_text_in_the_file(ws, clock):
    run(ws, clock, DONE, name="<img src=x onerror=alert(1)>")
    page = html_report(morning_report(ws))
    assert "<img" not in page
    assert "&lt;img src=x" in page
