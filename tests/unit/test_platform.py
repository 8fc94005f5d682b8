"""Programs are found where PATH says, never in the folder that somebody happens to stand in."""

from __future__ import annotations

import pytest

from backprop_core import platform


@pytest.mark.parametrize("search", [".", "", "bin:."])
def test_a_program_in_the_current_folder_is_not_found(tmp_path, monkeypatch, search):
    fake = tmp_path / "ollama"
    fake.write_text("#!/bin/sh\ntouch executed\n")
    fake.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", search)
    assert platform.find_program("ollama") is None


def test_a_program_on_the_path_is_found_by_its_whole_name(tmp_path, monkeypatch):
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert platform.find_program("tool") == str(program)
