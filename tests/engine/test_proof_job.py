"""The proof as a step of an export job, repeated by the command, and told by the Python API; a tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import backpropagate
from backprop_core.config.proofs import proof_path, read_proof
from backprop_core.errors import BackpropagateError, InputError
from backprop_core.gguf import check_gguf
from backprop_core.services import proofs
from backprop_core.services.opening import open_workspace
from tests.support.stores import ROOT


@pytest.fixture
def adapter(train, monkeypatch, tmp_path) -> Path:
    monkeypatch.chdir(tmp_path)
    return train(eval_split=0.4).adapter


def results(export: Path) -> dict[str, str]:
    proof = read_proof(export)
    assert proof is not None
    return {check.name: check.status for check in proof.checks}


def test_an_export_is_proven_on_the_held_out_rows_of_its_run(adapter):
    made = backpropagate.export_gguf(adapter, "f16")
    assert made.proof is not None
    assert made.proof == read_proof(made.path)
    # A model of random weights never ends a reply.
    assert results(made.path) == dict.fromkeys(("structure", "tokenizer", "template", "answers"), "pass") | {
        "end_of_turn": "note"
    }
    assert made.proof.verdict == "proven_with_note"
    assert "held-out rows of facts.jsonl" in made.proof.rows


def test_an_export_without_its_adapter_inside_is_red(adapter, tiny_model):
    made = backpropagate.export_gguf(tiny_model, "f16", name="base", proof=False)
    tuned = backpropagate.export_gguf(adapter, "f16", name="tuned", proof=False)
    tuned.path.write_bytes(made.path.read_bytes())
    ws = open_workspace()
    found = {check.name: check for check in proofs.prove(ws, tuned.path).checks}
    ws.close()
    assert (found["structure"].status, found["answers"].status) == ("fail", "fail")


def test_base_and_adapter_as_two_files_are_proven_together(adapter):
    from backprop_core.services.export_checks import ExportRequest
    from backpropagate.exporting import export_here

    made = export_here(ExportRequest(str(adapter), "ollama-adapter", "f16"))
    assert results(made.path)["structure"] == "pass"
    assert results(made.path)["answers"] == "pass"


def backprop(folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "backpropagate", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_proves_again_and_exits_with_2_for_a_damaged_file(adapter):
    made = backpropagate.export_gguf(adapter, "f16", proof=False)
    code, out, err = backprop(made.path.parent, "proof", made.path.name, "--json")
    assert (code, json.loads(out)["proof"]["verdict"]) == (0, "proven_with_note"), err
    tensor = check_gguf(made.path).tensors[0]
    with made.path.open("r+b") as stream:
        stream.seek(tensor.begin)
        stream.write(bytes(64))
    code, out, err = backprop(made.path.parent, "proof", made.path.name)
    assert code == 2
    assert "[RUNTIME_EXPORT_PROOF_FAILED]" in err
    assert f"1 tensor is not as the export wrote: {tensor.name}." in err


def test_no_proof_leaves_none(adapter):
    made = backpropagate.export_gguf(adapter, "f16", proof=False)
    assert made.proof is None
    assert not proof_path(made.path).exists()


@pytest.mark.parametrize("gone", ["file", "report", "adapter", "weights"])
def test_what_is_gone_or_changed_is_said(adapter, gone):
    made = backpropagate.export_gguf(adapter, "f16", proof=False)
    moved = {
        "file": made.path,
        "report": made.path.with_name(made.path.name + ".export.json"),
        "adapter": adapter,
    }
    if gone == "weights":
        weights = adapter / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    else:
        moved[gone].rename(moved[gone].with_name("elsewhere"))
    ws = open_workspace()
    try:
        with pytest.raises(BackpropagateError) as caught:
            proofs.prove(ws, made.path)
    finally:
        ws.close()
    assert isinstance(caught.value, InputError)
    assert str(moved.get(gone, adapter)) in caught.value.message
