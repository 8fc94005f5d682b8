"""The routes of finished exports, behind the gate, over a real socket."""

from __future__ import annotations

import json
import shutil

import pytest

from backprop_app.api import exports as api
from backprop_app.api.routes import create_api
from backprop_app.runtime import Runtime
from backprop_app.security.gate import Gate
from backprop_app.security.rules import Policy
from backprop_core.jobs.follower import Follower
from backprop_core.services.chats import ChatPool
from backprop_core.services.export_checks import ExportRequest
from backprop_core.telemetry.sampler import Sampler
from backprop_core.workspace import Workspace
from tests.support.asgi_server import exchange, request, running, status_of
from tests.support.exports import WorkerLauncher, list_adapter_run, run_job, write_source


@pytest.fixture
def ws():
    launcher = WorkerLauncher()
    ws = Workspace.open(launcher)
    launcher.workspace = ws
    ws.sandbox.prepare()
    yield ws
    launcher.close()
    ws.close()


@pytest.fixture
def port(ws, monkeypatch):
    runtime = Runtime(ws, Follower(ws), Sampler(), ChatPool(ws.home))
    monkeypatch.setattr(api, "current", lambda: runtime)
    with running(Gate(create_api(), Policy())) as port:
        yield port


@pytest.fixture
def job(ws, tmp_path):
    run_id = list_adapter_run(ws, write_source(tmp_path))
    return run_job(ws, ExportRequest(run_id, quantization="q8_0", name="m"), face="page")


def get(port: int, path: str) -> bytes:
    return exchange(port, request("GET", path, host=f"localhost:{port}"))


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def test_a_file_is_streamed_whole_under_its_own_name(ws, port, job):
    answer = get(port, f"/api/exports/{job.run_id}/download")
    file = ws.sandbox.root / "exports" / "gguf" / "m-q8_0.gguf"
    assert status_of(answer) == 200
    assert body_of(answer) == file.read_bytes()
    assert b"content-disposition: attachment; filename*=UTF-8''m-q8_0.gguf" in answer.lower().replace(
        b"utf-8", b"UTF-8"
    )


def test_the_list_tells_what_stands(port, job):
    answer = get(port, "/api/exports")
    [made] = json.loads(body_of(answer))["exports"]
    assert (made["run_id"], made["spec"]["quantization"]) == (job.run_id, "q8_0")


def test_a_file_outside_of_the_folder_of_the_app_is_not_sent(ws, port, tmp_path):
    write_source(tmp_path)
    state = run_job(
        ws, ExportRequest(str(tmp_path / "tuned"), quantization="q8_0", output=tmp_path / "m.gguf")
    )
    answer = get(port, f"/api/exports/{state.run_id}/download")
    assert status_of(answer) == 400
    assert json.loads(body_of(answer))["error"]["code"] == "SANDBOX_PATH_OUTSIDE"


def test_a_link_in_the_place_of_the_file_is_not_followed(ws, port, job, tmp_path):
    (tmp_path / "secret").write_text("secret")
    file = ws.sandbox.root / "exports" / "gguf" / "m-q8_0.gguf"
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    answer = get(port, f"/api/exports/{job.run_id}/download")
    assert status_of(answer) == 400
    assert b"secret" not in body_of(answer)


def test_a_link_in_the_place_of_the_folder_is_not_followed(ws, port, job, tmp_path):
    folder = ws.sandbox.root / "exports" / "gguf"
    shutil.move(folder, tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    assert status_of(get(port, f"/api/exports/{job.run_id}/download")) == 400


@pytest.mark.parametrize("wanted", ["deadbeef", "..%2f..%2fetc%2fpasswd", "%00", "x" * 500])
def test_what_is_no_export_is_not_found(port, wanted):
    assert status_of(get(port, f"/api/exports/{wanted}/download")) in {400, 404}
