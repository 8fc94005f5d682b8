"""Finished runs correct the memory forecast of the next plan on the same device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backprop_core.config.resolve import Layer
from backprop_core.runs.index import first_state
from backprop_core.services import training
from backprop_core.workspace import Workspace
from tests.support.plans import PROCESSOR
from tests.support.stores import FakeWorkerLauncher

ROW = {"messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Zorb."}]}


@pytest.fixture
def ws(monkeypatch):
    monkeypatch.setattr("backprop_core.services.facts.machine_facts", lambda memo: PROCESSOR)
    launcher = FakeWorkerLauncher()
    launcher.workspace = Workspace.open(launcher)
    yield launcher.workspace
    launcher.close()
    launcher.workspace.close()


@pytest.fixture
def layers(tmp_path) -> list[Layer]:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    values = {
        "model": "smollm2-135m",
        "dataset": str(path),
        "output_dir": str(tmp_path / "out"),
        "lora_r": 16,
    }
    return [Layer("flag", values)]


def _finished(ws: Workspace, layers: list[Layer], ratio: float, speed: float | None = None) -> Path:
    """Put a completed run with a measured peak of `ratio` times its forecast into the index."""
    resolved, plan = training._require(training.draft(ws, layers, source="cli"))
    folder = training._create(ws, resolved, plan, "cli", is_detached=True)
    state = first_state(folder)
    measured = round(ratio * plan.comparable_bytes)
    ws.database.insert(
        state.model_copy(update={"status": "completed", "memory_bytes": measured, "tokens_per_s": speed})
    )
    return folder.path


def test_the_next_plan_is_corrected_by_measured_runs(ws, layers):
    before = training.draft(ws, layers, source="cli").plan
    _finished(ws, layers, 1.2)
    after = training.draft(ws, layers, source="cli").plan
    assert before.peak_source == "not measured on this machine yet"
    assert after.peak_source == "from 1 run on this machine"
    assert after.peak_bytes == pytest.approx(1.2 * before.peak_bytes, rel=1e-6)


def test_correcting_does_not_build_up_over_runs(ws, layers):
    before = training.draft(ws, layers, source="cli").plan
    for _ in range(3):
        _finished(ws, layers, 1.2)
    after = training.draft(ws, layers, source="cli").plan
    assert after.peak_bytes == pytest.approx(1.2 * before.peak_bytes, rel=1e-6)


def test_a_run_whose_spec_is_gone_teaches_nothing(ws, layers):
    folder = _finished(ws, layers, 1.2)
    (folder / "spec.json").unlink()
    assert training.draft(ws, layers, source="cli").plan.peak_source == "not measured on this machine yet"


def test_a_run_on_another_device_teaches_nothing(ws, layers):
    folder = _finished(ws, layers, 1.2)
    spec = json.loads((folder / "spec.json").read_text())
    spec["plan"]["device_name"] = "NVIDIA GeForce RTX 4090"
    (folder / "spec.json").write_text(json.dumps(spec))
    assert training.draft(ws, layers, source="cli").plan.peak_source == "not measured on this machine yet"


def test_time_is_forecast_from_a_run_of_the_same_kind_of_work(ws, layers):
    _finished(ws, layers, 1.0, speed=321.0)

    assert "measured by run" in training.draft(ws, layers, source="cli").plan.time_source
    full = [Layer("flag", {**layers[0].values, "mode": "full"})]
    assert "measured by run" not in training.draft(ws, full, source="cli").plan.time_source


def test_held_out_rows_are_not_counted_as_learned(ws, layers, tmp_path):
    (tmp_path / "rows.jsonl").write_text((json.dumps(ROW) + "\n") * 40)
    held = [Layer("flag", {**layers[0].values, "eval_split": 0.2, "epochs": 1.0})]
    whole = [Layer("flag", {**layers[0].values, "epochs": 1.0})]

    kept, every = (training.draft(ws, asked, source="cli").plan for asked in (held, whole))

    assert kept.tokens == pytest.approx(0.8 * every.tokens, rel=0.01)
