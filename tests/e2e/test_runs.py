"""The list of runs with the keyboard alone, and two runs compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backprop_core.events import types as ev
from backprop_core.events.journal import JournalWriter
from backprop_core.runs.store import RunFolder
from backprop_core.services.opening import open_workspace
from tests.e2e.conftest import keep_picture
from tests.support.fake_worker import metrics
from tests.support.stores import make_run
from tests.support.ui_server import UiServer


@pytest.fixture
def three_runs(app: UiServer) -> list[str]:
    """Ids of three finished runs of the app, newest first, as journals that no model wrote."""
    ws = open_workspace(environ=app.environment)
    try:
        return [_finished(ws, name, steps) for name, steps in (("a", 40), ("b", 60), ("c", 20))][::-1]
    finally:
        ws.close()


def _finished(ws, name: str, steps: int) -> str:
    state = make_run(ws, name=name, steps=steps)
    ws.database.insert(state)
    with JournalWriter(RunFolder(Path(state.folder)).journal_path) as journal:
        journal.append(ev.RunStarted(attempt=1, pid=1, process_token="gone"))
        for step in range(1, steps + 1):
            journal.append(metrics(step, steps))
        journal.append(ev.RunCompleted(step=steps, artifact="adapter", seconds=1.0))
    return state.run_id


def focused_row(page: Page) -> str:
    return str(page.evaluate("() => document.activeElement.innerText"))


def test_runs_are_walked_selected_compared_and_opened_with_the_keyboard(
    app: UiServer, three_runs: list[str], watch
) -> None:
    page = watch(app).open("/runs")
    expect(page.get_by_role("table", name="Runs").locator("tbody tr")).to_have_count(3)
    page.keyboard.press("j")
    assert focused_row(page) == "c"
    page.keyboard.press("x")
    expect(page.get_by_text("Select another run to compare the two.")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert focused_row(page) == "a"
    page.keyboard.press("x")
    compared = page.get_by_role("region", name="Comparison")
    expect(compared.locator(".plot.pair")).to_have_attribute("data-points", "20,40")
    expect(compared.get_by_role("row").filter(has_text="Steps taken")).to_contain_text("20")
    expect(compared).to_contain_text("1 of ")
    expect(page.locator(".cli code")).to_have_text(
        f"backprop diff-runs {three_runs[0][:8]} {three_runs[2][:8]}"
    )
    keep_picture(page, "runs-compared")
    page.get_by_role("button", name="Clear").click()
    expect(compared).to_have_count(0)

    page.keyboard.press("/")
    page.keyboard.type("b")
    expect(page.get_by_role("table", name="Runs").locator("tbody tr").first).to_be_visible()
    page.get_by_role("table", name="Runs").get_by_role("link", name="b", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{three_runs[1]}")
