"""The queue on the Runs page: reordered by button and keyboard, shortened, and the same on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from backprop_core.platform import FileLock
from backprop_core.services.opening import open_workspace
from tests.e2e.conftest import keep_picture
from tests.support.stores import submit_run
from tests.support.ui_server import UiServer


@pytest.fixture
def waiting(app: UiServer) -> Iterator[list[str]]:
    """Names of three runs that wait, because somebody else holds the device."""
    ws = open_workspace(environ=app.environment)
    card = FileLock(ws.slot_lock)
    assert card.acquire()
    names = ["first", "second", "third"]
    for name in names:
        submit_run(ws, name=name)
    yield names
    # The runs go before the device does: nobody has a model for them.
    app.end_runs()
    card.release()
    ws.close()


def names_in(page: Page, count: int) -> list[str]:
    queue = page.get_by_role("region", name="Queue").get_by_role("listitem")
    expect(queue).to_have_count(count)
    return queue.locator(".m").all_inner_texts()


def told(app: UiServer) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "backpropagate", "queue", "list", "--json"],
        cwd=app.home,
        env=app.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [item["name"] for item in json.loads(done.stdout)["queue"]]


def test_what_waits_is_moved_by_button_and_keyboard_and_taken_out(
    app: UiServer, waiting: list[str], watch
) -> None:
    page = watch(app).open("/runs")
    assert names_in(page, 3) == waiting
    expect(page.get_by_role("button", name="Move up: first")).to_be_disabled()
    keep_picture(page, "runs-queue")

    page.get_by_role("button", name="Move up: third").click()
    expect(page.get_by_role("button", name="Move down: second")).to_be_disabled()
    assert names_in(page, 3) == ["first", "third", "second"]

    page.get_by_role("listitem").filter(has_text="second").focus()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.get_by_role("button", name="Move down: third")).to_be_disabled()
    assert names_in(page, 3) == told(app) == ["first", "second", "third"]

    page.get_by_role("button", name="Remove from the queue: first").click()
    expect(page.get_by_text("first no longer waits.")).to_be_visible()
    assert names_in(page, 2) == told(app) == ["second", "third"]
