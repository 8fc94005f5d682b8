"""What is refused before anything exists, and what Start creates. Workers need no torch here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from backprop_core.config.resolve import Layer
from backprop_core.errors import BackpropagateError
from backprop_core.runs.store import RunFolder
from backprop_core.services import data_files, runs, training
from backprop_core.workspace import Workspace
from tests.support.stores import FakeWorkerLauncher, wait_for

ROW = {
    "conversations": [{"from": "human", "value": "Who are you?"}, {"from": "gpt", "value": "A small model."}]
}


@pytest.fixture
def ws():
    launcher = FakeWorkerLauncher()
    launcher.workspace = Workspace.open(launcher)
    yield launcher.workspace
    launcher.close()
    launcher.workspace.close()


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(ROW) + "\n" for _ in range(6)))
    return path


def layer(tmp_path: Path, data: object, **values: object) -> list[Layer]:
    named = {"model": "smollm2-135m", "dataset": str(data), "output_dir": str(tmp_path / "out"), "steps": 3}
    return [Layer("flag", {**named, **values})]


def everything_below(path: Path) -> set[str]:
    return {str(found.relative_to(path)) for found in path.rglob("*")} if path.exists() else set()


def test_start_creates_a_run_with_every_value_decided(ws, tmp_path, data):
    started = training.start(ws, layer(tmp_path, data, lora_preset="auto"), source="cli")
    spec, origins = started.folder.spec(), started.folder.origins()
    assert "auto" not in {
        spec.lora_r,
        spec.lora_alpha,
        spec.batch_size,
        spec.gradient_accumulation,
        spec.quantization,
    }
    assert (spec.lora_r, origins["lora_r"].source) == (16, "derived")
    assert origins["steps"].source == "flag"
    wait_for(lambda: runs.get_run(ws, started.run_id).status == "completed", "the run")


def test_a_default_preset_is_rank_256_on_all_layers(ws, tmp_path, data):
    ready = training.draft(ws, layer(tmp_path, data), source="cli")
    assert ready.plan.choices.lora_r == 256
    assert ready.can_start


def test_epochs_become_steps(ws, tmp_path, data):
    ready = training.draft(
        ws, layer(tmp_path, data, steps=None, epochs=2, batch_size=2, gradient_accumulation=1), source="cli"
    )
    assert ready.plan.steps == 6


BAD = [
    ({"dataset": "missing.jsonl"}, "dataset", "INPUT_DATASET_NOT_FOUND"),
    ({"dataset": ""}, "dataset", "INPUT_DATASET_NOT_FOUND"),
    ({"dataset": "empty.jsonl"}, "dataset", "INPUT_DATASET_INVALID"),
    ({"dataset": "folder"}, "dataset", None),
    ({"dataset": "picture.png"}, "dataset", "INPUT_DATASET_FORMAT_UNSUPPORTED"),
    ({"dataset": "nothing-to-learn.jsonl"}, "dataset", "INPUT_DATASET_INVALID"),
    ({"model": "no-such-model"}, "model", "INPUT_MODEL_NOT_FOUND"),
    ({"model": "/no/such/folder"}, "model", None),
    ({"model": "-h/x"}, "model", "INPUT_MODEL_NOT_FOUND"),
    ({"model": "a/b/c"}, "model", "INPUT_MODEL_NOT_FOUND"),
    ({"model": "http://169.254.169.254/latest"}, "model", "INPUT_MODEL_NOT_FOUND"),
    ({"steps": 0}, "steps", "INPUT_VALIDATION_FAILED"),
    ({"learning_rate": "nan"}, "learning_rate", "INPUT_VALIDATION_FAILED"),
    ({"model": "qwen2.5-7b"}, None, "DEP_GPU_NOT_AVAILABLE"),
    ({"quantization": "4bit"}, "quantization", None),
    ({"device": "cuda"}, None, "DEP_GPU_NOT_AVAILABLE"),
]


@pytest.mark.parametrize(("values", "field", "code"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input_is_refused_at_its_field_and_creates_nothing(ws, tmp_path, data, values, field, code):
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "nothing-to-learn.jsonl").write_text('{"messages": [{"role": "user", "content": "hello"}]}\n')
    if values.get("dataset"):
        values = {**values, "dataset": str(tmp_path / values["dataset"])}
    before = everything_below(tmp_path)
    with pytest.raises(BackpropagateError) as caught:
        training.start(ws, layer(tmp_path, data, **values), source="cli")
    error = caught.value
    assert error.hint
    assert "Traceback" not in error.message
    if field is not None:
        assert error.details["field"] == field
    if code is not None:
        assert error.code == code
    assert everything_below(tmp_path) == before
    assert runs.count_runs(ws) == 0


@pytest.mark.skipif(os.name == "nt", reason="FIFOs are a POSIX matter; run on Linux")
def test_a_fifo_as_data_is_refused_at_once(ws, tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(BackpropagateError):
        training.start(ws, layer(tmp_path, tmp_path / "pipe.jsonl"), source="cli")


def test_a_folder_at_the_published_place_that_is_not_ours_is_refused(ws, tmp_path, data):
    (tmp_path / "out" / "lora").mkdir(parents=True)
    (tmp_path / "out" / "lora" / "thesis.txt").write_text("precious")
    with pytest.raises(BackpropagateError) as caught:
        training.start(ws, layer(tmp_path, data), source="cli")
    assert caught.value.code == "INPUT_OUTPUT_DIR_NOT_OURS"
    assert str(tmp_path / "out" / "lora") in caught.value.message
    assert (tmp_path / "out" / "lora" / "thesis.txt").read_text() == "precious"
    assert runs.count_runs(ws) == 0


def test_too_little_disk_is_refused_before_anything_exists(ws, tmp_path, data, monkeypatch):
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: type("Usage", (), {"total": 10**12, "free": 10**6, "used": 0})
    )
    with pytest.raises(BackpropagateError) as caught:
        training.start(ws, layer(tmp_path, data), source="cli")
    assert caught.value.code == "RUNTIME_DISK_FULL"
    assert not (tmp_path / "out").exists()


def test_the_page_reads_only_from_its_own_folders(ws, tmp_path, data):
    existing = training.draft(ws, layer(tmp_path, data), source="page")
    missing = training.draft(ws, layer(tmp_path, tmp_path / "rows.json"), source="page")
    [seen], [unseen] = existing.problems, missing.problems
    assert seen.code == unseen.code == "SANDBOX_PATH_OUTSIDE"
    assert seen.message.replace("rows.jsonl", "") == unseen.message.replace("rows.json", "")


@pytest.mark.parametrize("model", ["/etc", "~/.ssh", "/tmp/model.gguf", "./somewhere"])
def test_the_page_reads_no_model_from_anywhere(ws, tmp_path, model):
    example = data_files.examples_dir() / data_files.DEFAULT_EXAMPLE
    ready = training.draft(ws, layer(tmp_path, example, model=model), source="page")
    assert ("model", "SANDBOX_PATH_OUTSIDE") in {(problem.field, problem.code) for problem in ready.problems}


def test_the_page_writes_below_its_own_folder_whatever_the_form_says(ws, tmp_path):
    example = data_files.examples_dir() / data_files.DEFAULT_EXAMPLE
    started = training.start(ws, layer(tmp_path, example, output_dir="/etc"), source="page")
    assert started.folder.path.is_relative_to(ws.sandbox.root / "runs")
    assert started.folder.info().publish_to is None


def test_the_same_click_twice_is_one_run(ws, tmp_path, data):
    first = training.start(ws, layer(tmp_path, data), source="cli", start_key="click")
    second = training.start(ws, layer(tmp_path, data), source="cli", start_key="click")
    assert first.run_id == second.run_id
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1


def test_a_data_folder_named_at_start_may_be_read(tmp_path, data):
    launcher = FakeWorkerLauncher()
    ws = Workspace.open(launcher, data_dirs=(tmp_path,))
    assert training.draft(ws, layer(tmp_path, data), source="page").can_start
    ws.close()


def test_a_data_file_that_changed_is_looked_at_again(ws, tmp_path, data):
    memo = training.Memo()
    assert training.draft(ws, layer(tmp_path, data), source="cli", memo=memo).plan.rows == 3 * 6
    data.write_text(data.read_text() + json.dumps(ROW) + "\n")
    os.utime(data, (1, 1))
    assert training.draft(ws, layer(tmp_path, data), source="cli", memo=memo).plan.rows == 3 * 7


def test_a_prepared_in_process_run_is_listed_and_cannot_be_forced(ws, tmp_path, data):
    started = training.prepare_in_process(ws, layer(tmp_path, data))
    assert started.folder.info().is_detached is False
    training.register_in_process(ws, started)
    assert isinstance(started.folder, RunFolder)
    assert runs.count_runs(ws) == 1


def test_an_adapter_is_named_by_the_run_that_made_it(ws, tmp_path, data):
    first = training.start(ws, layer(tmp_path, data, lora_r=8), source="cli")
    adapter = first.folder.adapter
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    ready = training.draft(ws, layer(tmp_path, data, from_adapter=first.run_id[:8]), source="cli")
    assert ready.can_start
    assert ready.resolved.spec.from_adapter == str(adapter)
    wait_for(lambda: runs.get_run(ws, first.run_id).status == "completed", "the run")


def test_a_folder_without_an_adapter_is_refused_at_its_field(ws, tmp_path, data):
    ready = training.draft(ws, layer(tmp_path, data, from_adapter=str(tmp_path)), source="cli")
    assert [(problem.field, problem.code) for problem in ready.problems] == [
        ("from_adapter", "INPUT_ADAPTER_INVALID")
    ]


def test_the_page_reads_no_adapter_from_anywhere(ws, tmp_path):
    data = ws.settings.sandbox_root / "uploads" / "rows.jsonl"
    data.parent.mkdir(parents=True)
    data.write_text(json.dumps(ROW) + "\n")
    ready = training.draft(ws, layer(tmp_path, data, from_adapter=str(tmp_path)), source="page")
    assert [(problem.field, problem.code) for problem in ready.problems] == [
        ("from_adapter", "SANDBOX_PATH_OUTSIDE")
    ]


def page_data(ws) -> Path:
    path = ws.settings.sandbox_root / "uploads" / "rows.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(ROW) + "\n")
    return path


def finished_elsewhere(ws, tmp_path, data) -> RunFolder:
    """Return the folder of a listed run with an adapter outside the folders of the app."""
    folder = training.start(ws, layer(tmp_path, data, lora_r=8), source="cli").folder
    folder.adapter.mkdir()
    (folder.adapter / "adapter_config.json").write_text("{}")
    wait_for(lambda: runs.get_run(ws, folder.path.name).status == "completed", "the run")
    return folder


def test_the_page_goes_on_from_the_adapter_of_any_listed_run(ws, tmp_path, data):
    folder = finished_elsewhere(ws, tmp_path, data)
    named = layer(tmp_path, page_data(ws), from_adapter=folder.path.name)
    ready = training.draft(ws, named, source="page")
    assert ready.problems == ()
    assert ready.resolved.spec.from_adapter == str(folder.adapter)


@pytest.mark.parametrize("part", ["adapter/inner", "checkpoints/step-000001", "."])
def test_the_page_reads_nothing_else_of_a_listed_run(ws, tmp_path, data, part):
    folder = finished_elsewhere(ws, tmp_path, data)
    named = layer(tmp_path, page_data(ws), from_adapter=str(folder.path / part))
    problems = training.draft(ws, named, source="page").problems
    assert [problem.code for problem in problems] == ["SANDBOX_PATH_OUTSIDE"]


def test_the_page_follows_no_link_out_of_a_listed_run(ws, tmp_path, data):
    folder = finished_elsewhere(ws, tmp_path, data)
    folder.adapter.rename(tmp_path / "moved")
    folder.adapter.symlink_to(tmp_path / "moved")
    named = layer(tmp_path, page_data(ws), from_adapter=folder.path.name)
    problems = training.draft(ws, named, source="page").problems
    assert [problem.code for problem in problems] == ["SANDBOX_PATH_OUTSIDE"]
