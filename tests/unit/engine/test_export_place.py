"""The place of an export: whole or not at all, never over something else."""

from __future__ import annotations

import errno

import pytest

from backprop_core.engine.export_place import ExportPlace
from backprop_core.errors import InputError, RunError, StateError
from backprop_core.files import write_json

JOB = "0a1b2c3d-0000-4000-8000-000000000000"


@pytest.fixture
def place(tmp_path):
    return ExportPlace(tmp_path / "out" / "model.gguf", JOB, tmp_path / "locks")


def make(place, text="weights"):
    with place.staged() as stage:
        (stage / place.final.name).write_text(text)
        write_json(stage / place.report.name, {"job_id": place.job_id, "file": place.final.name})
        place.publish(stage)


def test_an_export_appears_with_its_report_and_nothing_else(place):
    make(place)
    names = sorted(path.name for path in place.final.parent.iterdir())
    assert names == ["model.gguf", "model.gguf.export.json"]


def test_a_failure_leaves_nothing(place):
    with pytest.raises(KeyError), place.staged() as stage:
        (stage / "model.gguf").write_text("half")
        raise KeyError
    assert list(place.final.parent.iterdir()) == []


def test_an_existing_file_is_never_replaced(place):
    place.final.parent.mkdir()
    place.final.write_text("precious")
    with pytest.raises(InputError) as caught:
        make(place)
    assert caught.value.code == "INPUT_OUTPUT_DIR_NOT_OURS"
    assert place.final.read_text() == "precious"


def test_a_file_that_appears_meanwhile_is_not_replaced_either(place):
    with pytest.raises(InputError), place.staged() as stage:
        (stage / place.final.name).write_text("ours")
        place.final.write_text("theirs")
        place.publish(stage)
    assert place.final.read_text() == "theirs"


def test_a_modelfile_of_somebody_else_is_not_replaced(place):
    place.final.parent.mkdir()
    place.final.with_name("model.gguf.Modelfile").write_text("FROM mine")
    with pytest.raises(InputError):
        make(place)


def test_what_a_job_left_that_was_killed_while_publishing_is_replaced(place):
    place.final.parent.mkdir()
    write_json(place.report, {"job_id": "another", "file": "model.gguf"})
    place.final.with_name("model.gguf.Modelfile").write_text("FROM half")
    make(place)
    assert place.is_done()


def test_work_of_a_killed_job_is_cleared_at_the_next_start(place):
    leftover = place.final.parent / "model.gguf.deadbeef.partial"
    leftover.mkdir(parents=True)
    (leftover / "half").write_text("half")
    make(place)
    assert not leftover.exists()


@pytest.mark.parametrize(
    "name", ["model.gguf.mine.partial", "other.gguf.deadbeef.partial", "deadbeef.partial"]
)
def test_a_folder_that_only_looks_like_a_leftover_stays(place, name):
    folder = place.final.parent / name
    folder.mkdir(parents=True)
    make(place)
    assert folder.exists()


def test_a_second_writer_of_the_same_name_is_refused(place):
    with place.staged(), pytest.raises(StateError) as caught:
        make(ExportPlace(place.final, "1a1b2c3d-0000", place.locks))
    assert caught.value.code == "STATE_RUN_LOCKED"


def test_an_export_is_done_for_its_own_job_only(place):
    make(place)
    assert place.is_done()
    assert not ExportPlace(place.final, "another", place.locks).is_done()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "RUNTIME_DISK_FULL"),
        (errno.EDQUOT, "RUNTIME_DISK_FULL"),
        (errno.EIO, "RUNTIME_GGUF_EXPORT_FAILED"),
    ],
)
def test_what_the_disk_refuses_has_a_code(place, number, code):
    with pytest.raises(RunError) as caught, place.staged():
        raise OSError(number, "refused")
    assert caught.value.code == code
    assert list(place.final.parent.iterdir()) == []
