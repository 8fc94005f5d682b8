"""A replay asks for exactly what the old run did, or for what follows from what is overridden."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop_core.config.resolve import Layer, Origin, resolve_train
from backprop_core.config.specs import TrainSpec
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunInfo
from backprop_core.services.replaying import data_change, replay_layers
from backprop_core.services.runs import RunDetail

EFFECTIVE = {
    "model": "m",
    "dataset": "/data/rows.jsonl",
    "output_dir": "/work/output",
    "steps": 75,
    "epochs": 2.0,
    "batch_size": 4,
    "gradient_accumulation": 2,
    "lora_r": 64,
    "lora_alpha": 32.0,
    "optim": "adamw_torch",
    "checkpoint_every": 8,
    "device": "cpu",
}
DERIVED = {
    "steps",
    "batch_size",
    "gradient_accumulation",
    "lora_r",
    "lora_alpha",
    "optim",
    "checkpoint_every",
}
NOISE = Layer(
    "environment", {"seed": "1", "samples": "5", "epochs": "9", "name": "noise", "lora_preset": "fast"}
)


def old_run(source="cli", **changes) -> RunDetail:
    spec = TrainSpec(**EFFECTIVE | changes)
    origins = {name: Origin("derived" if name in DERIVED else "flag") for name in TrainSpec.model_fields}
    state = RunState(
        run_id="1" * 8 + "-rest",
        folder="/work/output/runs/1",
        name="rows",
        source=source,
        model="m",
        dataset=spec.dataset,
        created_at="2026-01-01T00:00:00+00:00",
    )
    info = RunInfo(
        run_id=state.run_id,
        name="rows",
        source=source,
        created_at=state.created_at,
        launch_id="x",
        is_detached=True,
        version="test",
        dataset_hash="0" * 64,
    )
    return RunDetail(state, spec, origins, info)


def replayed(old, overrides=None, source="cli") -> TrainSpec:
    return resolve_train([NOISE, *replay_layers(old, overrides or {}, source=source)]).spec


@pytest.mark.parametrize(
    "changes", [{}, {"mode": "full"}, {"sample_prompt": "Hm?", "eval_split": 0.1, "early_stopping": 3}]
)
def test_without_an_override_every_field_is_the_old_one_whatever_the_environment_says(changes):
    old = old_run(**changes)
    assert replayed(old) == old.training


def test_with_an_override_what_was_worked_out_is_left_to_the_planner():
    spec = replayed(old_run(), {"max_seq_length": "512"})
    assert (spec.max_seq_length, spec.lora_alpha, spec.batch_size, spec.lora_r) == (
        512,
        "auto",
        "auto",
        "auto",
    )
    assert (spec.epochs, spec.steps, spec.device) == (2.0, None, "cpu")


def test_steps_take_the_place_of_epochs():
    spec = replayed(old_run(), {"steps": "10"})
    assert (spec.steps, spec.epochs) == (10, None)


@pytest.mark.parametrize(
    ("old_face", "new_face", "folder"),
    [
        ("cli", "cli", "/work/output"),
        ("python", "cli", "/work/output"),
        ("page", "cli", "./output"),
        ("cli", "page", "./output"),
    ],
)
def test_the_folder_of_the_web_app_stays_its_own(old_face, new_face, folder):
    assert replayed(old_run(old_face), source=new_face).output_dir == folder


def test_other_data_than_the_old_run_had_is_told(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    old = old_run(dataset=str(rows))
    assert data_change(old, {}) == (
        f"{rows} has changed since run 11111111; the new run learns from what is there now."
    )
    assert data_change(old, {"dataset": "other.jsonl"}) is None
    assert data_change(old_run(dataset=str(Path(tmp_path, "gone.jsonl"))), {}) is None
