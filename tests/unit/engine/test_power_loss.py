"""Power may go at any moment: what was not flushed is gone, and what is left is whole.

A model of a disk that keeps only what was flushed: of a file its bytes at its last fsync, of a folder its
entries at its last fsync. A picture of that disk is taken at each fsync of a run that writes checkpoints.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from backprop_core.engine.checkpoints import CheckpointStore, Identity
from backprop_core.events.journal import JournalReader, JournalWriter
from backprop_core.events.types import CheckpointSaved
from tests.support.numpy_engine import metrics_of

IDENTITY = Identity(run_id="r", config_sha256="c", data_sha256="d", base="b")


class FlushedDisk:
    """Remembers what each fsync makes safe below `root` and lays it out again as after a loss of power."""

    def __init__(self, root: Path, pictures: Path) -> None:
        self._root = root
        self._pictures = pictures
        self._bytes: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, tuple[int, bool]]] = {}
        self.taken = 0
        self._real = os.fsync

    def fsync(self, fd: int) -> None:
        """Flush, then take a picture of what is safe now."""
        self._real(fd)
        facts, path = os.fstat(fd), Path(os.readlink(f"/proc/self/fd/{fd}"))
        if stat.S_ISDIR(facts.st_mode):
            self._entries[facts.st_ino] = {
                entry.name: (entry.stat(follow_symlinks=False).st_ino, entry.is_dir())
                for entry in os.scandir(path)
            }
        else:
            self._bytes[facts.st_ino] = path.read_bytes()
        self.taken += 1
        self._lay_out(self._root.stat().st_ino, self._pictures / str(self.taken))

    def _lay_out(self, inode: int, target: Path) -> None:
        target.mkdir(parents=True)
        for name, (child, is_dir) in self._entries.get(inode, {}).items():
            if is_dir:
                self._lay_out(child, target / name)
            else:
                (target / name).write_bytes(self._bytes.get(child, b""))


@pytest.fixture
def disk(tmp_path, monkeypatch):
    root = tmp_path / "run"
    (root / "checkpoints").mkdir(parents=True)
    (root / "events.jsonl").touch()
    disk = FlushedDisk(root, tmp_path / "pictures")
    fd = os.open(root, os.O_RDONLY)
    disk.fsync(fd)
    os.close(fd)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    return disk


def write_run(root: Path) -> None:
    store = CheckpointStore(root / "checkpoints")
    with JournalWriter(root / "events.jsonl") as journal:
        for step in range(1, 7):
            journal.append(metrics_of(step))
            path = store.write(
                IDENTITY,
                step=step,
                attempt=1,
                created_at="now",
                write_files=lambda target, step=step: (target / "weights").write_text(f"{step}" * 999),
            )
            journal.append(CheckpointSaved(step=step, path=path.name, size_bytes=1, seconds=0.0))


def test_after_a_loss_of_power_at_any_flush_every_visible_checkpoint_verifies_and_the_told_one_is_there(
    disk, tmp_path
):
    write_run(tmp_path / "run")
    assert disk.taken > 30
    for number in range(2, disk.taken + 1):
        left = tmp_path / "pictures" / str(number)
        store = CheckpointStore(left / "checkpoints")
        for step in store.steps():
            store.verify(step)
        events = list(JournalReader(left / "events.jsonl").read_all())
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        told = [event.body.step for event in events if isinstance(event.body, CheckpointSaved)]
        if told:
            assert store.newest_valid(lambda *_: None).step >= told[-1]
