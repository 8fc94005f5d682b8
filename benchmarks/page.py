"""How fast the page is there, complete and live, on the real launcher in Chromium. `python -m benchmarks.page`

The run that is watched is written by this script with the product's own lock and journal, one step each
150 ms, so that the time from a step's end to its pixel is known without a training in between.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from playwright.sync_api import Page, sync_playwright

from backprop_core.events import types as ev
from backprop_core.events.journal import JournalWriter
from backprop_core.platform import FileLock, process_start_token
from backprop_core.runs.store import RunFolder
from backprop_core.workspace import Workspace
from benchmarks.report import Figure, machine, show
from tests.support import browser as chromium
from tests.support.fake_worker import metrics
from tests.support.stores import FakeWorkerLauncher, make_run
from tests.support.ui_server import ROOT, UiServer

_STEPS = 120
_STEP_S = 0.15
_WATCH = """() => {
  window.__seen = {};
  const plot = document.querySelector('.plot.loss');
  const look = () => { const step = plot.dataset.last; if (!(step in window.__seen)) window.__seen[step] = Date.now(); };
  new MutationObserver(look).observe(plot, {attributes: true, attributeFilter: ['data-last']});
  look();
}"""


def measure() -> list[Figure]:
    """Return the figures of one fresh app and one watched run."""
    subprocess.run([sys.executable, "-m", "backprop_app.build"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.require(), args=list(chromium.ARGUMENTS)
        )
        server = UiServer(Path(folder) / "app")
        begin = time.perf_counter()
        server.start()
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(server.url, wait_until="commit")
        page.get_by_text("Live", exact=True).wait_for()
        page.locator(".ring, .gauge, [role=meter]").first.wait_for()
        live_s = time.perf_counter() - begin
        figures = [Figure("process start to live page", live_s, "s", 4.0)]
        figures += _watch_a_run(page, server)
        process = psutil.Process(server.pid)
        figures.append(Figure("resident memory of the app", process.memory_info().rss / 1e6, "MB", 200.0))
        has_torch = any("libtorch" in region.path for region in process.memory_maps())
        figures.append(Figure("PyTorch loaded in the app (0 no, 1 yes)", float(has_torch), "", 0.0))
        server.stop()
        browser.close()
    return figures


def _watch_a_run(page: Page, server: UiServer) -> list[Figure]:
    os.environ["BACKPROPAGATE_HOME"] = str(server.home)
    ws = Workspace.open(FakeWorkerLauncher())
    state = make_run(ws, steps=_STEPS, is_detached=False)
    folder = RunFolder(Path(state.folder))
    lock = FileLock(folder.lock_path)
    lock.acquire()
    ws.database.insert(state.model_copy(update={"status": "starting"}))
    ended: dict[int, float] = {}
    writer = threading.Thread(target=_write_steps, args=(folder, ended))
    writer.start()
    page.goto(f"{server.url}/runs/{state.run_id}")
    page.wait_for_selector('.plot.loss[data-points]:not([data-points="0"])')
    page.evaluate(_WATCH)
    reload_s = _reload_s(page, ended)
    page.evaluate(_WATCH)
    writer.join()
    page.wait_for_selector(f'.plot.loss[data-last="{_STEPS}"]')
    seen: dict[str, float] = page.evaluate("() => window.__seen")
    lock.release()
    ws.close()
    # The first sight after a reload is a whole picture, not a step that has just ended.
    delays = [at / 1000 - ended[int(step)] for step, at in list(seen.items())[1:] if int(step) in ended]
    return [
        Figure("reload to the complete picture", reload_s, "s", 1.0),
        Figure("step end to pixel, median", 1000 * statistics.median(delays), "ms"),
        Figure(
            f"step end to pixel, p95 of {len(delays)}",
            1000 * sorted(delays)[int(0.95 * len(delays))],
            "ms",
            250.0,
        ),
    ]


def _reload_s(page: Page, ended: dict[int, float]) -> float:
    begin = time.perf_counter()
    known = max(ended)
    page.reload(wait_until="commit")
    page.wait_for_function(
        "(step) => Number(document.querySelector('.plot.loss')?.dataset.last ?? 0) >= step", arg=known
    )
    return time.perf_counter() - begin


def _write_steps(folder: RunFolder, ended: dict[int, float]) -> None:
    pid = os.getpid()
    with JournalWriter(folder.journal_path) as journal:
        journal.append(
            ev.RunStarted(attempt=1, pid=pid, process_token=process_start_token(pid), device="bench")
        )
        journal.append(ev.PhaseChanged(phase="training"))
        for step in range(1, _STEPS + 1):
            time.sleep(_STEP_S)
            journal.append(metrics(step, _STEPS))
            ended[step] = time.time()
        journal.append(ev.RunCompleted(step=_STEPS, artifact="", seconds=1.0))


if __name__ == "__main__":
    print(machine())
    show("Page", measure())
