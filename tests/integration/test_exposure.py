"""The real launcher: what it refuses before a port opens, what a stranger gets, what a broken gate leads to."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets

from backprop_app import serve as launcher
from backprop_app.security.rules import Policy
from backprop_app.serve import Entry, ServeOptions, announce, serve
from backprop_core.errors import BackpropagateError
from tests.integration.test_gate import SECURITY_HEADERS
from tests.support.app_table import AppTable, bundle_files, read_table
from tests.support.logins import PASSWORD, USER, Visitor
from tests.support.reflex_socket import ReflexSocket
from tests.support.ui_server import ROOT, UiServer, free_port


@pytest.fixture(scope="module")
def bundle() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backprop_app.build"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def table(bundle: None) -> AppTable:
    return read_table()


@pytest.fixture(scope="module")
def guarded(bundle: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiServer]:
    """The app on loopback; its login comes from the environment alone."""
    environ = {"BACKPROPAGATE_UI__AUTH": f"{USER}:{PASSWORD}"}
    server = UiServer(tmp_path_factory.mktemp("guarded") / "app", environ=environ)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def local(bundle: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiServer]:
    """The app as `backprop ui` starts it."""
    server = UiServer(tmp_path_factory.mktemp("local") / "app")
    server.start()
    yield server
    server.stop()


def is_closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def run_python(code: str, home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "BACKPROPAGATE_HOME": str(home), "PYTHONPATH": str(ROOT), **environ}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


UI = "import sys\nfrom backpropagate.cli.main import main\nsys.exit(main(['ui', '--no-open', '--port', '{port}', {more}]))"


# Before a port opens


@pytest.mark.parametrize(
    ("options", "environ", "code"),
    [
        ({"share": True}, {}, "INPUT_AUTH_REQUIRED"),
        ({"host": "0.0.0.0"}, {}, "INPUT_AUTH_REQUIRED"),
        ({"host": "::"}, {}, "INPUT_AUTH_REQUIRED"),
        ({"host": "192.0.2.1"}, {}, "INPUT_AUTH_REQUIRED"),
        ({"auth": ""}, {}, "INPUT_AUTH_INVALID_SHAPE"),
        ({"auth": ":"}, {}, "INPUT_AUTH_INVALID_SHAPE"),
        ({"auth": "u:"}, {}, "INPUT_AUTH_INVALID_SHAPE"),
        ({"auth": ":p"}, {}, "INPUT_AUTH_INVALID_SHAPE"),
        ({"auth": "u"}, {}, "INPUT_AUTH_INVALID_SHAPE"),
        ({}, {"BACKPROPAGATE_UI__AUTH": ""}, "INPUT_AUTH_INVALID_SHAPE"),
        ({"share": True, "auth": "admin:admin"}, {}, "INPUT_AUTH_INVALID_SHAPE"),
        ({"share": True, "auth": "alice:hunter2"}, {}, "DEP_TUNNEL_MISSING"),
        ({"share": True}, {"BACKPROPAGATE_UI__AUTH": "alice:hunter2"}, "DEP_TUNNEL_MISSING"),
        ({}, {"BACKPROPAGATE_SECURITY__REQUIRE_AUTH_FOR_SHARE": "false"}, "CONFIG_INVALID_SETTING"),
    ],
)
def test_nothing_is_bound_when_the_flags_do_not_allow_it(
    bundle, tmp_path, monkeypatch, options, environ, code
):
    monkeypatch.setattr(launcher, "bind", lambda *_: pytest.fail("a port was bound"))
    with pytest.raises(BackpropagateError) as caught:
        serve(ServeOptions(port=free_port(), home=tmp_path, environ=environ, **options))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        ("'--share'", 1, "INPUT_AUTH_REQUIRED"),
        ("'--host', '0.0.0.0'", 1, "INPUT_AUTH_REQUIRED"),
        ("'--auth', 'u:'", 1, "INPUT_AUTH_INVALID_SHAPE"),
        ("'--share', '--auth', 'alice:hunter2'", 2, "DEP_TUNNEL_MISSING"),
    ],
)
def test_the_command_says_so_and_ends(tmp_path, arguments, exit_code, code):
    port = free_port()
    done = run_python(UI.format(port=port, more=arguments), tmp_path / "home")
    assert done.returncode == exit_code
    assert f"[{code}]" in done.stderr
    assert done.stdout == ""
    assert "hunter2" not in done.stderr
    assert is_closed(port)


def test_a_weak_password_and_one_on_the_command_line_are_warned_about(tmp_path, capsys):
    options = ServeOptions(home=tmp_path, auth="alice:hunter2", environ={})
    announce(options, launcher.entry_for(options), 7860)
    told = capsys.readouterr().err
    assert "login needed" in told
    assert "7 characters" in told
    assert "process list" in told
    assert "hunter2" not in told


def test_other_people_on_the_machine_are_warned_about(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(launcher, "other_accounts", lambda: ["mallory"])
    announce(ServeOptions(environ={"SSH_CONNECTION": "x"}), Entry(Policy(), None, tmp_path), 7860)
    told = capsys.readouterr().err
    assert "mallory is logged in here too" in told
    assert "ssh -L 7860:localhost:7860" in told


# A stranger at an app with a login


def test_a_stranger_gets_nothing_from_any_route(guarded, table):
    assert len(table.routes) >= 12
    public = {("GET", "/healthz")}
    with httpx.Client(base_url=guarded.url, trust_env=False) as stranger:
        asked = [
            *table.routes,
            *(("GET", path) for _, path in table.routes),
            *(("POST", path) for _, path in table.routes),
        ]
        asked += [
            ("GET", "/_upload/x"),
            ("POST", "/_upload"),
            ("GET", "/no-such-page"),
            ("GET", "/api/no-such-route"),
        ]
        statuses = {
            (method, path): stranger.request(method, path).status_code
            for method, path in asked
            if (method, path) not in public
        }
    assert {request: status for request, status in statuses.items() if status not in {303, 401}} == {}


def test_a_stranger_gets_no_file_of_the_bundle(guarded):
    paths = [path for path in bundle_files() if path != "/favicon.svg"]
    assert len(paths) > 20
    with httpx.Client(base_url=guarded.url, trust_env=False) as stranger:
        statuses = {path: stranger.get(path).status_code for path in paths}
    assert {path: status for path, status in statuses.items() if status not in {303, 401}} == {}


def test_a_stranger_gets_no_websocket(guarded, table):
    async def knock(path: str) -> int:
        url = f"ws://localhost:{guarded.port}{path}/?token=x&EIO=4&transport=websocket"
        try:
            async with websockets.connect(url, origin=guarded.url, proxy=None):
                return 101
        except websockets.InvalidStatus as refused:
            return refused.response.status_code

    assert table.sockets == ["/_event"]
    assert [asyncio.run(knock(path)) for path in [*table.sockets, "/runs", "/api/x"]] == [401, 401, 401]


def test_whoever_signs_in_gets_the_page_and_a_restart_keeps_it(guarded):
    visitor = Visitor(guarded.port, "localhost")
    assert visitor.log_in().status_code == 303
    assert "Backpropagate" in visitor.http.get("/").text
    guarded.stop()
    guarded.start()
    assert visitor.http.get("/api/runs").json()["total"] == 0
    visitor.close()


def test_the_check_finds_the_running_app_closed(guarded):
    code = UI.format(port=guarded.port, more="'--check'")
    done = run_python(code, guarded.home, BACKPROPAGATE_UI__AUTH=f"{USER}:{PASSWORD}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a stranger opens / at localhost" in done.stdout
    assert "FAIL" not in done.stdout


def test_the_check_finds_an_app_that_runs_without_the_login_it_should_have(local):
    code = UI.format(port=local.port, more="'--check'")
    done = run_python(code, local.home, BACKPROPAGATE_UI__AUTH=f"{USER}:{PASSWORD}")
    assert done.returncode == 2
    assert "FAIL  200  a stranger opens / at localhost" in done.stdout


def test_an_app_that_listens_everywhere_answers_to_the_named_hosts_alone(bundle, tmp_path):
    server = UiServer(
        tmp_path / "app",
        arguments=["--host", "0.0.0.0", "--allow-host", "box.lan"],
        environ={"BACKPROPAGATE_UI__AUTH": f"{USER}:{PASSWORD}"},
    ).start()
    try:
        statuses = {
            host: httpx.get(server.url, headers={"host": f"{host}:{server.port}"}).status_code
            for host in ("box.lan", "BOX.LAN", "other.lan", "0.0.0.0", "localhost")
        }
        told = server.log.read_text()
    finally:
        server.stop()
    assert statuses == {"box.lan": 401, "BOX.LAN": 401, "other.lan": 421, "0.0.0.0": 421, "localhost": 401}
    assert "not encrypted" in told


# A gate that is broken or missing

BARE = """
import os, sys, pathlib
from backprop_app import site
site.prepare_environment(pathlib.Path(os.environ["BACKPROPAGATE_HOME"]) / "ui")
site.build_app(site.Policy())
from backprop_app.app import app
import uvicorn
uvicorn.run(app(), port={port}, log_level="error")
"""


@pytest.mark.parametrize("auth", [f"{USER}:{PASSWORD}", "no-colon"])
def test_the_app_itself_is_guarded_when_another_server_runs_it(bundle, tmp_path, auth):
    port, home = free_port(), tmp_path / "home"
    env = {
        **os.environ,
        "BACKPROPAGATE_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "BACKPROPAGATE_UI__AUTH": auth,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", BARE.format(port=port)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while is_closed(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        url = f"http://localhost:{port}"
        paths = ("/", "/api/runs", "/_upload/x", "/ping")
        statuses = {path: httpx.get(url + path, trust_env=False, timeout=20).status_code for path in paths}
        evil = {"host": "evil.example"}
        foreign = httpx.get(f"{url}/login", headers=evil, trust_env=False, timeout=20).status_code
    finally:
        process.kill()
        process.wait(10)
    if auth == "no-colon":
        assert set(statuses.values()) == {500}
    else:
        assert set(statuses.values()) == {401}
        assert foreign == 421


@pytest.mark.parametrize(
    "sabotage",
    [
        "sys.modules['backprop_app.security.gate'] = None",
        "sys.modules['backprop_app.security.rules'] = None",
        "sys.modules['backprop_app.security.csp'] = None",
        "import backprop_app.security.guard as g; g.Guard.__init__ = lambda *a: 1 / 0",
    ],
)
def test_without_its_gate_the_app_does_not_start(bundle, tmp_path, sabotage):
    port = free_port()
    done = run_python(f"import sys\n{sabotage}\n" + UI.format(port=port, more=""), tmp_path / "home")
    assert done.returncode != 0
    assert done.stdout == ""
    assert is_closed(port)


@pytest.mark.parametrize(
    ("sabotage", "told"),
    [
        (
            "from backprop_app.security import paths\npaths.PUBLIC |= {('GET', '/index.html')}",
            "a stranger opens /index.html",
        ),
        (
            "from backprop_app.security import rules\nrules.check_origin = lambda *a, **k: None",
            "the origin https://evil.example opens a websocket",
        ),
        (
            "from backprop_app.security import rules\nrules.is_loopback = lambda name: True",
            "a foreign host name opens /",
        ),
    ],
)
def test_an_app_that_lets_anybody_in_is_not_opened(bundle, tmp_path, sabotage, told):
    port = free_port()
    code = f"{sabotage}\n" + UI.format(port=port, more="'--auth', 'mara:a-long-password'")
    done = run_python(code, tmp_path / "home")
    assert done.returncode == 2
    assert "[RUNTIME_UI_GATE_OPEN]" in done.stderr
    assert told in done.stderr
    assert done.stdout == ""
    assert is_closed(port)


# The local app under load and curiosity


def state_of(home: Path) -> tuple[list[str], dict[str, str]]:
    """Return what the store says and the content of every other file that a request could have changed."""
    database = sqlite3.connect(home / "store.db")
    rows = list(database.iterdump())
    database.close()
    skipped = (".db", ".db-wal", ".db-shm", ".log", ".lock")
    files = {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.endswith(skipped) and "cache" not in path.parts
    }
    return rows, files


def test_no_get_changes_anything(local, table):
    with httpx.Client(base_url=local.url, trust_env=False, follow_redirects=True) as client:
        client.get("/")
        before = state_of(local.home)
        for _, path in table.routes:
            assert client.get(path).status_code < 500
        for path in ("/logout", "/login", "/session", "/api/runs?search=x&status=failed"):
            client.get(path)
    assert state_of(local.home) == before


def test_a_page_that_does_not_exist_carries_the_security_headers_too(local):
    for path in ("/no-such-page", "/api/no-such-route"):
        answer = httpx.get(local.url + path)
        raw = "\r\n".join(f"{name}: {value}" for name, value in answer.headers.items()).encode()
        assert answer.status_code == 404
        assert [header for header in SECURITY_HEADERS if header not in raw] == []


def test_two_hundred_sockets_are_capped_and_others_go_on(local):
    async def flood() -> tuple[int, float]:
        async def one() -> websockets.ClientConnection | None:
            url = f"ws://127.0.0.1:{local.port}/_event/?token={os.urandom(8).hex()}&EIO=4&transport=websocket"
            try:
                return await websockets.connect(url, origin=f"http://127.0.0.1:{local.port}", proxy=None)
            except websockets.InvalidStatus as refused:
                assert refused.response.status_code == 429
                return None

        opened = [found for found in await asyncio.gather(*(one() for _ in range(200))) if found]
        start = time.perf_counter()
        assert await asyncio.to_thread(local.answers)
        answered = time.perf_counter() - start
        await asyncio.gather(*(connection.close() for connection in opened))
        return len(opened), answered

    count, answered = asyncio.run(flood())
    assert count == 128
    assert answered < 5
    assert local.answers()


def test_a_client_that_floods_events_is_let_go_and_others_go_on(local):
    async def flood() -> int | None:
        page = await ReflexSocket.open(local.port)
        other = await ReflexSocket.open(local.port)
        event = '42/_event,["event",{"name":"reflex___state____state.none","payload":{},"router_data":{}}]'
        try:
            for _ in range(10_000):
                await page._connection.send(event)
        except websockets.ConnectionClosed:
            pass
        await page._connection.wait_closed()
        toggle = "reflex___state____state.backprop_app___states___shell____shell_state.toggle_rail"
        await other.call(toggle, {}, wait_s=1.0)
        assert "rail_open" in str(other.updates)
        await other.close()
        return page._connection.close_code

    assert asyncio.run(flood()) == 4429
    assert local.answers()


@pytest.mark.parametrize(
    "message",
    [
        "x" * 1_500_000,
        "42/_event,",
        '42/_event,["event"',
        "42/_event," + "[" * 100_000,
        "9999",
        "\x00",
        "",
        b"\xff" * 100,
    ],
)
def test_a_message_that_makes_no_sense_hurts_nobody(local, message):
    async def send() -> None:
        page = await ReflexSocket.open(local.port)
        try:
            await page._connection.send(message)
            await page.read(0.2)
        except websockets.ConnectionClosed as closed:
            if len(message) > 1_000_000:
                assert closed.rcvd is not None
                assert closed.rcvd.code == 1009
        await page.close()

    asyncio.run(send())
    assert local.answers()
