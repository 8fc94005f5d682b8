"""Export jobs with a real scheduler and real workers: what stands on the disk, whatever happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backprop_core.errors import InputError, StateError
from backprop_core.files import read_json, sha256_of
from backprop_core.gguf import check_gguf, export_gguf
from backprop_core.gguf.source import open_model
from backprop_core.jobs import queue
from backprop_core.runs.index import first_state
from backprop_core.services import export_checks, exports, runs
from backprop_core.services.export_checks import ExportRequest
from backprop_core.services.export_sources import find_source
from backprop_core.workspace import Workspace
from tests.support.checkpoints import HIDDEN, lora_arrays, write_adapter
from tests.support.exports import QUERY, WorkerLauncher, leftovers, resume_job, run_job, write_source
from tests.support.stores import wait_for


def magnitudes() -> dict[str, np.ndarray]:
    """Return the part of a DoRA adapter that a plain one lacks."""
    return {f"base_model.model.{QUERY}.lora_magnitude_vector": np.ones(HIDDEN, np.float32)}


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
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert sha256_of(target / "adapter_model.safetensors") == sha256_of(source / "adapter_model.safetensors")


def test_the_exact_size_is_known_before(ws, source, tmp_path):
    needed = export_checks.needed_bytes(
        ws, find_source(ws, str(source), face="cli"), "gguf", "q4_k_m", name="tuned"
    )
    target = tmp_path / "tuned.gguf"
    run_job(ws, ExportRequest(str(source), quantization="q4_k_m", output=target, name="tuned"))
    assert target.stat().st_size == needed


def test_a_merged_export_loads_as_a_model_with_the_change_in_it(ws, source, tmp_path):
    target = tmp_path / "out" / "merged"
    state = run_job(ws, ExportRequest(str(source), format="merged", output=target))
    assert (state.status, state.artifact) == ("completed", str(target))
    merged, base = open_model(target), open_model(source.parent / "base")
    changed = [n for n in base.names() if (base.rows(n, slice(None)) != merged.rows(n, slice(None))).any()]
    assert changed == [f"{QUERY}.weight"]
    report = read_json(tmp_path / "out" / "merged.export.json")
    # The card is written anew when a proof or an evaluation is.
    made = {path.name for path in target.iterdir()}
    assert {file["name"] for file in report["files"]} | {"README.md"} == made


def test_an_adapter_export_quantizes_the_base_once_for_all_adapters(ws, source, tmp_path, own_home):
    first, second = tmp_path / "out" / "first", tmp_path / "out" / "second"
    request = ExportRequest(str(source), format="ollama-adapter", quantization="q8_0", output=first)
    assert run_job(ws, request).status == "completed"
    [cached] = (own_home / "cache" / "gguf").glob("*.gguf")
    made = cached.stat().st_mtime_ns
    assert run_job(ws, replace(request, output=second)).status == "completed"
    assert [path.stat().st_mtime_ns for path in (own_home / "cache" / "gguf").glob("*.gguf")] == [made]
    for folder in (first, second):
        assert check_gguf(folder / "adapter.gguf").is_adapter
        assert sha256_of(folder / "base.gguf") == sha256_of(cached)


def test_an_adapter_that_can_only_be_merged_is_refused_before_anything_is_made(ws, source, tmp_path):
    write_adapter(
        source,
        {**lora_arrays(QUERY, HIDDEN, HIDDEN), **magnitudes()},
        use_dora=True,
        base_model_name_or_path=str(source.parent / "base"),
    )
    request = ExportRequest(str(source), format="ollama-adapter", output=tmp_path / "out" / "pair")
    with pytest.raises(InputError, match="DoRA"):
        exports.start(ws, request, face="cli")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("format", "point"),
    [
        ("gguf", "die-writing"),
        ("gguf", "die-before-publishing"),
        ("gguf", "die-publishing"),
        ("lora", "die-publishing"),
        ("merged", "die-writing"),
        ("ollama-adapter", "die-writing"),
    ],
)
def test_a_killed_export_leaves_no_half_file_and_the_next_one_works(
    ws, launcher, source, tmp_path, point, format
):
    target = tmp_path / "out" / "made.gguf"
    request = ExportRequest(str(source), format=format, quantization="q8_0", output=target)
    launcher.meets = point
    assert run_job(ws, request).status == "interrupted"
    assert not target.exists()
    launcher.meets = ""
    [job] = launcher.launches
    assert resume_job(ws, job).status == "completed"
    assert target.exists()
    assert leftovers(tmp_path / "out") == []


def test_a_stop_ends_an_export_as_stopped_with_nothing_left(ws, launcher, source, tmp_path):
    launcher.meets = "hold-writing"
    job = exports.start(ws, ExportRequest(str(source), output=tmp_path / "out" / "made.gguf"), face="cli")
    wait_for(lambda: runs.get_run(ws, job).phase == "exporting", "the writing")
    runs.stop(ws, job)
    wait_for(lambda: runs.get_run(ws, job).is_terminal, "the end")
    assert runs.get_run(ws, job).status == "stopped"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_fails_with_its_code_and_leaves_nothing(ws, launcher, source, tmp_path):
    launcher.meets = "full-disk"
    state = run_job(ws, ExportRequest(str(source), quantization="f16", output=tmp_path / "out" / "made.gguf"))
    assert (state.status, state.error["code"]) == ("failed", "RUNTIME_DISK_FULL")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_defect_is_told_as_one_of_the_export_and_leaves_nothing(ws, launcher, source, tmp_path):
    launcher.meets = "defect"
    state = run_job(ws, ExportRequest(str(source), output=tmp_path / "out" / "made.gguf"))
    assert (state.status, state.error["code"]) == ("failed", "RUNTIME_GGUF_EXPORT_FAILED")
    assert "KeyError" in state.error["message"]
    assert list((tmp_path / "out").iterdir()) == []


def test_of_two_exports_to_one_name_one_wins_whole(ws, source, tmp_path):
    target = tmp_path / "out" / "made.gguf"
    request = ExportRequest(str(source), quantization="q8_0", output=target)
    folders = [exports.prepare(ws, request, face="cli", is_detached=True) for _ in range(2)]
    first, second = (queue.submit(ws, first_state(folder)) for folder in folders)
    for job in (first, second):
        wait_for(lambda job=job: runs.get_run(ws, job).is_terminal, "the end")
    assert runs.get_run(ws, first).status == "completed"
    loser = runs.get_run(ws, second)
    assert (loser.status, loser.error["code"]) == ("failed", "INPUT_OUTPUT_DIR_NOT_OURS")
    assert read_json(target.with_name("made.gguf.export.json"))["job_id"] == first


def test_a_target_that_a_job_is_making_is_refused(ws, launcher, source, tmp_path):
    launcher.meets = "hold-writing"
    request = ExportRequest(str(source), output=tmp_path / "out" / "made.gguf")
    job = exports.start(ws, request, face="cli")
    with pytest.raises(StateError) as caught:
        exports.start(ws, request, face="cli")
    assert caught.value.code == "STATE_RUN_LOCKED"
    runs.stop(ws, job)


def test_an_existing_target_is_refused_before_a_job_is_made(ws, source, tmp_path):
    target = tmp_path / "made.gguf"
    target.write_text("precious")
    with pytest.raises(InputError) as caught:
        exports.start(ws, ExportRequest(str(source), output=target), face="cli")
    assert caught.value.code == "INPUT_OUTPUT_DIR_NOT_OURS"
    assert (target.read_text(), ws.database.count()) == ("precious", 0)


def test_finished_exports_are_listed_while_they_stand(ws, source, tmp_path):
    target = tmp_path / "made.gguf"
    state = run_job(ws, ExportRequest(str(source), quantization="q8_0", output=target))
    [listed] = exports.list_finished(ws)
    assert (listed.job_id, listed.path, listed.size_bytes) == (state.run_id, target, target.stat().st_size)
    target.unlink()
    assert exports.list_finished(ws) == []
