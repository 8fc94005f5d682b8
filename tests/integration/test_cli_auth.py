"""`backprop auth` and the login of `backprop ui` in one home."""

from __future__ import annotations

import json
import logging
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backprop_core.auth.store import AuthStore, digest
from backpropagate.cli.main import main
from tests.support.ui_server import ROOT


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch):
    monkeypatch.setattr("backprop_core.auth.passwords.MEMORY_KIB", 256)


@pytest.fixture
def backprop(capsys):
    root = logging.getLogger()
    before = root.handlers[:]

    def run(*arguments):
        code = main(list(arguments))
        root.handlers[:] = before
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def audited(home: Path) -> list[str]:
    return [json.loads(line)["action"] for line in (home / "logs" / "audit.jsonl").read_text().splitlines()]


def test_a_generated_password_is_printed_once_and_kept_nowhere(backprop, own_home):
    code, out, err = backprop("auth", "set", "--generate", "--user", "mara")
    password = out.strip()
    assert (code, len(password)) == (0, 24)
    assert "mara" in err
    assert password not in err
    raw = b"".join(path.read_bytes() for path in own_home.rglob("*") if path.is_file())
    assert password.encode() not in raw
    store = AuthStore(own_home)
    assert store.account("stored").user == "mara"
    store.close()
    assert audited(own_home) == ["password.set"]


def test_a_token_is_shown_once_listed_without_it_and_revoked(backprop, own_home):
    code, out, _ = backprop("auth", "token", "--name", "nightly", "--json")
    made = json.loads(out)["token"]
    assert (code, made["name"]) == (0, "nightly")
    code, out, _ = backprop("auth", "token", "--list", "--json")
    assert [item["id"] for item in json.loads(out)["tokens"]] == [made["id"]]
    assert made["token"] not in out
    store = AuthStore(own_home)
    assert store.token(made["token"]) is not None
    assert backprop("auth", "token", "--revoke", made["id"])[0] == 0
    assert store.token(made["token"]) is None
    store.close()
    code, _, err = backprop("auth", "token", "--revoke", made["id"])
    assert (code, "[INPUT_VALIDATION_FAILED]" in err) == (1, True)
    assert audited(own_home) == ["token.create", "token.revoke"]


def test_logout_all_ends_every_session(backprop, own_home):
    backprop("auth", "set", "--generate")
    store = AuthStore(own_home)
    sid = store.open_session(store.account("stored"), now=time.time(), agent="", peer="")
    code, _, err = backprop("auth", "logout-all")
    assert (code, err.strip()) == (0, "1 session ended.")
    assert store.session(digest(sid), "stored", time.time()) is None
    store.close()


def test_remove_takes_the_login_away(backprop, own_home):
    backprop("auth", "set", "--generate")
    assert backprop("auth", "remove")[2].strip() == "The login is removed."
    assert backprop("auth", "remove")[2].strip() == "No login was set."


def typed(home: Path, answers: list[str]) -> tuple[int, str]:
    """Run `backprop auth set` on a terminal and type the answers; return its exit code and what it showed."""
    here, there = pty.openpty()
    env = {**os.environ, "BACKPROPAGATE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "backpropagate", "auth", "set", "--user", "mara"],
        env=env,
        cwd=home.parent,
        stdin=there,
        stdout=there,
        stderr=there,
        start_new_session=True,
    )
    os.close(there)
    shown, waiting = "", list(answers)
    while select.select([here], [], [], 30)[0]:
        try:
            shown += os.read(here, 4096).decode()
        except OSError:
            break
        # The blank comes once the terminal has stopped to echo.
        if waiting and shown.endswith(": "):
            os.write(here, waiting.pop(0).encode() + b"\n")
    os.close(here)
    return process.wait(30), shown


def test_a_typed_password_is_asked_for_twice_and_never_shown(own_home):
    code, shown = typed(own_home, ["correct horse", "correct horse"])
    assert code == 0, shown
    assert "Password" in shown
    assert "correct horse" not in shown
    store = AuthStore(own_home)
    assert store.account("stored").user == "mara"
    store.close()


@pytest.mark.parametrize("answers", [["correct horse", "another horse"], ["short"], ["mara-mara", ""]])
def test_a_typed_password_that_differs_or_is_weak_changes_nothing(own_home, answers):
    code, shown = typed(own_home, answers)
    assert code == 1
    assert "[INPUT_AUTH_INVALID_SHAPE]" in shown
    assert not (own_home / "secrets" / "auth.db").exists()
