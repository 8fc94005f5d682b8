"""`backprop doctor --repair` and `--reindex` over real folders and a real store."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from backprop_core.platform import FileLock
from backprop_core.runs.database import Database
from backprop_core.runs.store import RunFolder, new_run_id
from backprop_core.services import runs, trash
from tests.support.listed_exports import finished_export
from tests.support.stores import make_run, submit_run, wait_for

DAY_S = 24 * 3600


@pytest.fixture
def two_runs(ws):
    ids = [submit_run(ws, steps=3), submit_run(ws, steps=5)]
    for run_id in ids:
        wait_for(lambda run_id=run_id: runs.get_run(ws, run_id).status == "completed", "the run")
        folder = RunFolder(root_of(ws) / run_id)
        wait_for(lambda folder=folder: not folder.is_worked_on(), "the end of the worker")
    return ids


def root_of(ws) -> Path:
    return ws.settings.sandbox_root / "runs"


def mended(backprop, *words):
    code, out, err = backprop("doctor", *words, "--json")
    assert code == 0, err
    return json.loads(out)["store"]


def make_old(path: Path) -> Path:
    for found in (path, *path.rglob("*")):
        os.utime(found, (time.time() - 2 * DAY_S,) * 2)
    return path


def test_a_sound_store_is_said_to_be_sound(backprop, ws, two_runs):
    code, out, _ = backprop("doctor", "--repair")
    assert code == 0
    assert out == f"ok      {ws.home / 'store.db'}: read through, no damage\n"


def test_reindex_says_what_lies_where_and_changes_nothing_that_is_right(backprop, ws, two_runs, tmp_path):
    before = [row.state for row in ws.database.list()]
    finished_export(ws, tmp_path / "x.gguf")
    found = {report["root"]: report for report in mended(backprop, "--reindex")["roots"]}
    assert (found[str(root_of(ws))]["found"], found[str(root_of(ws))]["corrected"]) == (2, 0)
    assert found[str(ws.home / "jobs")]["found"] == 1
    assert [row.state for row in ws.database.list() if row.state.kind == "train"] == before


def test_reindex_brings_back_rows_that_were_lost_and_corrects_those_that_are_wrong(backprop, ws, two_runs):
    first, second = (runs.get_run(ws, run_id) for run_id in two_runs)
    ws.database.delete(first.run_id)
    ws.database.insert(second.model_copy(update={"status": "failed", "step": 1}))
    [report] = [r for r in mended(backprop, "--reindex")["roots"] if r["found"]]
    assert (report["found"], report["added"], report["corrected"]) == (2, 1, 1)
    assert [runs.get_run(ws, run_id).step for run_id in two_runs] == [3, 5]
    assert runs.get_run(ws, second.run_id).status == "completed"


def test_reindex_keeps_why_a_worker_was_lost(backprop, ws):
    run_id = submit_run(ws, name="dies-at-once")
    wait_for(lambda: runs.get_run(ws, run_id).error is not None, "the cause")
    before = runs.get_run(ws, run_id)
    mended(backprop, "--reindex")
    assert runs.get_run(ws, run_id) == before


def test_reindex_finds_runs_in_the_output_folder_of_the_place_where_it_is_called(
    backprop, ws, two_runs, tmp_path
):
    shutil.move(root_of(ws), tmp_path / "output" / "runs")
    found = {report["root"]: report for report in mended(backprop, "--reindex")["roots"]}
    assert found[str(tmp_path / "output" / "runs")]["corrected"] == 2
    assert Path(runs.get_run(ws, two_runs[0]).folder).parent == tmp_path / "output" / "runs"
    again = {report["root"]: report for report in mended(backprop, "--reindex")["roots"]}
    assert again[str(tmp_path / "output" / "runs")]["corrected"] == 0


def test_reindex_names_damaged_folders_and_missing_roots(backprop, ws, two_runs, tmp_path):
    (root_of(ws) / two_runs[0] / "run.json").write_text("{")
    ws.roots_file.write_text(json.dumps([str(root_of(ws)), "/mnt/unplugged"]))
    code, out, _ = backprop("doctor", "--reindex")
    assert code == 0
    assert f"damaged {root_of(ws) / two_runs[0]}\n" in out
    assert "absent  /mnt/unplugged\n" in out


def test_a_damaged_store_is_set_aside_and_made_anew(backprop, ws, two_runs, own_home):
    for _ in range(60):
        ws.database.insert(make_run(ws).model_copy(update={"status": "stopped"}))
    ws.close()
    store = own_home / "store.db"
    data = bytearray(store.read_bytes())
    data[8192:-4096] = b"\xa5" * (len(data) - 12288)
    store.write_bytes(data)
    [finding] = [f for f in mended(backprop, "--repair")["findings"] if f["subject"] == str(store)]
    assert finding["status"] == "mended"
    assert len(list(own_home.glob("store.db.damaged-*"))) >= 1
    database = Database(store)
    assert database.find(two_runs[0]).state.status == "completed"
    assert database.damage() == []
    database.close()


def test_a_damaged_store_stays_while_runs_are_launched_from_it(backprop, ws, two_runs, own_home):
    for _ in range(60):
        ws.database.insert(make_run(ws).model_copy(update={"status": "stopped"}))
    ws.close()
    store = own_home / "store.db"
    data = bytearray(store.read_bytes())
    data[8192:-4096] = b"\xa5" * (len(data) - 12288)
    store.write_bytes(data)
    lock = FileLock(ws.scheduler_lock)
    wait_for(lock.acquire, "the end of the scheduler")
    code, _, err = backprop("doctor", "--repair")
    lock.release()
    assert code == 1
    assert err.startswith("[STATE_RUN_LOCKED]")
    assert store.read_bytes() == bytes(data)


def test_a_row_whose_folder_is_gone_is_forgotten_and_one_whose_disk_is_gone_stays(
    backprop, ws, two_runs, tmp_path
):
    elsewhere = runs.get_run(ws, two_runs[1])
    ws.database.insert(
        elsewhere.model_copy(update={"run_id": new_run_id(), "folder": "/mnt/unplugged/runs/x"})
    )
    shutil.rmtree(root_of(ws) / two_runs[0])
    found = {f["subject"]: f["status"] for f in mended(backprop, "--repair")["findings"]}
    assert found[f"run {two_runs[0][:8]}"] == "mended"
    assert sorted(found.values()) == ["left", "mended", "ok"]
    assert ws.database.get(two_runs[0]) is None
    assert ws.database.count() == 2


def test_old_leftovers_of_ours_go_and_everything_else_stays(backprop, ws, two_runs, tmp_path):
    root = root_of(ws)
    checkpoints = root / two_runs[0] / "checkpoints"
    ours = [root / f"{new_run_id()}.partial", checkpoints / "step-000100.0a1b2c3d.partial"]
    young = root / f"{new_run_id()}.partial"
    theirs = root / "thesis.partial"
    for path in (*ours, young, theirs):
        path.mkdir(parents=True)
        (path / "weights.bin").write_text("x")
    for path in (*ours, theirs):
        make_old(path)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    found = {f["subject"]: f for f in mended(backprop, "--repair")["findings"]}
    assert [found[str(path)]["status"] for path in ours] == ["mended", "mended"]
    assert [path.exists() for path in ours] == [False, False]
    assert found[str(young)]["what"] == "it is younger than a day"
    assert found[str(theirs)]["status"] == "left"
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert after == {path: at for path, at in before.items() if not any(path.is_relative_to(o) for o in ours)}
    kept = [entry for entry in trash.list_entries(ws) if entry.kind == "leftover"]
    assert sorted(entry.origin for entry in kept) == sorted(map(str, ours))


def test_the_last_copy_of_an_adapter_is_no_leftover(backprop, ws, two_runs):
    folder = root_of(ws) / two_runs[0]
    for name in ("adapter.0a1b2c3d.old.partial", "other.0a1b2c3d.old.partial"):
        (folder / name).mkdir()
        make_old(folder / name)
    (folder / "adapter").mkdir()
    found = {Path(f["subject"]).name: f["status"] for f in mended(backprop, "--repair")["findings"]}
    assert found["adapter.0a1b2c3d.old.partial"] == "mended"
    assert found["other.0a1b2c3d.old.partial"] == "left"


def test_a_link_that_looks_like_a_leftover_is_not_followed(backprop, ws, two_runs, tmp_path):
    (tmp_path / "precious").mkdir()
    link = root_of(ws) / f"{new_run_id()}.partial"
    link.symlink_to(tmp_path / "precious")
    found = {f["subject"]: f["status"] for f in mended(backprop, "--repair")["findings"]}
    assert found[str(link)] == "left"
    assert (tmp_path / "precious").is_dir()


def test_a_run_whose_process_is_gone_is_settled_and_said(backprop, ws):
    state = make_run(ws)
    ws.database.insert(state.model_copy(update={"status": "running"}))
    found = {f["subject"]: f for f in mended(backprop, "--repair")["findings"]}
    assert found[f"run {state.short_id}"]["status"] == "mended"
    assert runs.get_run(ws, state.run_id).status == "interrupted"


def test_repair_and_reindex_can_be_asked_for_together(backprop, ws, two_runs):
    document = mended(backprop, "--repair", "--reindex")
    assert document["findings"] and document["roots"]
