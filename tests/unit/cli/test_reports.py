"""info, doctor, models, validate and ui, without a store or a network."""

from __future__ import annotations

import importlib.util
import json

import pytest

from backprop_core.errors import CATALOGUE
from backprop_core.services import health
from backprop_core.telemetry.checks import Check

ROW = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'


def test_every_variable_is_listed_with_its_default(backprop):
    document = json.loads(backprop("info", "--env-vars", "--json")[1])
    variables = {variable["name"]: variable["default"] for variable in document["variables"]}
    assert document["schema_version"] == 1
    assert variables["BACKPROPAGATE_TRAINING__LEARNING_RATE"] == "2e-4"
    assert variables["BACKPROPAGATE_UI__PORT"] == "7860"
    assert "BACKPROPAGATE_HOME" in variables


def test_every_code_is_listed_with_its_exit_code(backprop):
    codes = {
        code["code"]: code for code in json.loads(backprop("info", "--error-codes", "--json")[1])["codes"]
    }
    assert list(codes) == list(CATALOGUE)
    assert codes["RUNTIME_GPU_OOM"]["exit_code"] == 2
    assert codes["INPUT_VALIDATION_FAILED"]["exit_code"] == 1


def test_codes_on_a_pipe_are_one_line_each(backprop):
    assert len(backprop("info", "--error-codes")[1].splitlines()) == len(CATALOGUE) + 1


def test_info_tells_version_and_extras(backprop):
    info = json.loads(backprop("info", "--json")[1])["info"]
    assert info["version"] == "1.0.0"
    assert "ui" in info["extras"]


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 2)])
def test_doctor_fails_only_for_what_keeps_training_from_working(backprop, monkeypatch, status, code):
    monkeypatch.setattr(health, "doctor_checks", lambda facts: [Check("PyTorch", status, "a fact", "a hint")])
    found, out, _ = backprop("doctor")
    assert found == code
    assert out.splitlines() == [f"{status:<4}  PyTorch  a fact", f"{'':15}a hint"]


def test_doctor_works_when_the_store_cannot_be_locked(backprop, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BACKPROPAGATE_HOME", str(tmp_path / "file" / "home"))
    code, out, _ = backprop("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 2
    assert checks["Store"]["status"] == "fail"


def test_models_lists_the_presets_with_licence_and_whether_they_are_here(backprop):
    models = json.loads(backprop("models", "list", "--json")[1])["models"]
    by_key = {preset["key"]: preset for preset in models["presets"]}
    assert by_key["smollm2-135m"]["licence"] == "Apache-2.0"
    assert by_key["qwen2.5-3b"]["licence_note"].startswith("Research licence")
    assert by_key["llama-3.2-1b"]["is_gated"] is True


def test_removing_a_model_that_is_not_here_is_the_users_mistake(backprop):
    code, _, err = backprop("models", "rm", "mistral-7b", "--yes")
    assert code == 1
    assert err.startswith("[INPUT_MODEL_NOT_FOUND]")


def test_a_good_file_is_valid(backprop, tmp_path):
    (tmp_path / "rows.jsonl").write_text(ROW * 3)
    code, out, _ = backprop("validate", "rows.jsonl", "-m", "smollm2-135m")
    assert code == 0
    assert "Rows    3, 3 usable" in out


def test_a_row_that_cannot_be_used_is_named_and_fails_the_validation(backprop, tmp_path):
    (tmp_path / "rows.jsonl").write_text(ROW + '{"alpha": 1}\n' + ROW)
    code, out, _ = backprop("validate", "rows.jsonl", "--json")
    report = json.loads(out)["report"]
    assert code == 1
    assert (report["rows"], report["usable_rows"], report["n_problems"]) == (3, 2, 1)
    assert report["problems"][0]["row"] == 2


def test_a_report_alone_does_not_fail(backprop, tmp_path):
    (tmp_path / "rows.jsonl").write_text(ROW + '{"alpha": 1}\n')
    assert backprop("data", "report", "rows.jsonl")[0] == 0
    assert backprop("data", "report", "rows.jsonl", "--strict")[0] == 1


def test_a_file_without_any_usable_row_is_an_error(backprop, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"alpha": 1}\n')
    code, _, err = backprop("data", "report", "rows.jsonl")
    assert code == 1
    assert err.startswith("[INPUT_DATASET_INVALID]: None of the 1 rows of 'rows.jsonl'")


def test_the_web_app_without_its_extra_says_what_to_install(backprop, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "reflex" else find_spec(name)
    )
    code, _, err = backprop("ui", "--no-open")
    assert code == 2
    assert err == "[DEP_EXTRA_MISSING]: The web app needs reflex.\nhint: pip install 'backpropagate[ui]'\n"


def test_a_data_folder_that_is_not_there_is_the_users_mistake(backprop):
    code, _, err = backprop("ui", "--data-dir", "nowhere")
    assert code == 1
    assert "nowhere" in err
