"""The launcher as a process: what it refuses, what it leaves on the disk, what its socket takes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backprop_app.build import manifest
from backprop_app.serve import ServeOptions, serve
from backprop_core.errors import DependencyError
from tests.support.reflex_socket import ReflexSocket
from tests.support.ui_server import ROOT, UiServer, free_port


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiServer]:
    done = subprocess.run(
        [sys.executable, "-m", "backprop_app.build"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    server = UiServer(tmp_path_factory.mktemp("serve") / "app")
    server.start()
    yield server
    server.end_runs()
    server.stop()


def run_ui(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "BACKPROPAGATE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "backpropagate", "ui", "--no-open", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_in_use_ends_with_its_code_and_exit_1(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_ui(tmp_path, "--port", str(port))
    assert done.returncode == 1
    assert "[RUNTIME_UI_PORT_IN_USE]" in done.stderr
    assert str(port) in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_that_others_reach_needs_a_login_and_opens_nothing(tmp_path: Path, host: str) -> None:
    port = free_port()
    done = run_ui(tmp_path, "--port", str(port), "--host", host)
    assert done.returncode == 1
    assert "[INPUT_AUTH_REQUIRED]" in done.stderr
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_missing_bundle_is_told_before_a_port_opens(tmp_path: Path, monkeypatch) -> None:
    read = manifest.read
    monkeypatch.setattr(manifest, "read", lambda: read(tmp_path / "build.json"))
    port = free_port()
    with pytest.raises(DependencyError) as caught:
        serve(ServeOptions(port=port, home=tmp_path / "home"))
    assert caught.value.code == "RUNTIME_UI_BUNDLE_INVALID"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_ctrl_c_ends_the_app_in_order(tmp_path: Path) -> None:
    server = UiServer(tmp_path / "app").start()
    assert server.stop() in {0, 130}
    assert "Traceback" not in server.log.read_text()


def test_an_impatient_second_ctrl_c_ends_the_app_without_a_trace(tmp_path: Path) -> None:
    server = UiServer(tmp_path / "app").start()
    os.kill(server.pid, signal.SIGINT)
    time.sleep(0.05)
    assert server.stop() in {0, 130, -signal.SIGINT}
    assert "Traceback" not in server.log.read_text()


def test_the_app_writes_nothing_outside_its_home(app: UiServer) -> None:
    started_in = {path.name for path in app.home.iterdir()}
    assert not started_in & {".web", ".states", "uploaded_files", "assets", "reflex.lock", "rxconfig.py"}


def test_the_web_app_answers_with_the_product_and_no_cross_origin_grant(app: UiServer) -> None:
    answer = httpx.get(app.url, headers={"origin": app.url})
    assert answer.status_code == 200
    assert "Backpropagate" in answer.text
    assert "access-control-allow-origin" not in answer.headers
    assert "'unsafe-eval'" not in answer.headers["content-security-policy"]


def test_assets_are_compressed_and_may_be_kept(app: UiServer) -> None:
    page = httpx.get(app.url).text
    script = next(part.split('"')[0] for part in page.split('"/assets/')[1:] if ".js" in part.split('"')[0])
    answer = httpx.get(f"{app.url}/assets/{script}", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]


def test_health_tells_no_version(app: UiServer) -> None:
    assert httpx.get(f"{app.url}/healthz").text == "ok"


def test_the_api_lists_runs_and_knows_what_it_does_not_know(app: UiServer) -> None:
    assert httpx.get(f"{app.url}/api/runs").json() == {"schema_version": 1, "total": 0, "runs": []}
    missing = httpx.get(f"{app.url}/api/runs/00000000")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "INPUT_RUN_NOT_FOUND"
    wrong = httpx.get(f"{app.url}/api/runs?status=sleeping")
    assert wrong.status_code == 400
    assert wrong.json()["error"]["code"] == "INPUT_VALIDATION_FAILED"
    assert httpx.get(f"{app.url}/api/runs?limit=0").status_code == 422


def test_an_upload_from_another_site_stores_nothing(app: UiServer) -> None:
    url = f"{app.url}/api/uploads?name=a.jsonl"
    answer = httpx.post(url, content=b"{}", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert list((app.home / "ui-outputs" / "datasets").iterdir()) == []


def test_an_empty_upload_leaves_nothing(app: UiServer) -> None:
    answer = httpx.post(f"{app.url}/api/uploads?name=a.jsonl", content=b"")
    assert answer.json()["error"]["code"] == "INPUT_DATASET_INVALID"
    assert list((app.home / "ui-outputs" / "datasets").iterdir()) == []


def test_a_defect_reaches_the_browser_as_a_number_only(app: UiServer) -> None:
    async def provoke() -> str:
        page = await ReflexSocket.open(app.port)
        # A handler of Reflex that fails on a variable of a state that does not exist.
        state = "reflex___state____state.reflex___state____update_vars_internal_state"
        unknown = {"vars": {"reflex___state____state.none.secret": 1}}
        await page.call(f"{state}.update_vars_internal", unknown, wait_s=1.0)
        await page.close()
        return str(page.updates)

    seen = asyncio.run(provoke())
    assert "The app met a defect" in seen
    assert "ValueError" not in seen
    assert "Traceback" not in seen


def test_a_second_web_app_on_one_home_is_refused_and_the_first_goes_on(app: UiServer) -> None:
    done = run_ui(app.home, "--port", str(free_port()))
    assert done.returncode == 1
    assert f"[STATE_UI_RUNNING]: The process {app.pid} serves" in done.stderr
    assert app.answers()


def test_an_end_by_the_container_is_an_end_in_order(tmp_path: Path) -> None:
    server = UiServer(tmp_path / "app").start()
    os.kill(server.pid, signal.SIGTERM)
    assert server.stop() in {0, 143, -signal.SIGTERM}
    assert "Traceback" not in server.log.read_text()
