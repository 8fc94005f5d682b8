"""Exports of Python programs, in their own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import backpropagate
from backprop_core.errors import BackpropagateError, InputError, StateError
from backprop_core.gguf import check_gguf
from backprop_core.services import runs
from backprop_core.services.opening import open_workspace
from tests.support.exports import write_source
from tests.support.fake_ollama import running_ollama
from tests.support.stores import ROOT


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_source(tmp_path)


def test_a_gguf_export_returns_path_size_and_time(source, tmp_path):
    made = backpropagate.export_gguf(source, "q8_0", proof=False)
    assert made.path == tmp_path / "output" / "exports" / "gguf" / "tuned-q8_0.gguf"
    assert made.size_bytes == made.path.stat().st_size
    assert made.seconds > 0
    assert made.proof is None
    assert check_gguf(made.path).architecture == "llama"


def test_folders_go_where_they_are_told(source, tmp_path):
    assert backpropagate.export_lora(source, tmp_path / "here").path == tmp_path / "here" / "tuned"
    assert backpropagate.export_merged(source, tmp_path / "there", name="m").path == tmp_path / "there" / "m"


def test_an_export_is_listed_with_its_face(source):
    backpropagate.export_gguf(source, "q8_0", proof=False)
    ws = open_workspace()
    [state] = runs.list_runs(ws, kind="export")
    ws.close()
    assert (state.source, state.status) == ("python", "completed")


def test_a_failure_raises_its_code_and_leaves_nothing(source, tmp_path):
    with pytest.raises(InputError):
        backpropagate.export_gguf(tmp_path / "nothing")
    assert not (tmp_path / "output").exists()


def test_ollama_is_told_listed_and_cleared(source, monkeypatch):
    with running_ollama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        made = backpropagate.export_gguf(source, "q8_0", proof=False, ollama_name="mine")
        backpropagate.register_with_ollama(made.path, "second")
        names = [model.name.split(":")[0] for model in backpropagate.list_ollama_models()]
        assert names == ["mine", "second"]
        backpropagate.remove_ollama_model("mine")
        assert list(server.models) == ["second"]


def test_without_ollama_the_file_is_kept(source, monkeypatch, tmp_path):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    with pytest.raises(BackpropagateError) as caught:
        backpropagate.export_gguf(source, "q8_0", proof=False, ollama_name="mine")
    assert caught.value.code == "DEP_OLLAMA_REGISTRATION_FAILED"
    assert (tmp_path / "output" / "exports" / "gguf" / "tuned-q8_0.gguf").is_file()


def test_a_trainer_without_a_run_has_nothing_to_export(source):
    with pytest.raises(StateError) as caught:
        backpropagate.Trainer("smollm2-135m").export("gguf")
    assert caught.value.code == "STATE_RUN_NOT_ACTIVE"


def test_an_export_loads_neither_torch_nor_transformers(source, tmp_path):
    code = (
        "import sys, backpropagate\n"
        f"backpropagate.export_gguf({str(source)!r}, 'q4_k_m', proof=False)\n"
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "[]\n"
