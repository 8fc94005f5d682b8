"""The command in this process over a store whose workers are real processes without torch."""

from __future__ import annotations

import logging

import pytest

from backprop_core.services import opening
from backprop_core.workspace import Workspace
from backpropagate.cli.main import main
from tests.support.stores import FakeWorkerLauncher


@pytest.fixture
def ws(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    # In a test the scheduler is a thread that would write to the terminal of the command.
    monkeypatch.setattr(logging.getLogger("backprop_core.jobs.scheduler"), "disabled", True)
    launcher = FakeWorkerLauncher()
    launcher.workspace = Workspace.open(launcher)
    monkeypatch.setattr(opening, "ProcessLauncher", lambda environ=None: launcher)
    yield launcher.workspace
    launcher.close()
    launcher.workspace.close()


@pytest.fixture
def backprop(capsys, ws):
    root = logging.getLogger()
    before = root.handlers[:]

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        root.handlers[:] = before
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
