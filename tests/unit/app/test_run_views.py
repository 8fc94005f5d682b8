"""What the page says about a run."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest

from backprop_app.views import runs as views
from backprop_core.runs.projection import RunState
from backprop_core.runs.series import Point

ZONE = timezone(timedelta(hours=1))
NOW = datetime(2026, 11, 20, 2, 0, tzinfo=ZONE)


def state(**changes: object) -> RunState:
    given = {
        "run_id": "7f3a91c2-0000-4000-8000-000000000000",
        "folder": "/runs/7f3a91c2",
        "name": "support-tickets",
        "source": "page",
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "dataset": "/data/support-tickets.jsonl",
        "created_at": "2026-11-19T23:02:00+00:00",
        **changes,
    }
    return RunState.model_validate(given)


def point(step: int, loss: float) -> Point:
    return Point(step, loss, 2e-4, 0.5, 100.0)


def test_a_working_run_says_how_far_it_is_and_when_it_ends() -> None:
    view = views.run_view(
        state(status="running", step=1284, total_steps=2230, step_s=5.0, loss=0.913, tokens_per_s=1352.4),
        None,
        NOW,
    )
    assert (view.step, view.total, view.percent_text) == ("1,284", "2,230", "58\u00a0%")
    assert view.left == "1\u00a0h 18\u00a0m"
    assert view.done_at == "done about 03:18"
    assert view.loss == "0.913"
    assert view.speed == "1,352"
    assert view.is_active


def test_a_paused_run_has_no_hour_of_its_end() -> None:
    view = views.run_view(state(status="paused", step=10, total_steps=20, step_s=5.0), None, NOW)
    assert (view.left, view.done_at, view.is_paused) == ("50\u00a0s", "once it goes on", True)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        ("stopped", "train", True),
        ("failed", "train", True),
        ("interrupted", "train", True),
        ("completed", "train", False),
        ("running", "train", False),
        ("queued", "train", False),
        ("failed", "export", False),
    ],
)
def test_training_that_ended_early_can_be_resumed(status: str, kind: str, expected: bool) -> None:
    assert views.run_view(state(status=status, kind=kind), None, NOW).can_resume is expected


@pytest.mark.parametrize(
    ("artifact", "expected"), [(None, False), ("", False), ("adapter", True), ("model", False)]
)
def test_only_an_adapter_can_be_taken_further(artifact: str | None, expected: bool) -> None:
    assert views.run_view(state(status="completed", artifact=artifact), None, NOW).has_adapter is expected


@pytest.mark.parametrize(
    ("wish", "status", "left"),
    [
        ("pause", "running", "pause"),
        ("pause", "paused", ""),
        ("pause", "completed", ""),
        ("continue", "paused", "continue"),
        ("continue", "running", ""),
        ("stop", "running", "stop"),
        ("stop", "stopped", ""),
        ("resume", "stopped", "resume"),
        ("resume", "queued", ""),
        ("", "running", ""),
    ],
)
def test_a_wish_stands_until_the_run_has_followed_it(wish: str, status: str, left: str) -> None:
    assert views.still_asked(wish, state(status=status)) == left


def test_a_run_without_a_step_shows_dashes_never_zero() -> None:
    view = views.run_view(state(status="starting"), None, NOW)
    assert (view.loss, view.left, view.speed, view.percent_text, view.memory) == ("–", "–", "–", "–", "–")
    assert not view.has_steps


def test_the_smoothed_loss_is_shown_when_there_is_one() -> None:
    assert views.run_view(state(step=5, loss=3.0), 2.5, NOW).loss == "2.500"


def test_a_loss_that_is_not_finite_is_left_out_of_the_mean() -> None:
    smoother = views.Smoother()
    for value in (4.0, math.nan, math.inf):
        smoother.add(value)
    assert smoother.value == 4.0


def test_the_mean_follows_a_short_run_closely_and_a_long_one_calmly() -> None:
    short, long = views.Smoother(), views.Smoother()
    for value in (4.0, 2.0):
        short.add(value)
    assert short.value == pytest.approx(2.1818, abs=1e-3)
    for _ in range(500):
        long.add(1.0)
    long.add(2.0)
    assert long.value == pytest.approx(1.1)


def test_a_preset_is_shown_by_the_name_of_its_model() -> None:
    assert views.short_model("smollm2-135m") == "SmolLM2-135M-Instruct"
    assert views.short_model("Qwen/Qwen2.5-7B-Instruct") == "Qwen2.5-7B-Instruct"
    assert views.short_model("/models/mine/") == "mine"


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        ("2026-11-20T00:53:00+01:00", "today 00:53"),
        ("2026-11-19T21:40:00+00:00", "yesterday 22:40"),
        ("2026-11-15T22:10:00+00:00", "15 Nov 23:10"),
        ("2025-12-31T23:30:00+01:00", "31 Dec 2025 23:30"),
    ],
)
def test_a_moment_is_named_by_its_day_in_the_zone_of_the_reader(stamp: str, words: str) -> None:
    assert views.clock(datetime.fromisoformat(stamp), NOW) == words


def test_a_row_of_the_list_names_where_the_run_came_from() -> None:
    row = views.run_item(state(status="completed", source="cli", loss=1.087), [], NOW)
    assert (row.source, row.loss, row.curve) == ("command", "1.087", "")


def test_a_curve_starts_high_and_ends_low_when_the_loss_falls() -> None:
    path, end_x, end_y = views.curve_path([4.0, 3.0, 2.0, 1.0])
    assert path.startswith("M2.0 2.0L")
    assert (end_x, end_y) == ("89.0", "21.0")


def test_one_point_draws_no_curve() -> None:
    assert views.curve_path([4.0]) == ("", "0", "0")


def test_chart_rows_carry_the_sequence_and_no_value_that_json_lacks() -> None:
    assert views.rows_of([point(3, math.nan)], 17) == [[17, 3, None, 0.0002, 0.5, 100.0]]
