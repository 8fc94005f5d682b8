"""What a long night costs the app: many runs, many points, many tabs, restarts. `python -m benchmarks.unattended`

Runs are written by this script with the product's own lock and journal; tabs are sockets that speak as a page
does, so that the app is measured and not fifty browsers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import psutil
from playwright.sync_api import Page, sync_playwright

from backprop_core.events import types as ev
from backprop_core.events.journal import JournalReader, JournalWriter
from backprop_core.platform import FileLock, process_start_token
from backprop_core.runs.database import Row
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder
from backprop_core.services import runs
from backprop_core.workspace import Workspace
from benchmarks.report import Figure, machine, median_s, show
from tests.support import browser as chromium
from tests.support.fake_worker import metrics
from tests.support.reflex_socket import ReflexSocket
from tests.support.stores import FakeWorkerLauncher, make_run, submit_run, wait_for
from tests.support.ui_server import ROOT, UiServer

_RUNS = 10_000
_POINTS = 1_000_000
_RECONNECTS = 500
_AT_ONCE = 10
_TABS = 50
_UPDATE_S = 0.2
_WATCHED_S = 15.0
_STATE = "reflex___state____state.backprop_app___states___"
_RAIL = f"{_STATE}rail____rail_state.watch"
_RUN = f"{_STATE}run____run_state.watch"


def measure() -> list[Figure]:
    """Return every figure."""
    subprocess.run([sys.executable, "-m", "backprop_app.build"], cwd=ROOT, check=True)
    figures = []
    for part in (measure_list, measure_queue, measure_points, measure_restart, measure_tabs):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["BACKPROPAGATE_HOME"] = str(Path(folder) / "app")
            figures += part(Path(folder) / "app")
    return figures


def measure_list(home: Path) -> list[Figure]:
    """Return how long a page of ten thousand runs and a search in them take."""
    ws = Workspace.open(FakeWorkerLauncher())
    first = make_run(ws).model_copy(update={"status": "completed", "seq": 1})
    for number in range(_RUNS):
        fields = {"run_id": f"{number:08x}-0000-4000-8000-000000000000", "folder": f"/runs/{number}"}
        named = {"name": f"night {number}", "created_at": f"2026-01-01T{number % 24:02d}:00:00.000+00:00"}
        ws.database.insert(first.model_copy(update={**fields, **named}))

    def page(search: str) -> Callable[[], object]:
        return lambda: (runs.list_runs(ws, search=search), runs.count_runs(ws, search=search))

    figures = [
        Figure("first page of 10,000 runs", 1000 * median_s(page(""), 20), "ms", 200.0),
        Figure("search in 10,000 runs", 1000 * median_s(page("night 9876"), 20), "ms", 300.0),
    ]
    ws.close()
    return figures


def measure_queue(home: Path) -> list[Figure]:
    """Return the time from the end of a worker to the start of the next one, its own start-up included."""
    launcher = FakeWorkerLauncher()
    ws = launcher.workspace = Workspace.open(launcher)
    ids = [submit_run(ws, steps=3) for _ in range(6)]
    wait_for(lambda: all(runs.get_run(ws, run_id).is_terminal for run_id in ids), "the queue", 60)
    times = [
        [
            event.ts
            for event in JournalReader(RunFolder(ws.sandbox.path("runs", run_id)).journal_path).read_all()
        ]
        for run_id in ids
    ]
    gaps = [(after[0] - before[-1]).total_seconds() for before, after in itertools.pairwise(times)]
    launcher.close()
    ws.close()
    return [Figure("hand-over in the queue, slowest of 5", max(gaps), "s", 2.0)]


def measure_points(home: Path) -> list[Figure]:
    """Return how a run of a million points opens, and what five hundred reconnects leave in memory."""
    ws = Workspace.open(FakeWorkerLauncher())
    state = make_run(ws, steps=_POINTS)
    path = RunFolder(Path(state.folder)).journal_path
    line = orjson.dumps(ev.Event(1, ws.clock.now(), 1.0, metrics(1, _POINTS)).as_json()) + b"\n"
    with path.open("wb") as stream:
        for step in range(1, _POINTS + 1):
            values = b'"seq":%d' % step, b'"step":%d' % step
            stream.write(line.replace(b'"seq":1', values[0]).replace(b'"step":1', values[1]))
    ended = state.model_copy(update={"status": "completed", "seq": _POINTS, "step": _POINTS})
    ws.database.insert(ended)
    ws.database.advance(Row(ended, path.stat().st_size), was="completed")
    ws.close()
    server = UiServer(home).start()
    try:
        address = f"/runs/{state.run_id}"
        open_s = _open_s(server, address)
        # The exact picture takes the place of the sample meanwhile; it is memory of the run, not of a client.
        time.sleep(20)
        growth = asyncio.run(_reconnect(server, address))
    finally:
        server.stop()
    return [
        Figure("page of a run of 1,000,000 points opens", open_s, "s", 1.0),
        Figure("memory growth after 500 reconnects", growth / (1 << 20), "MiB", 50.0),
    ]


def measure_restart(home: Path) -> list[Figure]:
    """Return the time from the death of the app in mid-run to the complete picture of the next one."""
    server = UiServer(home).start()
    ws, state = _open_run()
    ending = threading.Event()
    writer = threading.Thread(target=_write_steps, args=(state, ending, {}))
    writer.start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.require(), args=list(chromium.ARGUMENTS)
        )
        page = browser.new_page()
        page.goto(f"{server.url}/runs/{state.run_id}")
        page.wait_for_selector('.plot.loss[data-points]:not([data-points="0"])')
        page.wait_for_timeout(2000)
        begin = time.perf_counter()
        server.kill()
        server.start()
        known = _steps(state)
        page.goto(f"{server.url}/runs/{state.run_id}")
        _wait_for_step(page, known)
        seconds = time.perf_counter() - begin
        points, last = page.evaluate(
            "() => { const d = document.querySelector('.plot.loss').dataset; return [+d.points, +d.last]; }"
        )
        browser.close()
    ending.set()
    writer.join()
    server.stop()
    ws.close()
    return [
        Figure("app killed and restarted to the complete picture", seconds, "s", 3.0),
        Figure("points missing or doubled after it", abs(last - points), "", 0.0),
    ]


def measure_tabs(home: Path) -> list[Figure]:
    """Return what fifty tabs on one live run at five updates a second cost the app."""
    server = UiServer(home).start()
    ws, state = _open_run()
    ending, written = threading.Event(), dict[int, float]()
    writer = threading.Thread(target=_write_steps, args=(state, ending, written))
    writer.start()
    try:
        busy, delays = asyncio.run(_watch_tabs(server, state.run_id, written))
    finally:
        ending.set()
        writer.join()
        server.stop()
        ws.close()
    return [
        Figure("app with 50 tabs at 5 updates a second, of a core", 100 * busy, "%", 12.0),
        Figure("step end to a tab, p95", 1000 * sorted(delays)[int(0.95 * len(delays))], "ms", 250.0),
        Figure("step end to a tab, median", 1000 * statistics.median(delays), "ms"),
    ]


def _open_run() -> tuple[Workspace, RunState]:
    ws = Workspace.open(FakeWorkerLauncher())
    state = make_run(ws, steps=100_000, is_detached=False)
    ws.database.insert(state.model_copy(update={"status": "starting"}))
    return ws, state


def _write_steps(state: RunState, ending: threading.Event, written: dict[int, float]) -> None:
    folder, step = RunFolder(Path(state.folder)), 0
    lock = FileLock(folder.lock_path)
    lock.acquire()
    with JournalWriter(folder.journal_path) as journal:
        token = process_start_token(os.getpid())
        journal.append(ev.RunStarted(attempt=1, pid=os.getpid(), process_token=token, device="bench"))
        journal.append(ev.PhaseChanged(phase="training"))
        while not ending.wait(_UPDATE_S):
            step += 1
            journal.append(metrics(step, 100_000))
            written[step] = time.time()
    lock.release()


def _steps(state: RunState) -> int:
    events = JournalReader(RunFolder(Path(state.folder)).journal_path).read_all()
    return max(event.body.step for event in events if isinstance(event.body, ev.Metrics))


def _wait_for_step(page: Page, step: int) -> None:
    page.wait_for_function(
        "(step) => Number(document.querySelector('.plot.loss')?.dataset.last ?? 0) >= step", arg=step
    )


def _open_s(server: UiServer, address: str) -> float:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.require(), args=list(chromium.ARGUMENTS)
        )
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_text("Live", exact=True).wait_for()
        begin = time.perf_counter()
        page.goto(server.url + address, wait_until="commit")
        page.wait_for_selector('.plot.loss[data-points]:not([data-points="0"])')
        seconds = time.perf_counter() - begin
        browser.close()
    return seconds


async def _reconnect(server: UiServer, address: str) -> int:
    process = psutil.Process(server.pid)

    async def visit() -> None:
        tab = await ReflexSocket.open(server.port)
        await tab.call(_RAIL, {}, address=address, wait_s=0.02)
        await tab.call(_RUN, {}, address=address, wait_s=0.1)
        await tab.close()

    # What the first visits leave is caches.
    for _ in range(3):
        await asyncio.gather(*(visit() for _ in range(_AT_ONCE)))
    before = process.memory_info().rss
    for _ in range(_RECONNECTS // _AT_ONCE):
        await asyncio.gather(*(visit() for _ in range(_AT_ONCE)))
    await asyncio.sleep(2)
    return int(process.memory_info().rss - before)


async def _watch_tabs(server: UiServer, run_id: str, written: dict[int, float]) -> tuple[float, list[float]]:
    tabs = [await ReflexSocket.open(server.port) for _ in range(_TABS)]
    for tab in tabs:
        await tab.call(_RAIL, {}, address=f"/runs/{run_id}", wait_s=0.02)
        await tab.call(_RUN, {}, address=f"/runs/{run_id}", wait_s=0.02)
    process = psutil.Process(server.pid)
    delays: list[float] = []
    watched = asyncio.gather(*(_listen(tab, written, delays) for tab in tabs))
    await asyncio.sleep(2)
    before, begin = sum(process.cpu_times()[:2]), time.perf_counter()
    await asyncio.sleep(_WATCHED_S)
    busy = (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - begin)
    watched.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watched
    return busy, delays


async def _listen(tab: ReflexSocket, written: dict[int, float], delays: list[float]) -> None:
    seen = 0
    while True:
        text = await tab.receive()
        newest = max(_steps_in(text), default=0)
        if newest > seen and newest in written:
            seen = newest
            delays.append(time.time() - written[newest])


def _steps_in(text: str) -> list[int]:
    """Return the steps of the points in one message of the app."""
    if not text.startswith("42/_event,"):
        return []
    found: list[int] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                if name == "rows" and isinstance(item, list):
                    found.extend(int(row[1]) for row in item)
                else:
                    walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(json.loads(text.removeprefix("42/_event,")))
    return found


if __name__ == "__main__":
    print(machine())
    show("Unattended", measure())
