"""What the Runs page says about the night, and what a page tells of each end."""

from __future__ import annotations

from datetime import UTC, datetime

from backprop_app.views.night import night_view
from backprop_app.views.notices import notice_items
from backprop_core.runs.outbox import Notice, Post
from backprop_core.services.report import Report, RunReport

NOW = datetime(2026, 1, 2, 8, 0, tzinfo=UTC)


def run(**changes) -> RunReport:
    values = {
        "run_id": "1",
        "short_id": "1",
        "name": "night",
        "kind": "train",
        "model": "m",
        "status": "completed",
        "ended_at": "2026-01-02T03:00:00+00:00",
        "seconds": 3600.0,
        "step": 10,
        "total_steps": 10,
        "loss": 1.0,
        "best_loss": 0.5,
        "best_step": 8,
        "curve": (2.0, 1.0),
        "stops": (),
        "energy_wh": None,
        "error": None,
        "next_steps": (),
    }
    return RunReport(**values | changes)


def test_the_card_of_an_empty_night_is_empty():
    assert night_view(Report("", ()), NOW).runs == []


def test_the_card_sums_up_and_says_why_each_run_ended():
    error = {
        "code": "RUNTIME_DISK_FULL",
        "message": "The disk is full.",
        "hint": "",
        "retryable": True,
        "details": {},
    }
    view = night_view(Report("", (run(), run(status="failed", error=error, energy_wh=1500.0))), NOW)
    assert view.headline == "1 of 2 runs done, 1 failed"
    assert view.facts == "2\u00a0h 0\u00a0m of work, energy 1.5\u00a0kWh"
    assert [(item.ended, item.reason) for item in view.runs] == [
        ("today 03:00", ""),
        ("today 03:00", "The disk is full."),
    ]


def test_a_failure_is_told_as_one():
    notice = Notice(
        run_id="1",
        name="night",
        kind="train",
        status="failed",
        step=1,
        total_steps=2,
        loss=None,
        code="X",
        message="why",
    )
    [item] = notice_items([Post(id=7, created_at="", notice=notice, tries=0)])
    assert (item.id, item.title, item.text, item.tone) == (7, "night failed", "X: why", "danger")
