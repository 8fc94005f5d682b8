"""Names, rows, log lines and failures that try to be markup are shown as the text they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from backprop_core.config.resolve import Layer, resolve_train
from backprop_core.errors import RunError
from backprop_core.events.journal import JournalWriter
from backprop_core.events.types import Metrics, Notice, RunFailed, RunStarted
from backprop_core.runs import index
from backprop_core.runs.store import RunInfo, create_run, new_run_id
from backprop_core.workspace import Workspace
from tests.support.stores import FakeWorkerLauncher
from tests.support.ui_server import UiServer

IMAGE = "<img src=x onerror=\"window.hit='image'\">"
SCRIPT = "</script><script>window.hit='script'</script>"
TEMPLATE = "{{7*7}}${7*7}"
LINK = "javascript:window.hit='link'"
FILE = f"rows {IMAGE} {{{{7*7}}}}.jsonl".replace("/", "_")


@pytest.fixture(scope="module")
def hostile(
    bundle: None, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[UiServer, str]]:
    folder = tmp_path_factory.mktemp("hostile")
    row = {
        "messages": [
            {"role": "user", "content": IMAGE + SCRIPT},
            {"role": "assistant", "content": TEMPLATE + LINK},
        ]
    }
    (folder / FILE).write_text("".join(json.dumps(row) + "\n" for _ in range(5)))
    server = UiServer(folder / "app", models=models, data_dir=folder)
    run_id = failed_run(server.home, folder / FILE)
    server.start()
    yield server, run_id
    server.stop()


def failed_run(home: Path, dataset: Path) -> str:
    """Write a run whose every text is hostile, as a worker leaves one."""
    ws = Workspace.open(FakeWorkerLauncher(), overrides={"home": home})
    ws.sandbox.prepare()
    spec = {"model": f"owner/{IMAGE}", "dataset": str(dataset), "steps": 5}
    info = RunInfo(
        run_id=new_run_id(),
        name=f"{IMAGE} {TEMPLATE}",
        source="cli",
        created_at=ws.now(),
        launch_id=new_run_id(),
        is_detached=True,
        version="test",
    )
    folder = create_run(ws.settings.sandbox_root / "runs", resolve_train([Layer("explicit", spec)]), info)
    with JournalWriter(folder.journal_path) as journal:
        journal.append(RunStarted(attempt=1, pid=1, device=SCRIPT))
        for step in (1, 2, 3):
            journal.append(metrics(step))
        journal.append(Notice(level="warning", code="X", message=f"{SCRIPT} {LINK}"))
        error = RunError("RUNTIME_TRAINING_FAILED", f"It met {IMAGE}{SCRIPT}.", hint=f"Open {LINK}")
        journal.append(RunFailed(step=3, error=error.record()))
    folder.log_path.write_text(f"line {IMAGE}\n{SCRIPT}\n\x1b[31mred\x1b[0m {LINK}\n")
    index.rebuild(ws.database, [ws.settings.sandbox_root / "runs"], ws.now())
    ws.close()
    return info.run_id


def metrics(step: int) -> Metrics:
    return Metrics(
        step=step,
        total_steps=5,
        epoch=0.1,
        loss=2.0 / step,
        learning_rate=1e-4,
        grad_norm=1.0,
        tokens=10,
        supervised_tokens=5,
        tokens_per_s=10.0,
        step_s=1.0,
        memory_bytes=1,
    )


def test_hostile_text_stays_text_on_every_page(hostile: tuple[UiServer, str], browser: Browser) -> None:
    app, run_id = hostile
    context = browser.new_context(base_url=app.url, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog opened: {dialog.message}"))
    seen = ""
    for path in ("/", "/runs", f"/runs/{run_id}", "/export", "/dataset", f"/runs/{IMAGE}", f"/?x={IMAGE}"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        page.wait_for_timeout(800)
        seen += page.inner_text("body")
        assert page.evaluate("() => window.hit") is None, path
        assert page.locator("img[src=x], [onerror]").count() == 0
        assert page.locator("a[href^='javascript:']").count() == 0
    assert IMAGE in seen
    assert "{{7*7}}" in seen
    assert "4949" not in re.sub(r"\s", "", seen)
    page.goto(f"/runs/{run_id}")
    plot = page.locator(".plot.loss")
    plot.hover()
    page.wait_for_timeout(300)
    assert page.evaluate("() => window.hit") is None
    context.close()


def test_a_toast_shows_hostile_text_as_text(hostile: tuple[UiServer, str], browser: Browser) -> None:
    app, _ = hostile
    page = browser.new_page(base_url=app.url)
    page.goto("/")
    page.get_by_role("button", name="All settings").or_(page.get_by_text("Train for")).first.wait_for()
    if page.get_by_role("button", name="All settings").count():
        page.get_by_role("button", name="All settings").click()
    page.locator("#pick-dataset").click()
    page.get_by_placeholder("Path below a folder of the app").fill(f"/nowhere/{IMAGE}{SCRIPT}")
    page.get_by_role("button", name="Use what is typed").click()
    page.locator("body").press("Control+Enter")
    page.wait_for_timeout(1500)
    assert IMAGE in page.inner_text("body")
    assert page.evaluate("() => window.hit") is None
    page.close()


def test_answers_of_the_api_are_no_pages(hostile: tuple[UiServer, str]) -> None:
    app, run_id = hostile
    for path in (
        "/api/runs",
        f"/api/runs/{run_id}",
        f"/api/runs/{run_id}/events",
        f"/api/runs/{IMAGE}",
        "/api/exports",
    ):
        answer = httpx.get(app.url + path)
        assert "text/html" not in answer.headers["content-type"]
        assert answer.headers["x-content-type-options"] == "nosniff"
