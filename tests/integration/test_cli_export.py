"""`backprop export` and `backprop ollama` as processes, with their own scheduler and worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backprop_core.gguf import check_gguf
from tests.support.exports import leftovers, write_source
from tests.support.fake_ollama import running_ollama
from tests.support.stores import ROOT, wait_for


@pytest.fixture
def work(tmp_path) -> Path:
    write_source(tmp_path)
    return tmp_path


def start(work: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "backpropagate", *arguments],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def backprop(work: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(work, *arguments)
    out, err = process.communicate(timeout=90)
    return process.returncode, out, err


def test_an_export_prints_its_path_and_the_line_to_run_it(work, monkeypatch):
    with running_ollama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        code, out, err = backprop(
            work, "export", "tuned", "--no-proof", "-q", "q8_0", "--ollama-name", "my-model"
        )
    file = work / "output" / "exports" / "gguf" / "tuned-q8_0.gguf"
    assert (code, out) == (0, f"{file}\n")
    assert check_gguf(file).architecture == "llama"
    assert "ollama run my-model" in err
    assert list(server.models) == ["my-model"]


def test_the_result_as_json_names_everything(work):
    code, out, _ = backprop(work, "export", "tuned", "--no-proof", "-q", "q8_0", "-o", "m.gguf", "--json")
    made = json.loads(out)
    assert (code, made["schema_version"]) == (0, 1)
    assert made["export"]["path"] == str(work / "m.gguf")
    assert made["export"]["size_bytes"] == (work / "m.gguf").stat().st_size


def test_a_failed_registration_keeps_the_file_and_exits_with_2(work, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    code, out, err = backprop(work, "export", "tuned", "--no-proof", "-q", "q8_0", "-o", "m.gguf", "--ollama")
    assert (code, out) == (2, f"{work / 'm.gguf'}\n")
    assert "[DEP_OLLAMA_REGISTRATION_FAILED]" in err
    assert f"backprop ollama register {work / 'm.gguf'} --name tuned" in err
    assert (work / "m.gguf").is_file()


@pytest.mark.parametrize(
    "arguments",
    [("nothing",), ("tuned", "-q", "q9"), ("tuned", "--format", "onnx"), ("tuned", "--ollama-name", "-h")],
)
def test_bad_input_exits_with_1_and_makes_nothing(work, arguments):
    before = sorted(work.rglob("*.gguf"))
    code, out, err = backprop(work, "export", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("[INPUT_")
    assert "Traceback" not in err
    assert sorted(work.rglob("*.gguf")) == before
    assert not (work / "output").exists()


def test_ctrl_c_cancels_and_leaves_nothing(work):
    # Enough work that the interrupt comes in the middle of it.
    import numpy as np

    from tests.support.checkpoints import HIDDEN, LLAMA_CONFIG, llama_arrays, write_checkpoint

    rows = 1_500_000
    arrays = llama_arrays() | {"model.embed_tokens.weight": np.ones((rows, HIDDEN), np.float32)}
    write_checkpoint(work / "large", arrays=arrays, config={**LLAMA_CONFIG, "vocab_size": rows})
    process = start(work, "export", "large", "--format", "merged", "-o", "out/m")
    wait_for(lambda: (work / "out").is_dir() and any((work / "out").iterdir()), "the work", 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert leftovers(work / "out") == []
    assert not (work / "out" / "m").exists()


def test_models_in_ollama_are_listed_registered_and_removed(work, monkeypatch):
    backprop(work, "export", "tuned", "--no-proof", "-q", "q8_0", "-o", "m.gguf")
    with running_ollama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        code, out, _ = backprop(work, "ollama", "register", "m.gguf", "--name", "mine")
        assert (code, out) == (0, "ollama run mine\n")
        code, out, _ = backprop(work, "ollama", "list", "--json")
        assert [model["name"].split(":")[0] for model in json.loads(out)["models"]] == ["mine"]
        assert backprop(work, "ollama", "rm", "mine", "--yes")[0] == 0
        assert server.models == {}


def test_a_damaged_file_is_refused_before_ollama_is_called(work, monkeypatch):
    (work / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with running_ollama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        code, _, err = backprop(work, "ollama", "register", "bad.gguf", "--name", "mine")
    assert code == 1
    assert "[INPUT_VALIDATION_FAILED]" in err
    assert server.asked == []
