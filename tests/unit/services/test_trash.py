"""What is deleted goes into the trash, comes back as it was, and goes for good by a word of its owner alone."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backprop_core.errors import BackpropagateError, InputError, RunError, StateError
from backprop_core.events.journal import JournalWriter
from backprop_core.events.types import RunCompleted, RunStarted
from backprop_core.ports import SystemClock
from backprop_core.runs.index import rebuild, remember_root
from backprop_core.runs.store import RunFolder
from backprop_core.services import room, runs, storage, trash
from backprop_core.services.data_changes import save_pasted
from backprop_core.workspace import Workspace
from tests.support.data_models import chat_lines
from tests.support.exports import IdleLauncher
from tests.support.stores import make_run


class MovedClock(SystemClock):
    """The clock of the machine, set ahead."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock():
    return MovedClock()


@pytest.fixture
def ws(clock):
    opened = Workspace.open(IdleLauncher(), clock=clock)
    opened.sandbox.prepare()
    yield opened
    opened.close()


def data_file(ws, name="rows.jsonl"):
    with ws.sandbox.create("datasets", name) as stream:
        stream.write(b'{"text": "x"}\n')
    return ws.sandbox.path("datasets", name)


def ended_run(ws, root=None):
    state = make_run(ws)
    folder = Path(state.folder)
    with JournalWriter(RunFolder(folder).journal_path) as journal:
        journal.append(RunStarted(attempt=1, pid=1))
        journal.append(RunCompleted(step=5, artifact="adapter", seconds=1.0))
    (folder / "checkpoints" / "step-000005").mkdir(parents=True)
    (folder / "checkpoints" / "step-000005" / "weights").write_bytes(b"x" * 1000)
    if root is not None:
        root.mkdir(parents=True)
        folder = folder.rename(root / state.run_id)
        remember_root(ws.roots_file, root)
    rebuild(ws.database, [folder.parent], ws.now())
    return folder


def test_a_deleted_file_is_moved_and_comes_back_as_it_was(ws):
    path = data_file(ws)
    inode = path.stat().st_ino
    item = storage.delete(ws, "data:datasets/rows.jsonl")
    assert not path.exists()
    [entry] = trash.list_entries(ws)
    assert (entry.name, entry.kind, entry.origin) == ("rows.jsonl", "data", str(item.path))
    trash.restore(ws, entry.trash_id)
    assert path.stat().st_ino == inode
    assert trash.list_entries(ws) == []
    assert list((ws.sandbox.root / "trash").iterdir()) == []


def test_a_deleted_run_leaves_the_list_and_is_listed_again_when_it_is_restored(ws):
    folder = ended_run(ws)
    runs.delete(ws, folder.name)
    assert ws.database.count() == 0
    assert not folder.exists()
    trash.restore(ws, trash.list_entries(ws)[0].trash_id)
    assert runs.get_run(ws, folder.name).status == "completed"
    assert (folder / "checkpoints" / "step-000005" / "weights").stat().st_size == 1000


def test_a_run_of_the_command_line_goes_back_to_its_own_folder(ws, tmp_path):
    folder = ended_run(ws, tmp_path / "output" / "runs")
    runs.delete(ws, folder.name)
    assert not folder.exists()
    trash.restore(ws, trash.list_entries(ws)[0].trash_id)
    assert folder.is_dir()


def test_nothing_goes_back_to_a_folder_that_never_held_runs(ws, tmp_path):
    folder = ended_run(ws, tmp_path / "output" / "runs")
    runs.delete(ws, folder.name)
    ws.roots_file.unlink()
    with pytest.raises(StateError) as caught:
        trash.restore(ws, trash.list_entries(ws)[0].trash_id)
    assert caught.value.code == "SANDBOX_PATH_OUTSIDE"
    assert not folder.exists()


def test_a_restore_replaces_nothing(ws):
    path = data_file(ws)
    storage.delete(ws, "data:datasets/rows.jsonl")
    data_file(ws).write_bytes(b"newer")
    with pytest.raises(InputError):
        trash.restore(ws, trash.list_entries(ws)[0].trash_id)
    assert path.read_bytes() == b"newer"
    assert len(trash.list_entries(ws)) == 1


def test_a_purge_is_the_only_thing_that_removes_for_good(ws, clock):
    data_file(ws)
    storage.delete(ws, "data:datasets/rows.jsonl")
    clock.ahead = timedelta(days=4000)
    storage.report(ws)
    [entry] = trash.list_entries(ws)
    assert trash.purge(ws, [entry.trash_id]) == entry.size_bytes
    assert trash.list_entries(ws) == []


def test_what_is_old_is_offered_and_what_is_young_is_not(ws, clock):
    data_file(ws, "old.jsonl")
    storage.delete(ws, "data:datasets/old.jsonl")
    clock.ahead = timedelta(days=31)
    data_file(ws, "new.jsonl")
    storage.delete(ws, "data:datasets/new.jsonl")
    assert [entry.name for entry in trash.older_than(ws, 30)] == ["old.jsonl"]


def test_deleting_a_run_with_a_link_in_it_leaves_what_the_link_leads_to(ws, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("kept")
    folder = ended_run(ws)
    (folder / "checkpoints" / "link").symlink_to(tmp_path / "outside")
    runs.delete(ws, folder.name)
    trash.purge(ws, [trash.list_entries(ws)[0].trash_id])
    assert (tmp_path / "outside" / "precious").read_text() == "kept"


def test_a_purge_while_a_run_works_leaves_the_run_alone(ws):
    folder, working = ended_run(ws), ended_run(ws)
    held = JournalWriter(RunFolder(working).journal_path)
    runs.delete(ws, folder.name)
    trash.purge(ws, [trash.list_entries(ws)[0].trash_id])
    held.append(RunStarted(attempt=2, pid=1))
    held.close()
    assert RunFolder(working).spec().steps == 5


@pytest.mark.parametrize(
    "key",
    [
        "",
        "data:../../etc/passwd",
        "data:datasets/../../x",
        "run:../x",
        "leftover:runs",
        "x" * 500,
        "checkpoints:",
    ],
)
def test_only_what_is_in_the_list_can_be_deleted(ws, key):
    ended_run(ws)
    with pytest.raises(BackpropagateError):
        storage.delete(ws, key)
    assert trash.list_entries(ws) == []


@pytest.mark.parametrize("prefix", ["", "..", "../runs", "zz", "0" * 400])
def test_only_what_is_in_the_trash_can_be_removed_or_restored(ws, prefix):
    data_file(ws)
    storage.delete(ws, "data:datasets/rows.jsonl")
    for act in (lambda: trash.purge(ws, [prefix]), lambda: trash.restore(ws, prefix)):
        with pytest.raises(InputError):
            act()
    assert len(trash.list_entries(ws)) == 1


def test_the_report_names_checkpoints_of_complete_runs_alone(ws):
    ended_run(ws)
    make_run(ws)
    kinds = sorted(item.kind for item in storage.report(ws).items)
    assert kinds == ["checkpoints", "run"]


def test_deleted_checkpoints_leave_the_run(ws):
    folder = ended_run(ws)
    storage.delete(ws, f"checkpoints:{folder.name}")
    assert not (folder / "checkpoints").exists()
    assert runs.get_run(ws, folder.name).status == "completed"


def test_a_thing_that_cannot_be_moved_leaves_no_entry_behind(ws, tmp_path):
    with pytest.raises(StateError):
        trash.put(ws, tmp_path / "missing", "data")
    assert list((ws.sandbox.root / "trash").iterdir()) == []


def test_an_entry_without_a_record_is_shown_and_can_only_be_removed(ws):
    (ws.sandbox.root / "trash" / "0123abcd").mkdir()
    [entry] = trash.list_entries(ws)
    assert (entry.kind, entry.origin) == ("unknown", "")
    with pytest.raises(StateError):
        trash.restore(ws, "0123abcd")
    trash.purge(ws, ["0123abcd"])
    assert trash.list_entries(ws) == []


def limited(ws, gib):
    return ws.settings.model_copy(update={"ui__quota_gib": gib})


def test_the_quota_counts_everything_below_the_folder_of_the_web_app(ws, monkeypatch):
    data_file(ws).write_bytes(b"x" * 700)
    monkeypatch.setattr(room, "GIB", 1000)
    quota = Workspace(limited(ws, 1), ws.origins, ws.database, ws.launcher, ws.clock)
    assert room.room_bytes(quota) == 300
    with pytest.raises(RunError) as caught:
        save_pasted(quota, "more", chat_lines(9))
    assert caught.value.code == "RUNTIME_DISK_FULL"
    assert [path.name for path in (ws.sandbox.root / "datasets").iterdir()] == ["rows.jsonl"]


def test_the_reserve_of_the_disk_stays_free(ws, monkeypatch):
    usage = shutil._ntuple_diskusage(100 << 30, 96 << 30, (5 << 30) + 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert room.room_bytes(ws) == 10
    with pytest.raises(RunError):
        room.require_room(ws, 11, "The upload")


def test_the_end_of_a_log_of_a_gibibyte_is_read_at_once(ws):
    folder = ended_run(ws)
    with (folder / "worker.log").open("wb") as log:
        log.truncate(1 << 30)
        log.seek(1 << 30)
        log.write(b"\nthe last line\n")
    start = time.monotonic()
    assert runs.log_tail(ws, folder.name)[-1] == "the last line"
    assert time.monotonic() - start < 1.0
