"""Checkpoints on the disk: whole or not there, and every damage is found."""

from __future__ import annotations

import json

import pytest

from backprop_core.engine.checkpoints import MANIFEST, CheckpointStore, Identity
from backprop_core.errors import StateError

IDENTITY = Identity(run_id="r", config_sha256="c", data_sha256="d", base="b")


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


def write(store, step, *, is_best=False, content=b"weights"):
    def files(folder):
        (folder / "weights").write_bytes(content)
        (folder / "state").write_bytes(b"state of " + str(step).encode())

    return store.write(IDENTITY, step=step, attempt=1, created_at="now", write_files=files, is_best=is_best)


def newest(store):
    told = []
    manifest = store.newest_valid(lambda step, error: told.append((step, error.message)))
    return (manifest.step if manifest else None), told


def test_a_written_checkpoint_verifies(store):
    folder = write(store, 10)
    manifest = store.verify(10)
    assert folder.name == "step-000010"
    assert (manifest.step, manifest.identity, sorted(manifest.files)) == (10, IDENTITY, ["state", "weights"])


def test_the_newest_three_and_the_best_stay(store):
    write(store, 1)
    write(store, 2, is_best=True)
    for step in (3, 4, 5, 6):
        write(store, step)
    assert store.steps() == [6, 5, 4, 2]


def test_a_newer_best_frees_the_older_one(store):
    write(store, 1, is_best=True)
    for step in (2, 3, 4):
        write(store, step)
    write(store, 5, is_best=True)
    assert store.steps() == [5, 4, 3]


def test_nothing_but_checkpoints_is_left(store, tmp_path):
    for step in range(1, 8):
        write(store, step)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-000005",
        "step-000006",
        "step-000007",
    ]


def test_a_failed_write_leaves_the_older_ones_and_no_trace(store, tmp_path):
    write(store, 1)

    def full(folder):
        (folder / "weights").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.write(IDENTITY, step=2, attempt=1, created_at="now", write_files=full)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]


def test_the_same_step_can_be_written_again(store):
    write(store, 3, content=b"old")
    write(store, 3, content=b"new")
    assert (store.path(3) / "weights").read_bytes() == b"new"
    store.verify(3)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_step(path):
    value = json.loads((path / MANIFEST).read_text())
    value["step"] = 9
    (path / MANIFEST).write_text(json.dumps(value))


DAMAGES = {
    "one byte flipped": lambda path: flip(path / "weights"),
    "half zeroed": lambda path: (path / "weights").write_bytes(b"wei\0\0\0\0"),
    "truncated": lambda path: (path / "weights").write_bytes(b"weig"),
    "a file deleted": lambda path: (path / "state").unlink(),
    "the manifest deleted": lambda path: (path / MANIFEST).unlink(),
    "the manifest truncated": lambda path: (path / MANIFEST).write_text("{"),
    "the manifest changed": change_step,
    "a file added": lambda path: (path / "extra").write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damage_is_found_and_the_previous_checkpoint_is_taken(store, damage):
    write(store, 1)
    write(store, 2)
    damage(store.path(2))
    found, told = newest(store)
    assert found == 1
    assert [step for step, _ in told] == [2]
    with pytest.raises(StateError):
        store.verify(2)


def test_without_any_valid_checkpoint_none_is_found(store):
    write(store, 1)
    flip(store.path(1) / "weights")
    assert newest(store)[0] is None


def test_a_missing_folder_has_no_checkpoints(store):
    assert store.steps() == []
    assert newest(store) == (None, [])


def test_leftovers_are_removed(store, tmp_path):
    write(store, 1)
    (tmp_path / "checkpoints" / "step-000002.abcd.partial").mkdir()
    store.clean()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000001"]


@pytest.mark.parametrize(
    "field, words",
    [
        ("run_id", "another run"),
        ("config_sha256", "settings"),
        ("data_sha256", "data file"),
        ("base", "base model"),
    ],
)
def test_what_differs_is_named(field, words):
    assert words in IDENTITY.difference(IDENTITY.model_copy(update={field: "other"}))


def test_the_same_identity_differs_in_nothing():
    assert IDENTITY.difference(IDENTITY) is None
