"""Export jobs with a real scheduler and real workers: what stands on the disk, whatever happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop_core.files import read_json, sha256_of
from backprop_core.gguf import check_gguf, export_gguf
from backprop_core.services import exports
from backprop_core.services.export_sources import find_source
from backprop_core.services.exports import ExportRequest
from backprop_core.workspace import Workspace
from tests.support.exports import WorkerLauncher, leftovers, run_job, write_source


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
def source(tmp_path) -> Path:
    return write_source(tmp_path)


def test_a_gguf_export_equals_what_the_converter_writes(ws, source, tmp_path):
    target = tmp_path / "out" / "tuned.gguf"
    state = run_job(ws, ExportRequest(str(source), quantization="q8_0", output=target, name="tuned"))
    assert (state.status, state.artifact) == ("completed", str(target))
    direct = tmp_path / "direct.gguf"
    export_gguf(source.parent / "base", direct, "q8_0", adapter_dir=source, name="tuned")
    assert sha256_of(target) == sha256_of(direct)
    assert check_gguf(target).architecture == "llama"


def test_the_report_beside_the_file_tells_digests_and_provenance(ws, source, tmp_path):
    target = tmp_path / "out" / "tuned.gguf"
    state = run_job(ws, ExportRequest(str(source), quantization="q8_0", output=target))
    report = read_json(target.with_name("tuned.gguf.export.json"))
    assert report["job_id"] == state.run_id
    assert report["files"] == [
        {"name": "tuned.gguf", "size_bytes": target.stat().st_size, "sha256": sha256_of(target)}
    ]
    assert report["base_model"] == str(source.parent / "base")
    assert len(report["tensors"]) == 20
    assert leftovers(target.parent) == []


def test_a_lora_export_is_a_copy_without_pickles_and_links(ws, source, tmp_path):
    (source / "training_args.bin").write_bytes(b"pickle")
    (source / "link.txt").symlink_to("/etc/hostname")
    target = tmp_path / "out" / "copy"
    state = run_job(ws, ExportRequest(str(source), format="lora", output=target))
    assert state.status == "completed"
    assert sorted(path.name for path in target.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert sha256_of(target / "adapter_model.safetensors") == sha256_of(source / "adapter_model.safetensors")


def test_the_exact_size_is_known_before(ws, source, tmp_path):
    needed = exports.needed_bytes(
        ws, find_source(ws, str(source), face="cli"), "gguf", "q4_k_m", name="tuned"
    )
    target = tmp_path / "tuned.gguf"
    run_job(ws, ExportRequest(str(source), quantization="q4_k_m", output=target, name="tuned"))
    assert target.stat().st_size == needed
