"""The ship proof of the tutorial model: green when healthy, red with the cause named for each kind of damage."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backprop_core.config.proofs import Proof, ProofCheck, read_proof
from backprop_core.engine.proof import likeness, rows
from backprop_core.engine.proof import prove as proving
from backprop_core.engine.proof.engine_process import EngineSetup
from backprop_core.engine.proof.prove import prove
from backprop_core.engine.proof.rows import ProofRows
from backprop_core.engine.proof.subject import Subject
from backprop_core.errors import RunError
from backprop_core.gguf import check_gguf, export_gguf
from backprop_core.shipping import register_export

# Metadata and tensor list of the tutorial model's files end before.
HEAD_BYTES = 4 << 20

# Logs more than a pipe holds, tells its address, takes every connection and answers none.
SILENT_ENGINE = """
import json, pathlib, socket, sys
order = json.loads(sys.stdin.readline())
print("log " * 500_000, flush=True)
server = socket.create_server(("127.0.0.1", 0))
pathlib.Path(order["address_file"]).write_text("http://127.0.0.1:%d" % server.getsockname()[1])
sys.stdin.read()
"""


NO_ENGINE = EngineSetup((sys.executable, "-c", "raise SystemExit(9)"))


def exported(model: Path, path: Path, quantization: str) -> Subject:
    report = export_gguf(model, path, quantization)
    return Subject(
        path=path,
        model=model,
        adapter=None,
        quantization=quantization,
        file_digests={path.name: report.sha256},
        tensor_digests={tensor.name: tensor.sha256 for tensor in report.tensors},
        run_id=None,
    )


@pytest.fixture(scope="module", autouse=True)
def one_pass_of_the_teacher():
    """Ask the trained model once for all tests, and about a third of the rows that users get."""
    known: list[Any] = []
    plain_rows, plain_certainty = rows.choose_rows, likeness.trained_certainty

    def chosen(subject: Subject, tokenizer: Any) -> ProofRows:
        found = plain_rows(subject, tokenizer)
        return ProofRows(found.rows[::3], found.origin)

    def certainty(*arguments: Any) -> Any:
        if not known:
            known.append(plain_certainty(*arguments))
        return known[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "choose_rows", chosen)
        patch.setattr(likeness, "trained_certainty", certainty)
        yield


@pytest.fixture(scope="module")
def small(tutorial_model, tmp_path_factory) -> Subject:
    return exported(tutorial_model, tmp_path_factory.mktemp("small") / "m.gguf", "q4_k_m")


@pytest.fixture(scope="module")
def exact(tutorial_model, tmp_path_factory) -> Subject:
    return exported(tutorial_model, tmp_path_factory.mktemp("exact") / "m.gguf", "f16")


@pytest.fixture
def copy(small, tmp_path) -> Subject:
    """A copy of the small file that may be damaged."""
    shutil.copy2(small.path, tmp_path / "m.gguf")
    return replace(small, path=tmp_path / "m.gguf")


def put(path: Path, at: int, new: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(new)


def place_of(path: Path, wanted: bytes) -> int:
    head = path.read_bytes()[:HEAD_BYTES]
    assert head.count(wanted) == 1
    return head.index(wanted)


def checks_without_engine(subject: Subject) -> dict[str, ProofCheck]:
    """Prove with an engine that ends at once: what the file itself tells is judged all the same."""
    return {check.name: check for check in prove(subject, setup=NO_ENGINE).checks}


def statuses(proof: Proof) -> dict[str, str]:
    return {check.name: check.status for check in proof.checks}


def test_a_healthy_f16_file_is_proven_and_its_proof_lies_beside_it(exact):
    proof = prove(exact)
    assert statuses(proof) == dict.fromkeys(
        ("structure", "tokenizer", "template", "answers", "end_of_turn"), "pass"
    )
    assert (proof.verdict, proof.cause, proof.code) == ("proven", "", "")
    assert proof.sha256 == exact.file_digests["m.gguf"]
    assert read_proof(exact.path) == proof


def test_a_healthy_4_bit_file_is_green_or_amber(small):
    proof = prove(small)
    assert proof.verdict in ("proven", "proven_with_note")
    assert not proof.is_red


def test_a_healthy_8_bit_file_is_proven(tutorial_model, tmp_path):
    assert prove(exported(tutorial_model, tmp_path / "m.gguf", "q8_0")).verdict == "proven"


def test_a_changed_byte_of_the_template_is_named(copy):
    put(copy.path, place_of(copy.path, b"{% for message in messages %}") + len("{% for "), b"M")
    checks = checks_without_engine(copy)
    assert checks["template"].status == "fail"
    assert "The chat template differs from the trained one at character 7" in checks["template"].cause


def test_a_changed_merge_is_named(copy):
    first, second = "\u0120 t".encode(), "\u0120 a".encode()
    merges = copy.path.read_bytes().index(b"tokenizer.ggml.merges")
    head = copy.path.read_bytes()[merges:HEAD_BYTES]
    put(copy.path, merges + head.index(first), second)
    checks = checks_without_engine(copy)
    assert checks["tokenizer"].status == "fail"
    assert checks["tokenizer"].cause.startswith(
        "The merge 0 is '\u0120 a' in the file and was '\u0120 t' in training"
    )


def test_a_changed_stop_token_is_named(copy):
    key = b"tokenizer.ggml.eos_token_id"
    put(copy.path, place_of(copy.path, key) + len(key) + 4, (17).to_bytes(4, "little"))
    proof = prove(copy, setup=NO_ENGINE)
    found = {check.name: check for check in proof.checks}["end_of_turn"]
    assert found.status == "fail"
    assert (
        found.cause == "The stop token eos_token_id is 17 in the file and was 2 ('<|im_end|>') in training."
    )
    assert proof.verdict == "not_proven"


def test_one_flipped_bit_of_a_tensor_is_named(copy):
    tensor = next(part for part in check_gguf(copy.path).tensors if part.name == "blk.3.ffn_down.weight")
    at = tensor.begin + 100
    put(copy.path, at, bytes([copy.path.read_bytes()[at] ^ 1]))
    proof = prove(copy, setup=NO_ENGINE)
    assert proof.checks[0].cause == "1 tensor is not as the export wrote: blk.3.ffn_down.weight."
    assert proof.verdict == "not_proven"
    assert proof.code == "RUNTIME_EXPORT_PROOF_FAILED"


def test_a_zeroed_tensor_shows_in_the_answers_alone_when_no_digest_is_known(copy):
    for tensor in check_gguf(copy.path).tensors:
        if tensor.name.startswith("blk.3.ffn_"):
            put(copy.path, tensor.begin, bytes(tensor.size_bytes))
    proof = prove(replace(copy, file_digests={}, tensor_digests={}, quantization="q8_0"))
    found = {check.name: check for check in proof.checks}["answers"]
    assert found.status == "fail"
    assert found.cause.startswith("The answers differ by a mean KL of")


def test_a_truncated_file_is_red_and_no_engine_gets_it(copy):
    with copy.path.open("r+b") as stream:
        stream.truncate(50_000_000)
    proof = prove(copy, setup=EngineSetup(("/nonexistent",)))
    assert list(statuses(proof).values()) == ["fail", "skipped", "skipped", "skipped", "skipped"]
    assert "outside the file" in proof.cause


def test_an_engine_that_hangs_is_ended_in_time(small):
    hangs = EngineSetup((sys.executable, "-c", "import time; time.sleep(60)"), load_s=0.5)
    began = time.monotonic()
    proof = prove(small, setup=hangs)
    assert time.monotonic() - began < 20
    assert (proof.verdict, proof.code) == ("not_proven", "RUNTIME_EXPORT_PROOF_FAILED")
    assert "The engine did not load the file within" in proof.cause


def test_an_engine_that_gives_no_answer_is_ended_in_time(small):
    silent = EngineSetup((sys.executable, "-c", SILENT_ENGINE), answer_s=0.5)
    began = time.monotonic()
    proof = prove(small, setup=silent)
    assert time.monotonic() - began < 30
    assert proof.code == "RUNTIME_EXPORT_PROOF_FAILED"
    assert "The engine gave no answer within" in proof.checks[1].cause


def test_an_engine_that_aborts_gives_its_signal(small):
    aborts = EngineSetup((sys.executable, "-c", "import os; os.abort()"))
    proof = prove(small, setup=aborts)
    assert proof.checks[1].status == "fail"
    assert "The engine ended by signal 6" in proof.checks[1].cause


def test_without_the_extra_a_file_is_not_proven_and_not_red(small, monkeypatch):
    monkeypatch.setattr(proving, "is_installed", lambda: False)
    proof = prove(small)
    assert (proof.verdict, proof.code, proof.is_red) == ("not_proven", "DEP_EXTRA_MISSING", False)
    assert "pip install 'backpropagate[export]'" in proof.cause


def test_a_red_file_is_not_registered_with_ollama(copy):
    put(copy.path, check_gguf(copy.path).tensors[0].begin, b"\xff")
    prove(copy, setup=NO_ENGINE)
    with pytest.raises(RunError) as caught:
        register_export(copy.path, "mine")
    assert caught.value.code == "RUNTIME_EXPORT_PROOF_FAILED"
    assert "--force" in caught.value.hint
