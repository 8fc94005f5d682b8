"""Two runs beside each other."""

from __future__ import annotations

from backprop_app.views.compare import Difference, differ_text, results, setting_differences
from backprop_core.config.specs import TrainSpec
from backprop_core.runs.store import RunInfo
from backprop_core.services.runs import RunDetail
from tests.unit.app.test_run_views import state

INFO = RunInfo(
    run_id="7f3a91c2",
    name="plain",
    source="page",
    created_at="2026-11-19T23:02:00+00:00",
    launch_id="x",
    is_detached=True,
    version="1",
)


def detail(**spec: object) -> RunDetail:
    return RunDetail(state(), TrainSpec(dataset="rows.jsonl", **spec), {}, INFO)


def test_only_settings_that_differ_are_listed() -> None:
    first = detail(lora_r=256, seed=42, output_dir="/a", name="one")
    second = detail(lora_r=16, seed=42, output_dir="/b", name="other")
    assert setting_differences(first, second) == [Difference("Rank", "256", "16")]


def test_the_loss_of_a_run_that_works_is_so_far() -> None:
    lines = results(state(status="running", step=3, loss=0.5), state(status="completed", step=9, loss=0.4))
    assert lines == [Difference("Steps taken", "3", "9"), Difference("Loss", "0.500 so far", "0.400")]


def test_evaluation_is_listed_when_one_of_them_had_any() -> None:
    lines = results(state(status="completed", eval_loss=1.25), state(status="completed"))
    assert lines[-1] == Difference("Eval loss", "1.250", "–")


def test_how_many_differ_is_a_sentence() -> None:
    assert differ_text(1).startswith("1 of ") and differ_text(1).endswith(" settings differs")
    assert differ_text(0).startswith("None of ") and differ_text(0).endswith(" settings differ")
