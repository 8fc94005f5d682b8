"""What the gate and the login cost. `python -m benchmarks.gate`

The share of a streaming page is the time that the gate spends on its messages, measured alone, by the
processor time of the app while a page in Chromium follows a run.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright

from backprop_app.build.manifest import UI_DIR
from backprop_app.listening import knock_privately
from backprop_app.security.gate import Gate
from backprop_app.security.guard import open_access
from backprop_app.security.live import LiveSocket
from backprop_app.security.probe import knocks
from backprop_app.security.rules import Policy
from backprop_app.serve import some_assets
from backprop_core.auth.credential import Credential
from backprop_core.auth.passwords import hash_password, verify_password
from backprop_core.auth.store import AuthStore
from backprop_core.platform import FileLock
from backprop_core.ports import SystemClock
from backprop_core.runs.store import RunFolder
from backprop_core.services.access import Login
from backprop_core.workspace import Workspace
from benchmarks.page import _STEPS, _write_steps
from benchmarks.report import Figure, machine, median_s, show
from tests.support import browser as chromium
from tests.support.logins import PASSWORD, USER
from tests.support.stores import FakeWorkerLauncher, make_run
from tests.support.ui_server import UiServer

_TIMES = 2000
_HOST = [(b"host", b"localhost:7860"), (b"user-agent", b"Mozilla/5.0"), (b"accept", b"*/*")]
_ORIGIN = (b"origin", b"http://localhost:7860")


def measure() -> list[Figure]:
    """Return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        store = AuthStore(home)
        account = store.set_account("stored", Credential(USER, PASSWORD))
        access = open_access(Login(store, "stored"), home)
        signed_in = asyncio.run(access.log_in(USER, PASSWORD, peer="", agent="", is_tls=False))
        cookie = signed_in.cookie[1].split(b";")[0]  # type: ignore[union-attr]
        figures = asyncio.run(_requests(access, cookie))
        hashed = median_s(lambda: verify_password(PASSWORD, account.hash), 7)
        figures += [
            Figure("one login hash", hashed * 1000, "ms", 300.0),
            Figure("one login hash, at least", hashed * 1000, "ms", 150.0, is_at_least=True),
            *_two_hashes(),
            asyncio.run(_unknown_by_wrong(access)),
            Figure("self-probe of the finished app", asyncio.run(_self_probe(access)), "s", 1.0),
        ]
        figures += _streaming_page(Path(folder) / "app")
    return figures


async def _requests(access: Any, cookie: bytes) -> list[Figure]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        await send({"type": "http.response.body", "body": b"x"})

    local, guarded = Gate(app, Policy()), Gate(app, Policy(require_session=True), access=access)
    bare = await _request_s(app, [])
    rows = {
        "without a login": (local, _HOST, "/api/runs"),
        "with a session": (guarded, [*_HOST, (b"cookie", cookie)], "/api/runs"),
        "a stranger refused": (guarded, _HOST, "/api/runs"),
        "another site refused": (guarded, [*_HOST, (b"origin", b"http://evil.example")], "/"),
    }
    figures = []
    for name, (gate, headers, path) in rows.items():
        seconds = await _request_s(gate, headers, path) - bare
        figures.append(Figure(f"gate, one request {name}", seconds * 1000, "ms", 0.3))
    return figures


async def _request_s(
    app: Callable[..., Awaitable[None]], headers: list[tuple[bytes, bytes]], path: str = "/"
) -> float:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None:
        pass

    seconds = []
    for _ in range(_TIMES):
        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "query_string": b"",
            "headers": list(headers),
            "client": ("127.0.0.1", 1),
        }
        start = time.perf_counter()
        await app(scope, receive, send)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[_TIMES // 2]


async def _unknown_by_wrong(access: Any) -> Figure:
    """Return how much longer an unknown user takes than a wrong password, each from addresses of its own."""
    seconds: dict[str, list[float]] = {USER: [], "nobody": []}
    for number in range(60):
        user = (USER, "nobody")[number % 2]
        start = time.perf_counter()
        await access.log_in(user, "not the one", peer=f"10.0.0.{number}", agent="", is_tls=False)
        seconds[user].append(time.perf_counter() - start)
    known, unknown = (sorted(values)[len(values) // 2] for values in seconds.values())
    return Figure("unknown user by wrong password, medians apart", 100 * abs(unknown / known - 1), "%", 10.0)


def _two_hashes() -> list[Figure]:
    """Return what two hashes at once take, and how long another thread waits meanwhile."""
    process, before = psutil.Process(), psutil.Process().memory_info().rss
    waits, most, is_over = [], 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not is_over.is_set():
            start = time.perf_counter()
            time.sleep(0.005)
            waits.append(time.perf_counter() - start)
            most = max(most, process.memory_info().rss - before)

    watcher = threading.Thread(target=look)
    watcher.start()
    hashing = [threading.Thread(target=lambda: [hash_password(PASSWORD) for _ in range(4)]) for _ in range(2)]
    for thread in hashing:
        thread.start()
    for thread in hashing:
        thread.join()
    is_over.set()
    watcher.join()
    return [
        Figure("memory of two hashes at once", most / 1e6, "MB", 200.0),
        Figure("longest wait of another thread meanwhile", max(waits) * 1000, "ms", 250.0),
    ]


async def _self_probe(access: Any) -> float:
    from backprop_app import site

    with tempfile.TemporaryDirectory() as folder:
        site.prepare_environment(Path(folder))
        policy = Policy(require_session=True)
        app = site.build_app(policy, access)
        start = time.perf_counter()
        results = await knock_privately(app, knocks(policy, 7860, some_assets()))
        seconds = time.perf_counter() - start
    assert all(result.holds for result in results)
    return seconds


def _streaming_page(home: Path) -> list[Figure]:
    """Follow a run for its whole length in Chromium, with a login."""
    server = UiServer(home, environ={"BACKPROPAGATE_UI__AUTH": f"{USER}:{PASSWORD}"}).start()
    os.environ["BACKPROPAGATE_HOME"] = str(home)
    ws = Workspace.open(FakeWorkerLauncher())
    state = make_run(ws, steps=_STEPS, is_detached=False)
    folder = RunFolder(Path(state.folder))
    lock = FileLock(folder.lock_path)
    lock.acquire()
    ws.database.insert(state.model_copy(update={"status": "starting"}))
    frames = [0]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.require(), args=list(chromium.ARGUMENTS)
        )
        page = browser.new_page()
        page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda _: frames.__setitem__(0, frames[0] + 1)),
        )
        page.goto(f"{server.url}/runs/{state.run_id}")
        page.get_by_label("User").fill(USER)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", level=1).wait_for()
        writer = threading.Thread(target=_write_steps, args=(folder, {}))
        writer.start()
        page.locator(".plot.loss").wait_for()
        process = psutil.Process(server.pid)
        before, seen = sum(process.cpu_times()[:2]), frames[0]
        writer.join()
        page.wait_for_selector(f'.plot.loss[data-last="{_STEPS}"]')
        spent, count = sum(process.cpu_times()[:2]) - before, frames[0] - seen
        browser.close()
    server.stop()
    lock.release()
    ws.close()
    cost = asyncio.run(_message_s())
    return [
        Figure("gate, one message of a websocket", cost * 1e6, "µs"),
        Figure(f"gate, share of a streaming page ({count} messages)", 100 * count * cost / spent, "%", 1.0),
    ]


async def _message_s() -> float:
    async def receive() -> dict[str, Any]:
        return {"type": "websocket.receive", "text": "3"}

    async def send(_message: Any) -> None:
        pass

    socket = LiveSocket(receive, send, SystemClock())
    message = {"type": "websocket.send", "text": "x"}
    start = time.perf_counter()
    for _ in range(_TIMES):
        await socket.send(message)
    through = time.perf_counter()
    for _ in range(_TIMES):
        await send(message)
    return (through - start - (time.perf_counter() - through)) / _TIMES


if __name__ == "__main__":
    assert UI_DIR.is_dir(), "build the bundle first: make bundle"
    print(machine())
    show("Gate and login", measure())
