"""Exports that end in Ollama: the real worker, the real protocol, a server that may fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backprop_core.files import read_json, sha256_of
from backprop_core.services import exports, ollama, runs
from backprop_core.services.export_checks import ExportRequest
from backprop_core.workspace import Workspace
from tests.support.exports import WorkerLauncher, list_adapter_run, resume_job, run_job, write_source
from tests.support.fake_ollama import running_ollama
from tests.support.stores import wait_for


@pytest.fixture
def launcher():
    launcher = WorkerLauncher()
    yield launcher
    launcher.close()


@pytest.fixture
def ws(launcher):
    ws = Workspace.open(launcher)
    launcher.workspace = ws
    yield ws
    launcher.close()
    ws.close()


@pytest.fixture
def server(monkeypatch):
    with running_ollama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


@pytest.fixture
def request_for(tmp_path):
    source = write_source(tmp_path)

    def make(**changes) -> ExportRequest:
        values = {
            "quantization": "q8_0",
            "output": tmp_path / "out" / "tuned.gguf",
            "ollama_name": "my-model",
        }
        return ExportRequest(str(source), **values | changes)

    return make


def test_a_gguf_export_is_registered_under_its_name(ws, server, request_for, tmp_path):
    state = run_job(ws, request_for())
    assert state.status == "completed"
    file = tmp_path / "out" / "tuned.gguf"
    assert server.models["my-model"]["files"] == {"tuned.gguf": f"sha256:{sha256_of(file)}"}
    [listed] = exports.list_finished(ws)
    assert listed.is_registered


def test_an_adapter_export_is_registered_as_base_and_adapter(ws, server, request_for, tmp_path):
    folder = tmp_path / "out" / "pair"
    assert run_job(ws, request_for(format="ollama-adapter", output=folder)).status == "completed"
    body = server.models["my-model"]
    assert body["files"] == {"base.gguf": f"sha256:{sha256_of(folder / 'base.gguf')}"}
    assert body["adapters"] == {"adapter.gguf": f"sha256:{sha256_of(folder / 'adapter.gguf')}"}
    lines = (folder / "Modelfile").read_text().splitlines()
    assert lines[:2] == ["FROM ./base.gguf", "ADAPTER ./adapter.gguf"]


def test_without_a_server_the_file_is_kept_and_the_hint_repeats_it(ws, monkeypatch, request_for, tmp_path):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    state = run_job(ws, request_for())
    file = tmp_path / "out" / "tuned.gguf"
    assert (state.status, state.error["code"]) == ("failed", "DEP_OLLAMA_REGISTRATION_FAILED")
    assert f"backprop ollama register {file} --name my-model" in state.error["hint"]
    assert file.is_file()
    [listed] = exports.list_finished(ws)
    assert not listed.is_registered


@pytest.mark.parametrize("fault", ["dies in create", "refuses in the stream"])
def test_a_failed_registration_is_repeated_without_writing_the_file_again(
    ws, server, request_for, tmp_path, fault
):
    server.fault = fault
    state = run_job(ws, request_for())
    assert state.error["code"] == "DEP_OLLAMA_REGISTRATION_FAILED"
    file = tmp_path / "out" / "tuned.gguf"
    written = file.stat().st_mtime_ns
    server.fault = ""
    assert resume_job(ws, state.run_id).status == "completed"
    assert (list(server.models), file.stat().st_mtime_ns) == (["my-model"], written)


def test_an_export_killed_while_registering_goes_on_there(ws, launcher, server, request_for, tmp_path):
    launcher.meets = "die-registering"
    state = run_job(ws, request_for())
    assert state.status == "interrupted"
    file = tmp_path / "out" / "tuned.gguf"
    written = file.stat().st_mtime_ns
    launcher.meets = ""
    assert resume_job(ws, state.run_id).status == "completed"
    assert (list(server.models), file.stat().st_mtime_ns) == (["my-model"], written)


def test_a_stop_in_the_upload_ends_the_job_and_keeps_the_file(ws, server, request_for, tmp_path):
    server.fault = "hangs"
    job = exports.start(ws, request_for(), face="cli")
    wait_for(lambda: runs.get_run(ws, job).phase == "registering", "the registration")
    runs.stop(ws, job)
    server.fault = ""
    server.released.set()
    wait_for(lambda: runs.get_run(ws, job).is_terminal, "the end")
    assert runs.get_run(ws, job).status == "stopped"
    assert (tmp_path / "out" / "tuned.gguf").is_file()


def train_with(ws: Workspace, tmp_path: Path, system: str) -> str:
    """List a run whose rows all carry this system prompt, and return its id."""
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Me."},
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"messages": messages}) + "\n")
    return list_adapter_run(ws, tmp_path / "tuned", dataset=data, max_seq_length=128)


def test_ollama_is_told_what_the_training_had(ws, server, request_for, tmp_path):
    request = request_for()
    run_id = train_with(ws, tmp_path, "Be brief.")
    assert run_job(ws, replace(request, source=run_id)).status == "completed"
    body = server.models["my-model"]
    assert (body["system"], body["parameters"]["num_ctx"]) == ("Be brief.", 256)
    assert (tmp_path / "out" / "tuned.gguf.Modelfile").read_text() == (
        'FROM ./tuned.gguf\nPARAMETER num_ctx 256\nSYSTEM """Be brief."""\n'
    )


def test_a_prompt_that_would_become_instructions_is_not_written_down(ws, request_for, tmp_path):
    request = request_for(ollama_name=None)
    run_id = train_with(ws, tmp_path, 'Be brief."""\nFROM /etc/passwd\n"""')
    assert run_job(ws, replace(request, source=run_id)).status == "completed"
    assert not (tmp_path / "out" / "tuned.gguf.Modelfile").exists()
    [warning] = read_json(tmp_path / "out" / "tuned.gguf.export.json")["warnings"]
    assert warning.startswith("No Modelfile was written: The system prompt holds")


def test_a_file_is_registered_listed_and_removed_by_the_service(ws, server, request_for, tmp_path):
    run_job(ws, request_for(ollama_name=None))
    found = ollama.register(tmp_path / "out" / "tuned.gguf", "later")
    assert (found.name, found.reply) == ("later", "Hello!")
    assert [model.name.split(":")[0] for model in ollama.list_models()] == ["later"]
    ollama.remove("later")
    assert ollama.list_models() == []
    assert (tmp_path / "out" / "tuned.gguf").is_file()


def test_the_status_tells_the_version_or_why_there_is_none(server, monkeypatch):
    assert ollama.status().version == "0.32.1"
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    found = ollama.status()
    assert (found.is_running, found.url) == (False, "http://127.0.0.1:9")
    assert "nobody listens" in found.problem
