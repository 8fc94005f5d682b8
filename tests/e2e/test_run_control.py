"""A real run paused, continued, stopped and resumed from its page, and its adapter taken further."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from backprop_core.events import types as ev
from backprop_core.events.journal import JournalReader
from tests.e2e.conftest import keep_picture
from tests.e2e.test_train import FIRST_STEP_MS, journal_steps, loss_chart, start_run, wait_for_step
from tests.support.ui_server import UiServer

STATUS_MS = 60_000


def status(page: Page, word: str) -> None:
    expect(page.locator(".ph .pill")).to_have_text(word, timeout=STATUS_MS)


def last_step(page: Page) -> int:
    return int(loss_chart(page).get_attribute("data-last") or 0)


def journal_types(server: UiServer, run_id: str) -> list[str]:
    path: Path = server.home / "ui-outputs" / "runs" / run_id / "events.jsonl"
    asked = (ev.RunStarted, ev.RunPaused, ev.RunContinued, ev.RunStopped, ev.RunResumed)
    return [event.body.type for event in JournalReader(path).read_all() if isinstance(event.body, asked)]


def test_a_run_is_paused_continued_stopped_and_resumed_and_its_adapter_taken_further(
    app: UiServer, watch
) -> None:
    page = watch(app).open("/")
    run_id = start_run(page, 400)
    wait_for_step(page, 1)
    page.locator("body").press("p")
    status(page, "Paused")
    expect(page.locator(".cli code")).to_contain_text("backprop unpause")
    held = last_step(page)
    page.wait_for_timeout(1_500)
    assert last_step(page) == held
    keep_picture(page, "run-paused")
    page.get_by_role("button", name="Go on").click()
    status(page, "Running")
    wait_for_step(page, held + 1)

    page.get_by_role("button", name="Stop").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Stop the run").click()
    status(page, "Stopped")
    stopped = last_step(page)
    expect(page.locator(".cli code")).to_contain_text("backprop resume")
    page.get_by_role("button", name="Resume").click()
    status(page, "Running")
    page.wait_for_function(
        "step => Number(document.querySelector('.plot.loss').dataset.last) > step",
        arg=stopped,
        timeout=FIRST_STEP_MS,
    )
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Stop the run").click()
    status(page, "Stopped")
    steps = journal_steps(app, run_id)
    assert steps == list(range(1, len(steps) + 1))
    assert journal_types(app, run_id) == [
        "run.started",
        "run.paused",
        "run.continued",
        "run.stopped",
        "run.started",
        "run.resumed",
        "run.stopped",
    ]
    page.get_by_text("Numbers").click()
    expect(page.get_by_role("region", name="Numbers of the run by step").get_by_role("row")).to_have_count(
        len(steps) + 1
    )
    keep_picture(page, "run-resumed")

    page.get_by_role("button", name="Continue from this adapter").click()
    expect(page.get_by_label("Start from adapter", exact=True)).to_have_value(run_id)
    expect(page.locator(".panel.stay").get_by_role("button", name="Start training")).to_be_enabled()
