"""Runs the command in this process and leaves its logging behind nowhere."""

from __future__ import annotations

import logging

import pytest

from backpropagate.cli.main import main


@pytest.fixture
def backprop(capsys, tmp_path, monkeypatch):
    """Return a function that runs a command line and gives exit code, data and talk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    root = logging.getLogger()
    before = root.handlers[:]

    def run(*arguments):
        code = main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield run
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers[:] = before
