"""Sharing through real processes: what opens, what never opens, and how a share ends.

The providers are stand-ins that speak like the real program; the SSH server is a real one.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
import websockets

from backprop_app.listening import bind, make_server
from backprop_app.security.gate import Gate
from backprop_app.security.rules import Policy
from backprop_app.sharing.providers import OwnServer, QuickTunnel
from backprop_app.sharing.share import Share, Way
from backprop_app.sharing.tunnel import Tunnel
from backprop_core.errors import RunError
from tests.support import tunnels
from tests.support.logins import PASSWORD, USER, access_at
from tests.support.sshd import server
from tests.support.tunnels import NAME
from tests.support.ui_server import ROOT, free_port

POLICY = Policy(mode="share", require_session=True)


async def bare(scope, receive, send) -> None:
    """An app that lets everybody in: what keeps strangers out is the gate alone."""
    if scope["type"] == "http":
        body = b"ok"
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(gate) -> AsyncIterator[int]:
    sockets = bind("127.0.0.1", 0)
    started = asyncio.Event()
    app = make_server(gate, started.set, lifespan="off")
    task = asyncio.create_task(app.serve(sockets=sockets))
    await started.wait()
    try:
        yield sockets[0].getsockname()[1]
    finally:
        app.should_exit = True
        await task
        for listening in sockets:
            listening.close()


class Sharer:
    """A share of a bare app behind a gate with a login."""

    def __init__(self, folder: Path, *, app=bare) -> None:
        self.folder = folder
        self.gate = Gate(app, POLICY, access=access_at(folder / "home"))

    @asynccontextmanager
    async def share(self, body: str, *, way: Way | None = None, wait_s: float = 20):
        async with served(self.gate) as port:
            provider = QuickTunnel()
            where = tunnels.program(self.folder / "bin", body) / "cloudflared"
            plan = provider.plan(where, port, free_port(), self.folder / "empty.yml")
            tunnel = Tunnel(plan, os.environ)
            share = Share(tunnel, provider, self.gate, POLICY, wait_s=wait_s, way=way)
            try:
                yield share, port
            finally:
                await share.close()

    @property
    def policy(self) -> Policy:
        return self.gate._guard.policy


def is_gone(folder: Path) -> bool:
    """Tell whether no stand-in of this test runs any more."""
    mark = str(folder / "bin" / "cloudflared")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not any(mark in (found.info["cmdline"] or []) for found in psutil.process_iter(["cmdline"])):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("body", "wait_s", "told"),
    [
        (tunnels.GARBAGE, 1.0, "was not open after 1 s"),
        (tunnels.SILENT, 0.5, "was not open after 0.5 s. It said nothing."),
        (tunnels.says("https://evil.example"), 1.0, "was not open after 1 s"),
        (tunnels.says(f"https://{NAME}.evil.example"), 1.0, "was not open after 1 s"),
        (tunnels.says("https://x", "time.sleep(1); sys.exit(3)\n"), 20.0, "ended before it was open"),
        (tunnels.NO_SHELL, 20.0, "Its last words: $(touch owned)"),
    ],
    ids=["garbage", "silent", "foreign", "lookalike", "exits", "shell"],
)
def test_a_tunnel_that_does_not_open_shares_nothing(tmp_path, body, wait_s, told):
    async def go() -> None:
        sharer = Sharer(tmp_path)
        async with sharer.share(body, wait_s=wait_s) as (share, port):
            with pytest.raises(RunError) as caught:
                await share.open(())
            assert caught.value.code == "RUNTIME_TUNNEL_FAILED"
            assert told in caught.value.message
            assert sharer.policy is POLICY
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.get(f"http://127.0.0.1:{port}/healthz", headers={"host": NAME})
            assert answer.status_code == 421

    asyncio.run(go())
    assert is_gone(tmp_path)
    assert not list(tmp_path.rglob("owned"))


def test_a_relay_that_hides_its_name_is_not_shared(tmp_path):
    async def go() -> None:
        relay = free_port()
        way = Way(("127.0.0.1", relay), is_tls=False)
        sharer = Sharer(tmp_path)
        async with sharer.share(tunnels.relays(relay, "localhost"), way=way, wait_s=2) as (share, _):
            with pytest.raises(RunError) as caught:
                await share.open(())
            assert caught.value.code == "RUNTIME_TUNNEL_FAILED"
            assert "was not open after 2 s" in caught.value.message

    asyncio.run(go())


def test_a_gate_that_lets_strangers_in_is_not_shared(tmp_path, monkeypatch):
    async def go() -> None:
        relay = free_port()
        sharer = Sharer(tmp_path)
        async with sharer.share(tunnels.relays(relay), way=Way(("127.0.0.1", relay), is_tls=False)) as (
            share,
            _,
        ):
            from backprop_app.security import paths

            monkeypatch.setattr(paths, "PUBLIC", paths.PUBLIC | {("GET", "/api/runs")})
            with pytest.raises(RunError) as caught:
                await share.open(())
            assert caught.value.code == "RUNTIME_UI_GATE_OPEN"
            assert f"a stranger opens /api/runs at {NAME} (status 200)" in caught.value.message
            assert sharer.policy is POLICY

    asyncio.run(go())
    assert is_gone(tmp_path)


def test_a_share_ends_with_its_time_and_takes_its_name_along(tmp_path):
    async def go() -> tuple[str, float]:
        relay = free_port()
        sharer = Sharer(tmp_path)
        async with sharer.share(tunnels.relays(relay), way=Way(("127.0.0.1", relay), is_tls=False)) as (
            share,
            _,
        ):
            reach = await share.open(())
            assert reach.url == f"https://{NAME}"
            assert sharer.policy.tls_hosts == {NAME}
            start = time.monotonic()
            reason = await share.hold(0.6)
            assert sharer.policy is POLICY
            return reason, time.monotonic() - start

    reason, took = asyncio.run(go())
    assert reason == "The time of --share-for is over."
    assert 0.5 < took < 6
    assert is_gone(tmp_path)


def test_a_login_cannot_be_taken_away_while_the_app_runs(tmp_path):
    gate = Gate(bare, POLICY, access=access_at(tmp_path))
    with pytest.raises(ValueError, match="login"):
        gate.change(replace(POLICY, require_session=False))


def test_a_tunnel_does_not_outlive_an_app_that_is_killed(tmp_path):
    where = tunnels.program(tmp_path / "bin", tunnels.SILENT) / "cloudflared"
    code = (
        "import asyncio, os\n"
        "from pathlib import Path\n"
        "from backprop_app.sharing.providers import Plan\n"
        "from backprop_app.sharing.tunnel import Tunnel\n"
        "async def go():\n"
        f"    await Tunnel(Plan(({str(where)!r}, ':1'), None, lambda _: None), os.environ).start()\n"
        "    await asyncio.sleep(0.5)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(go())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL
    assert is_gone(tmp_path)


# The whole launcher

LAUNCH = """
import os
from pathlib import Path
from backprop_app.serve import ServeOptions, serve
from backprop_app.sharing.share import Way
from backprop_core.errors import BackpropagateError
try:
    serve(ServeOptions(port={port}, share=True, share_via={via!r}, share_for="1h", share_wait_s={wait},
                       share_way={way}))
except BackpropagateError as error:
    print(f"[{{error.code}}] {{error.message}}", flush=True)
    raise SystemExit(int(error.exit_code)) from None
"""


class Launched:
    """The app, started with `--share` as a process."""

    def __init__(self, home: Path, programs: Path, *, port=0, via="", wait=20.0, way="None") -> None:
        self.port = port or free_port()
        self.out, self.err = home.with_suffix(".out"), home.with_suffix(".err")
        env = {name: value for name, value in os.environ.items() if not name.startswith("BACKPROPAGATE_")}
        env |= {"BACKPROPAGATE_HOME": str(home), "BACKPROPAGATE_UI__AUTH": f"{USER}:{PASSWORD}"}
        env |= {"PATH": str(programs), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        code = LAUNCH.format(port=self.port, via=via, wait=wait, way=way)
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=out, stderr=err)

    def wait_for(self, words: str, path: Path | None = None, limit_s: float = 60) -> str:
        deadline = time.monotonic() + limit_s
        while words not in (text := (path or self.err).read_text()):
            assert self.process.poll() is None, self.out.read_text() + text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        return text

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()


@pytest.fixture
def launched(bundle) -> Iterator[list[Launched]]:
    started: list[Launched] = []
    yield started
    for app in started:
        app.stop()


@pytest.fixture(scope="module")
def bundle() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backprop_app.build"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def sign_in(port: int, origin: str) -> httpx.Response:
    """Fill in the login form at a port, as a page under `origin` sends it."""
    address, each = f"http://127.0.0.1:{port}", {"connection": "close"}
    with httpx.Client(base_url=address, headers=each, trust_env=False, timeout=20) as client:
        page = client.get("/login")
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text))
        cookie = page.headers["set-cookie"].partition(";")[0]
        headers = {"origin": origin, "cookie": cookie}
        data = {**fields, "user": USER, "password": PASSWORD}
        return client.post("/login", data=data, headers=headers)


def test_a_shared_app_is_reached_by_its_name_and_goes_on_when_the_tunnel_dies(tmp_path, launched):
    relay = free_port()
    programs = tunnels.program(tmp_path / "bin", tunnels.relays(relay))
    app = Launched(tmp_path / "home", programs, way=f"Way(('127.0.0.1', {relay}), False)")
    launched.append(app)
    told = app.wait_for("Shared until")
    assert "Cloudflare ends the encryption and can read everything that passes" in told
    assert app.out.read_text().splitlines() == [f"http://localhost:{app.port}", f"https://{NAME}"]

    outside = f"http://127.0.0.1:{relay}"
    assert httpx.get(f"{outside}/", trust_env=False).status_code == 401
    answer = sign_in(relay, f"https://{NAME}")
    assert answer.status_code == 303
    session = next(line for line in answer.headers.get_list("set-cookie") if "_session" in line)
    assert session.startswith("__Host-backprop_session=")
    assert "; Secure" in session
    cookie = session.partition(";")[0]
    page = httpx.get(f"{outside}/", headers={"cookie": cookie}, trust_env=False)
    assert page.status_code == 200
    assert "strict-transport-security" in page.headers
    local = sign_in(app.port, f"http://127.0.0.1:{app.port}")
    assert local.headers["set-cookie"].startswith("backprop_session=")
    assert "Secure" not in local.headers["set-cookie"]

    async def socket(origin: str) -> int:
        url = f"ws://127.0.0.1:{relay}/_event/?token=x&EIO=4&transport=websocket"
        try:
            async with websockets.connect(
                url, origin=origin, proxy=None, additional_headers={"cookie": cookie}
            ):
                return 101
        except websockets.InvalidStatus as refused:
            return refused.response.status_code

    assert asyncio.run(socket(f"https://{NAME}")) == 101
    assert asyncio.run(socket("https://evil.example")) == 403
    assert asyncio.run(socket(f"http://{NAME}")) == 403

    mark = str(tmp_path / "bin" / "cloudflared")
    for found in psutil.process_iter(["cmdline"]):
        if mark in (found.info["cmdline"] or [])[:3] and "leash" not in " ".join(found.info["cmdline"]):
            found.kill()
    assert "The app goes on here." in app.wait_for("No longer shared", limit_s=10)
    statuses = {
        host: httpx.get(f"http://127.0.0.1:{app.port}/healthz", headers={"host": host}).status_code
        for host in (NAME, "localhost")
    }
    assert statuses == {NAME: 421, "localhost": 200}
    audit = (tmp_path / "home" / "logs" / "audit.jsonl").read_text()
    assert '"action":"share.open"' in audit
    assert '"action":"share.end"' in audit
    assert '"peer":"tunnel"' in audit


def test_the_launcher_ends_when_the_share_does_not_open(bundle, tmp_path):
    app = Launched(tmp_path / "home", tunnels.program(tmp_path / "bin", tunnels.SILENT), wait=0.5)
    assert app.process.wait(60) == 2
    assert app.out.read_text().startswith("[RUNTIME_TUNNEL_FAILED] The tunnel of cloudflared was not open")
    assert is_gone(tmp_path)


def test_a_share_by_ssh_goes_through_a_real_server(tmp_path, launched):
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    with server(keys) as ssh_port:
        there, real = free_port(), shutil.which("ssh")
        assert real is not None
        port = free_port()
        via = f"ssh:{getpass.getuser()}@127.0.0.1:{ssh_port}"
        programs = tunnels.ssh_for(tmp_path / "bin", keys, real, (port, there))
        app = Launched(tmp_path / "home", programs, port=port, via=via)
        launched.append(app)
        told = app.wait_for("Shared until")
        assert f"From elsewhere: ssh -L {port}:localhost:{port} " in told
        assert app.out.read_text().splitlines() == [f"http://localhost:{port}"]
        assert httpx.get(f"http://localhost:{there}/api/runs", trust_env=False).status_code == 401
        assert httpx.get(f"http://localhost:{there}/healthz", trust_env=False).status_code == 200
        evil = {"host": "box.example"}
        assert (
            httpx.get(f"http://localhost:{there}/healthz", headers=evil, trust_env=False).status_code == 421
        )
    app.wait_for("No longer shared", limit_s=20)
    assert httpx.get(f"http://localhost:{port}/healthz", trust_env=False).status_code == 200


def test_a_server_whose_key_is_not_known_is_not_trusted(tmp_path):
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)

    async def go(ssh_port: int) -> None:
        gate = Gate(bare, POLICY, access=access_at(tmp_path / "home"))
        async with served(gate) as port:
            (keys / "known").write_text("")
            programs = tunnels.ssh_for(tmp_path / "bin", keys, str(shutil.which("ssh")), (port, free_port()))
            provider = OwnServer(getpass.getuser(), "127.0.0.1", ssh_port)
            plan = provider.plan(programs / "ssh", port, free_port(), tmp_path / "empty.yml")
            share = Share(Tunnel(plan, os.environ), provider, gate, POLICY, wait_s=20)
            with pytest.raises(RunError) as caught:
                await share.open(())
            assert caught.value.code == "RUNTIME_TUNNEL_FAILED"
            assert "Host key verification failed" in caught.value.message

    with server(keys) as ssh_port:
        asyncio.run(go(ssh_port))
