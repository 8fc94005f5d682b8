"""The end of a run while pages are open: a toast in each tab, one notification of the browser for all."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from backprop_core.runs.database import Row
from backprop_core.services.opening import open_workspace
from tests.e2e.conftest import Watched
from tests.support.stores import make_run
from tests.support.ui_server import UiServer

# Stands in for the border to the desktop, which a browser without one does not have.
_DESKTOP = """
window.__told = [];
window.Notification = class {
  constructor(title, options) { window.__told.push([title, options.body]); }
  static permission = "granted";
};
"""


def end_a_run(app: UiServer, name: str) -> None:
    ws = open_workspace(environ=app.environment)
    try:
        state = make_run(ws, name=name).model_copy(update={"status": "running"})
        ws.database.insert(state)
        done = state.model_copy(
            update={
                "status": "completed",
                "seq": 1,
                "step": 5,
                "total_steps": 5,
                "loss": 0.4,
                "ended_at": ws.now(),
            }
        )
        ws.database.advance(Row(done, 0), was="running")
    finally:
        ws.close()


def test_an_end_is_a_toast_in_each_tab_and_one_notification_that_a_reload_does_not_repeat(
    app: UiServer, browser: Browser
) -> None:
    end_a_run(app, "before")
    watched = Watched(browser, app.url)
    first, second = watched.open("/runs"), watched.open("/")
    for page in (first, second):
        page.add_init_script(_DESKTOP)
        page.reload()
        page.get_by_text("Live", exact=True).wait_for()
    expect(first.get_by_role("heading", name="Last night")).to_be_visible()
    first.wait_for_function("() => localStorage.getItem('backpropagate.notified') === '1'")
    end_a_run(app, "tonight")
    for page in (first, second):
        expect(page.get_by_text("tonight is done")).to_be_visible()
    first.wait_for_timeout(300)
    told = [notice for page in (first, second) for notice in page.evaluate("() => window.__told")]
    assert told == [["tonight is done", "step 5 of 5, loss 0.400"]]
    first.reload()
    expect(
        first.get_by_text("1 of", exact=False).or_(first.get_by_text("2 of 2 runs done")).first
    ).to_be_visible()
    assert first.evaluate("() => window.__told") == []
