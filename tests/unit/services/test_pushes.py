"""What a push is made of, and where its token goes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from backprop_core import files
from backprop_core.auth import handover
from backprop_core.config.exports import report_path
from backprop_core.errors import InputError
from backprop_core.services import pushes
from backprop_core.services.opening import open_workspace
from backprop_core.services.pushes import PushRequest
from tests.support.listed_exports import finished_export

TOKEN = "hf_secret_of_a_test"


@pytest.fixture
def ws(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    ws = open_workspace()
    yield ws
    ws.close()


def test_the_token_lies_in_a_private_file_until_it_is_taken_and_nowhere_else(ws, tmp_path):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    folder = pushes.prepare(ws, PushRequest(str(file), "ada/m"), face="cli", is_detached=True)
    holding = [path for path in ws.home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert holding == [ws.home / "secrets" / f"hub-{folder.info().run_id}.token"]
    assert stat.S_IMODE(holding[0].stat().st_mode) == 0o600
    assert handover.take(ws.home, folder.info().run_id) == TOKEN
    assert handover.take(ws.home, folder.info().run_id) is None
    assert not holding[0].exists()


def test_what_a_push_that_never_ran_left_is_removed_by_the_next_one(ws, tmp_path):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    first = pushes.prepare(ws, PushRequest(str(file), "ada/m"), face="cli", is_detached=True)
    second = pushes.prepare(ws, PushRequest(str(file), "ada/m"), face="cli", is_detached=True)
    assert handover.take(ws.home, first.info().run_id) is None
    assert handover.take(ws.home, second.info().run_id) == TOKEN


def test_private_is_what_nobody_has_to_say(ws, tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    wanted = PushRequest(str(tmp_path / "m.gguf"), "ada/m")
    spec = pushes.prepare(ws, wanted, face="cli", is_detached=True).push_spec()
    assert (spec.is_private, spec.message, spec.revision, spec.base) == (True, "Upload m.gguf", None, None)


def test_the_page_pushes_what_an_export_made_and_no_path(ws, tmp_path):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    job = finished_export(ws, file)
    files.write_json(report_path(file), {"job_id": job, "size_bytes": 4, "seconds": 1})
    spec = pushes.prepare(ws, PushRequest(job, "ada/m"), face="page", is_detached=True).push_spec()
    assert spec.path == str(file)
    with pytest.raises(InputError):
        pushes.prepare(ws, PushRequest(str(file), "ada/m"), face="page", is_detached=True)


@pytest.mark.parametrize("text", ["", "two words", "line\nline"])
def test_a_token_file_that_holds_no_single_token_is_refused(ws, tmp_path, text):
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    wanted = PushRequest(str(tmp_path / "m.gguf"), "ada/m", token_file=Path(file))
    with pytest.raises(InputError, match="holds no single token"):
        pushes.prepare(ws, wanted, face="cli", is_detached=True)


@pytest.mark.parametrize("revision", ["", "-x", "../main", "a b", "x" * 200])
def test_a_branch_name_that_cannot_be_one_is_refused(ws, tmp_path, revision):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    wanted = PushRequest(str(tmp_path / "m.gguf"), "ada/m", revision=revision)
    with pytest.raises(InputError, match="is no name of a branch"):
        pushes.prepare(ws, wanted, face="cli", is_detached=True)
