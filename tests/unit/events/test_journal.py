import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_core.errors import RunError
from backprop_core.events.journal import JournalReader, JournalWriter, tail_events
from backprop_core.events.types import BODY_BY_TYPE, Metrics, Notice, RunFailed, RunStarted
from tests.support.fake_worker import metrics


def write(path, bodies):
    with JournalWriter(path) as journal:
        return [journal.append(body) for body in bodies]


def test_events_come_back_as_they_were_written(tmp_path):
    bodies = [RunStarted(attempt=1, pid=7, device="cpu"), metrics(1, 2), Notice(message="half way")]
    write(tmp_path / "j", bodies)
    events = list(JournalReader(tmp_path / "j").read_all())
    assert [event.seq for event in events] == [1, 2, 3]
    assert [event.body for event in events] == bodies


def test_numbers_go_on_where_the_last_writer_stopped(tmp_path):
    write(tmp_path / "j", [Notice(message="a")])
    [event] = write(tmp_path / "j", [Notice(message="b")])
    assert event.seq == 2


@pytest.mark.parametrize("torn", [b'{"v":1,"seq":3,"ty', b"\xff\xfe", b"{"])
def test_a_torn_last_line_is_skipped_by_readers_and_cut_by_the_next_writer(tmp_path, torn):
    write(tmp_path / "j", [Notice(message="a"), Notice(message="b")])
    with (tmp_path / "j").open("ab") as stream:
        stream.write(torn)
    assert len(list(JournalReader(tmp_path / "j").read_all())) == 2
    write(tmp_path / "j", [Notice(message="c")])
    assert [event.seq for event in JournalReader(tmp_path / "j").read_all()] == [1, 2, 3]


@given(st.integers(min_value=0, max_value=400))
def test_a_journal_cut_anywhere_keeps_every_whole_line(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "j"
    write(path, [Notice(message="x" * 20) for _ in range(4)])
    whole = path.read_bytes()[:cut]
    path.write_bytes(whole)
    [event] = write(path, [Notice(message="next")])
    assert event.seq == whole.count(b"\n") + 1


def test_a_type_from_a_newer_version_is_skipped_and_counts(tmp_path):
    write(tmp_path / "j", [Notice(message="a")])
    with (tmp_path / "j").open("ab") as stream:
        stream.write(b'{"v":1,"seq":2,"ts":"2026-01-01T00:00:00+00:00","mono":1,"type":"from.the.future"}\n')
    [event] = write(tmp_path / "j", [Notice(message="c")])
    assert event.seq == 3
    assert [event.seq for event in JournalReader(tmp_path / "j").read_all()] == [1, 3]


def test_a_reader_reads_only_what_is_new(tmp_path):
    write(tmp_path / "j", [metrics(step, 100) for step in range(1, 101)])
    reader = JournalReader(tmp_path / "j")
    assert len(reader.read_new()) == 100
    size = (tmp_path / "j").stat().st_size
    assert (reader.offset, reader.has_news(), reader.read_new()) == (size, False, [])
    write(tmp_path / "j", [metrics(101, 101)])
    assert [event.body.step for event in reader.read_new()] == [101]


def test_the_tail_is_read_from_the_end(tmp_path):
    write(tmp_path / "j", [metrics(step, 2000) for step in range(1, 2001)])
    assert [event.body.step for event in tail_events(tmp_path / "j", 3)] == [1998, 1999, 2000]


def test_secrets_do_not_reach_the_journal(tmp_path):
    error = RunError("RUNTIME_TRAINING_FAILED", "The hub said token=hunter2hunter2.").record()
    write(tmp_path / "j", [RunFailed(step=1, error=error), Notice(message="hf_abcdefghijklmnop")])
    text = (tmp_path / "j").read_text()
    assert "hunter2" not in text
    assert "hf_abc" not in text


def test_a_full_disk_is_a_coded_error_and_leaves_whole_lines(tmp_path, monkeypatch):
    path = tmp_path / "j"
    write(path, [Notice(message="a")])
    real = os.write

    def half_then_full(fd, data):
        real(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with JournalWriter(path) as journal:
        monkeypatch.setattr(os, "write", half_then_full)
        with pytest.raises(RunError) as caught:
            journal.append(Notice(message="b"))
        monkeypatch.undo()
        assert caught.value.code == "RUNTIME_DISK_FULL"
        journal.append(Notice(message="after some space was made"))
    assert [event.seq for event in JournalReader(path).read_all()] == [1, 2]


def test_a_loss_that_is_not_finite_is_written_as_unknown(tmp_path):
    write(tmp_path / "j", [metrics(1, 1).model_copy(update={"loss": float("nan")})])
    [event] = JournalReader(tmp_path / "j").read_all()
    assert isinstance(event.body, Metrics)
    assert event.body.loss is None


def test_every_event_type_has_its_own_name():
    assert len(BODY_BY_TYPE) == len({cls.model_fields["type"].default for cls in BODY_BY_TYPE.values()})


def test_bytes_that_are_no_text_cost_their_own_line_only(tmp_path):
    path = tmp_path / "events.jsonl"
    with JournalWriter(path) as journal:
        journal.append(Notice(message="before"))
    with path.open("ab") as stream:
        stream.write(b'\xff\xfe{"seq": 2}\n')
    with JournalWriter(path) as journal:
        journal.append(Notice(message="after"))
    assert [event.body.message for event in JournalReader(path).read_all()] == ["before", "after"]
