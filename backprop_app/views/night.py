"""The morning report as the Runs page shows it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from backprop_app.views.runs import clock, curve_path
from backprop_core import units
from backprop_core.services.report import Report, RunReport, energy_text


@dataclass(frozen=True, slots=True)
class NightItem:
    """One run that ended; `reason` is why, empty when it is done."""

    run_id: str
    name: str
    status: str
    ended: str
    loss: str
    took: str
    energy: str
    reason: str
    step: str
    curve: str
    curve_end_x: str
    curve_end_y: str


@dataclass(frozen=True, slots=True)
class NightView:
    """What ended lately, oldest first."""

    headline: str = ""
    facts: str = ""
    runs: list[NightItem] = field(default_factory=list)


def night_view(report: Report, now: datetime) -> NightView:
    """Return the card of a report."""
    if not report.runs:
        return NightView()
    worked = units.duration(sum(run.seconds for run in report.runs))
    facts = f"{worked} of work, energy {energy_text(report.energy_wh)}"
    return NightView(report.headline, facts, [_item(run, now) for run in report.runs])


def _item(run: RunReport, now: datetime) -> NightItem:
    curve, end_x, end_y = curve_path(list(run.curve))
    reason = run.error["message"] if run.error else (run.stops[-1] if run.stops else "")
    return NightItem(
        run_id=run.run_id,
        name=run.name,
        status=run.status,
        ended=clock(datetime.fromisoformat(run.ended_at), now),
        loss=units.loss(run.best_loss),
        took=units.duration(run.seconds),
        energy=energy_text(run.energy_wh),
        reason=reason,
        step=run.next_steps[0].label if run.next_steps else "",
        curve=curve,
        curve_end_x=end_x,
        curve_end_y=end_y,
    )
