"""The end of a run reaches a real receiver once, whatever fails on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from backprop_core.jobs import notifier, queue, webhook
from backprop_core.jobs.notifier import Notifier
from backprop_core.platform import FileLock, lock_is_free
from backprop_core.runs import outbox
from backprop_core.runs.database import Row
from backprop_core.runs.store import RunFolder
from backprop_core.workspace import Workspace
from tests.support.stores import ROOT, FakeWorkerLauncher, make_run, submit_run, wait_for
from tests.support.webhooks import WebhookServer

# Commits an end and is cut off before anybody is told.
COMMITS_AND_DIES = """
import os, sys
from backprop_core.runs.database import Row
from backprop_core.workspace import Workspace
from tests.support.stores import FakeWorkerLauncher
ws = Workspace.open(FakeWorkerLauncher())
row = ws.database.get(sys.argv[1])
ended = row.state.model_copy(update={"status": "completed", "seq": 1})
ws.database.advance(Row(ended, row.offset), was="running")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def hook(monkeypatch):
    server = WebhookServer()
    monkeypatch.setenv("BACKPROPAGATE_NOTIFY__WEBHOOK", server.url)
    monkeypatch.setattr(notifier, "PAUSES_S", (0.1, 0.1))
    yield server
    server.close()


@pytest.fixture
def launcher():
    return FakeWorkerLauncher()


@pytest.fixture
def ws(launcher):
    ws = Workspace.open(launcher)
    launcher.workspace = ws
    yield ws
    launcher.close()
    ws.close()


def ended_run(ws, **changes):
    """Put a run that has just ended into the store; its notice waits."""
    state = make_run(ws).model_copy(update={"status": "running"})
    ws.database.insert(state)
    ended = state.model_copy(update={"status": "completed", "seq": 1, "ended_at": ws.now(), **changes})
    assert ws.database.advance(Row(ended, 0), was="running")
    return state.run_id


def outcomes(ws):
    with ws.database.reading() as connection:
        return [row[0] for row in connection.execute("SELECT outcome FROM outbox ORDER BY id")]


def test_the_end_of_a_run_is_told_once_and_within_two_seconds(ws, hook):
    run_id = submit_run(ws, name="night", steps=5)
    wait_for(lambda: hook.received, "the notice")
    folder = RunFolder(ws.sandbox.path("runs", run_id))
    assert time.time() - folder.journal_path.stat().st_mtime < 2.0
    wait_for(lambda: lock_is_free(ws.scheduler_lock), "the scheduler's end")
    [told] = hook.received
    assert (told["run_id"], told["status"], told["text"]) == (
        run_id,
        "completed",
        "night is done. step 5 of 5, loss 0.400",
    )


def test_a_failure_is_told_with_its_code_and_no_secret(ws, hook):
    error = {
        "code": "RUNTIME_DISK_FULL",
        "message": "full, password=hunter2hunter2",
        "hint": "free some",
        "retryable": True,
        "details": {},
    }
    ended_run(ws, status="failed", error=error)
    Notifier(ws).deliver()
    [told] = hook.received
    assert (told["code"], told["message"]) == ("RUNTIME_DISK_FULL", "full, password=[redacted]")


def test_a_receiver_that_fails_first_gets_it_after_a_pause_under_the_same_key(ws, monkeypatch):
    server = WebhookServer(answers=(500, 503))
    monkeypatch.setenv("BACKPROPAGATE_NOTIFY__WEBHOOK", server.url)
    ended_run(ws)
    delivering = Notifier(ws, pauses_s=(0.2, 0.3))
    delivering.start()
    wait_for(lambda: outcomes(ws) == ["delivered"], "the third try")
    delivering.close()
    server.close()
    first, second, third = server.received
    assert second["arrived"] - first["arrived"] >= 0.2
    assert third["arrived"] - second["arrived"] >= 0.3
    assert first["key"] == second["key"] == third["key"]
    assert len(server.accepted) == 1


def test_a_scheduler_killed_between_commit_and_delivery_leaves_the_notice_to_the_next(ws, hook, launcher):
    launcher.runs_scheduler = False
    state = make_run(ws).model_copy(update={"status": "running"})
    ws.database.insert(state)
    killed = subprocess.run(
        [sys.executable, "-c", COMMITS_AND_DIES, state.run_id],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (killed.returncode, hook.received) == (-signal.SIGKILL, [])
    launcher.runs_scheduler = True
    queue.wake_scheduler(ws, [])
    wait_for(lambda: outcomes(ws) == ["delivered"], "the delivery")
    assert [told["run_id"] for told in hook.received] == [state.run_id]


def test_two_schedulers_at_once_tell_it_once(ws, hook):
    ended_run(ws)
    lock = FileLock(ws.home / "outbox.lock")
    assert lock.acquire()
    Notifier(ws).deliver()
    assert hook.received == []
    lock.release()
    Notifier(ws).deliver()
    Notifier(ws).deliver()
    assert len(hook.received) == 1


def test_a_receiver_that_refuses_for_good_is_given_up_at_once(ws, monkeypatch):
    server = WebhookServer(answers=(404,))
    monkeypatch.setenv("BACKPROPAGATE_NOTIFY__WEBHOOK", server.url)
    ended_run(ws)
    Notifier(ws).deliver()
    server.close()
    assert (len(server.received), outcomes(ws)) == (1, ["given-up"])


def test_a_receiver_that_stays_away_is_given_up_after_the_last_pause(ws, monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_NOTIFY__WEBHOOK", "http://127.0.0.1:9/hook")
    ended_run(ws)
    delivering = Notifier(ws, pauses_s=(0.0, 0.0))
    for _ in range(3):
        delivering.deliver()
    assert outcomes(ws) == ["given-up"]


def test_without_a_webhook_nothing_is_kept_for_later(ws, monkeypatch):
    ended_run(ws)
    Notifier(ws).deliver()
    assert outcomes(ws) == ["unwanted"]


def test_an_end_of_the_day_before_yesterday_is_not_told(ws, hook):
    ended_run(ws, ended_at="2020-01-01T00:00:00+00:00")
    Notifier(ws).deliver()
    assert (hook.received, outcomes(ws)) == ([], ["unwanted"])


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0", "224.0.0.1"]
)
def test_an_address_where_clouds_hand_out_credentials_is_never_called(ws, host):
    ended_run(ws)
    with ws.database.reading() as connection:
        [post] = outbox.waiting(connection)
    with pytest.raises(webhook.WebhookError, match="never called"):
        webhook.send(f"http://{host}/hook", post)


def test_a_redirect_is_not_followed(ws):
    inner = WebhookServer()
    outer = WebhookServer(answers=(302,), location=inner.url)
    ended_run(ws)
    Notifier(ws, webhook=lambda: outer.url).deliver()
    outer.close()
    inner.close()
    assert (len(outer.received), inner.received) == (1, [])


def test_the_address_is_in_no_log(ws, caplog, monkeypatch):
    ended_run(ws)
    with caplog.at_level("INFO"):
        Notifier(ws, webhook=lambda: "http://127.0.0.1:9/hook?key=s3cretpath").deliver()
    assert "could not be told" in caplog.text
    assert "s3cretpath" not in caplog.text
