"""What an export may be called, where it may go, and what is refused before anything is made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backprop_core.errors import BackpropagateError, InputError, RunError
from backprop_core.gguf import QUANTIZATIONS
from backprop_core.services import exports, runs
from backprop_core.services.export_checks import (
    ExportRequest,
    check_request,
    exports_root,
    file_name,
    needed_bytes,
    ollama_name_of,
)
from backprop_core.services.export_sources import find_source
from backprop_core.workspace import Workspace
from backpropagate.cli.export import Quantization
from tests.support.checkpoints import (
    HIDDEN,
    LLAMA_CONFIG,
    llama_arrays,
    lora_arrays,
    write_adapter,
    write_checkpoint,
)
from tests.support.exports import IdleLauncher, list_adapter_run, write_source


@pytest.fixture
def ws():
    ws = Workspace.open(IdleLauncher())
    ws.sandbox.prepare()
    yield ws
    ws.close()


@pytest.fixture
def source(tmp_path) -> Path:
    return write_source(tmp_path)


def refused(ws: Workspace, request: ExportRequest, face: str = "cli") -> BackpropagateError:
    with pytest.raises(BackpropagateError) as caught:
        check_request(ws, request, face=face)
    return caught.value


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("support-7b", "gguf", "support-7b-q4_k_m.gguf"),
        ("support-7b", "ollama-adapter", "support-7b-q4_k_m"),
        ("support-7b", "lora", "support-7b"),
        ("../../etc/passwd", "lora", "etc-passwd"),
        ("C:\\temp\\a", "merged", "C-temp-a"),
        ("a b\n$(reboot)", "lora", "a-b-reboot"),
        ("日本", "lora", "model"),
        ("-rf", "lora", "rf"),
        ("x" * 300, "lora", "x" * 80),
    ],
)
def test_a_name_becomes_a_file_name_without_surprises(name, format, expected):
    assert file_name(name, format, "q4_k_m") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Support Tickets", "support-tickets"), ("../m", "m"), ("---", "model"), ("A" * 100, "a" * 60)],
)
def test_a_name_becomes_one_that_ollama_takes(name, expected):
    assert ollama_name_of(name) == expected


def test_the_command_offers_every_type_that_can_be_written():
    assert set(Quantization.__args__) == set(QUANTIZATIONS)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "onnx"},
        {"quantization": "q9"},
        {"format": "merged", "ollama_name": "m"},
        {"ollama_name": "-h"},
        {"ollama_name": "a b"},
        {"ollama_name": "../m"},
        {"ollama_name": "x\n"},
        {"ollama_name": "a" * 200},
    ],
)
def test_a_wrong_choice_is_refused(ws, source, changes):
    error = refused(ws, ExportRequest(str(source), **changes))
    assert error.code == "INPUT_VALIDATION_FAILED"


def test_a_whole_model_has_no_adapter_to_export(ws, source):
    base = source.parent / "base"
    assert refused(ws, ExportRequest(str(base), "lora")).code == "INPUT_VALIDATION_FAILED"
    assert refused(ws, ExportRequest(str(base), "ollama-adapter")).code == "INPUT_VALIDATION_FAILED"
    assert check_request(ws, ExportRequest(str(base)), face="cli").needed_bytes > 0


@pytest.mark.parametrize("wanted", ["./nothing", "/etc", "a-name", "deadbeef"])
def test_what_is_nothing_to_export_has_a_code(ws, wanted):
    assert refused(ws, ExportRequest(wanted)).code in {"INPUT_MODEL_NOT_FOUND", "INPUT_RUN_NOT_FOUND"}


def test_a_base_that_is_gone_is_named_and_the_adapter_can_still_be_copied(ws, source, tmp_path):
    shutil.rmtree(tmp_path / "base")
    error = refused(ws, ExportRequest(str(source)))
    assert (error.code, str(tmp_path / "base") in error.message) == ("INPUT_MODEL_NOT_FOUND", True)
    assert check_request(ws, ExportRequest(str(source), "lora"), face="cli").name == "tuned"


def test_an_adapter_of_another_base_is_refused(ws, source, tmp_path):
    config = {**LLAMA_CONFIG, "num_hidden_layers": 1}
    base = write_checkpoint(tmp_path / "base", arrays=llama_arrays(layers=1), config=config)
    factors = lora_arrays("model.layers.1.self_attn.q_proj", HIDDEN, HIDDEN)
    write_adapter(source, factors, base_model_name_or_path=str(base))
    with pytest.raises(RunError) as caught:
        check_request(ws, ExportRequest(str(source)), face="cli")
    assert caught.value.code == "RUNTIME_MERGE_EXPORT_FAILED"


def test_a_pickle_is_refused_and_never_loaded(ws, source):
    (source / "adapter_model.safetensors").rename(source / "adapter_model.bin")
    error = refused(ws, ExportRequest(str(source)))
    assert "pickle" in error.message


def test_a_full_disk_is_found_before_a_job_is_made(ws, source, monkeypatch):
    monkeypatch.setattr("backprop_core.files.free_bytes", lambda path: 1000)
    assert refused(ws, ExportRequest(str(source))).code == "RUNTIME_DISK_FULL"
    with pytest.raises(RunError):
        exports.start(ws, ExportRequest(str(source)), face="cli")
    assert ws.database.count() == 0


def test_the_default_place_of_the_command_is_below_output(ws, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = check_request(ws, ExportRequest(str(source), name="m"), face="cli")
    assert found.target == tmp_path / "output" / "exports" / "gguf" / "m-q4_k_m.gguf"


def test_an_output_without_the_ending_is_a_folder_for_the_file(ws, source, tmp_path):
    request = ExportRequest(str(source), output=tmp_path / "out", name="m")
    assert check_request(ws, request, face="cli").target == tmp_path / "out" / "m-q4_k_m.gguf"


def test_the_page_reads_no_folder_outside_of_its_own(ws, source):
    assert refused(ws, ExportRequest(str(source)), "page").code == "SANDBOX_PATH_OUTSIDE"
    assert refused(ws, ExportRequest("/etc/nothing"), "page").code == "SANDBOX_PATH_OUTSIDE"


def test_the_page_exports_a_run_of_any_face_below_its_folder(ws, source, tmp_path):
    run_id = list_adapter_run(ws, source)
    found = check_request(ws, ExportRequest(run_id, name="m"), face="page")
    assert found.target == ws.sandbox.root / "exports" / "gguf" / "m-q4_k_m.gguf"


def test_the_page_does_not_write_through_a_link(ws, source, tmp_path):
    run_id = list_adapter_run(ws, source)
    outside = tmp_path / "outside"
    outside.mkdir()
    (exports_root(ws, "page") / "gguf").symlink_to(outside)
    with pytest.raises(InputError) as caught:
        check_request(ws, ExportRequest(run_id, name="m"), face="page")
    assert caught.value.code == "INPUT_PATH_TRAVERSAL"
    assert list(outside.iterdir()) == []


def test_the_same_start_key_is_one_job(ws, source, tmp_path):
    request = ExportRequest(str(source), output=tmp_path / "m.gguf")
    first = exports.start(ws, request, face="cli", start_key="click")
    assert exports.start(ws, request, face="cli", start_key="click") == first
    assert ws.database.count() == 1


def test_the_job_folder_of_a_command_is_not_beside_the_export(ws, source, tmp_path):
    exports.start(ws, ExportRequest(str(source), output=tmp_path / "out" / "m.gguf"), face="cli")
    assert not (tmp_path / "out").exists()
    [state] = [row.state for row in ws.database.list()]
    assert Path(state.folder).parent == ws.home / "jobs"


def test_an_export_is_no_run_of_the_list(ws, source, tmp_path):
    exports.start(ws, ExportRequest(str(source), output=tmp_path / "m.gguf"), face="cli")
    assert runs.list_runs(ws) == []
    assert len(runs.list_runs(ws, kind="export")) == 1


@pytest.mark.parametrize("format", ["gguf", "lora", "merged", "ollama-adapter"])
def test_every_format_says_what_it_needs(ws, source, format):
    found = find_source(ws, str(source), face="cli")
    assert needed_bytes(ws, found, format, "q8_0") > 1000


def test_an_existing_target_is_named(ws, source, tmp_path):
    target = tmp_path / "m.gguf"
    target.write_text("precious")
    with pytest.raises(InputError) as caught:
        check_request(ws, ExportRequest(str(source), output=target), face="cli")
    assert str(target) in caught.value.message
