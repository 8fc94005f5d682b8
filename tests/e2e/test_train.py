"""A real run of the real model, started in the browser, through reload, second tab and a killed server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, expect

from backprop_core.events.journal import JournalReader
from backprop_core.events.types import Metrics
from tests.e2e.conftest import keep_picture, torch_is_loaded
from tests.support.ui_server import ROOT, UiServer

QUICKSTART = ROOT / "examples" / "quickstart.jsonl"
FIRST_STEP_MS = 120_000
END_MS = 300_000


def start_run(page: Page, steps: int) -> str:
    """Start a run of so many steps from the first page and return its id."""
    expect(page.get_by_role("heading", level=1)).to_have_text("Train your first model")
    page.get_by_role("button", name="All settings").click()
    page.get_by_label("Train for").fill(str(steps))
    expect(page.locator(".cli code")).to_contain_text(re.compile(rf"--steps {steps}\b"))
    page.locator("body").press("Control+Enter")
    page.wait_for_url("**/runs/*")
    return page.url.rpartition("/")[2]


def loss_chart(page: Page):
    return page.locator(".plot.loss")


def steps_shown(page: Page) -> tuple[int, int, int]:
    """Return how many points the loss chart has, the first step and the last."""
    read = "plot => [plot.dataset.points, plot.dataset.first, plot.dataset.last].map(Number)"
    return tuple(loss_chart(page).evaluate(read))  # type: ignore[return-value]


def wait_for_step(page: Page, step: int) -> None:
    page.wait_for_selector(
        ",".join(f'.plot.loss[data-last="{number}"]' for number in range(step, step + 60)),
        timeout=FIRST_STEP_MS,
    )


def journal_steps(server: UiServer, run_id: str) -> list[int]:
    reader = JournalReader(server.home / "ui-outputs" / "runs" / run_id / "events.jsonl")
    return [event.body.step for event in reader.read_all() if isinstance(event.body, Metrics)]


def test_a_run_goes_on_through_reload_second_tab_and_a_killed_server(app: UiServer, watch) -> None:
    tabs = watch(app)
    page = tabs.open("/")
    run_id = start_run(page, 12)
    wait_for_step(page, 2)
    keep_picture(page, "run-live")
    first = steps_shown(page)
    assert first[0] == first[2]
    page.reload()
    wait_for_step(page, first[2])
    assert steps_shown(page)[1] == 1
    second = tabs.open(f"/runs/{run_id}")
    wait_for_step(second, first[2])
    assert steps_shown(second)[1] == 1

    app.kill()
    expect(page.locator(".offl")).to_contain_text("The run goes on.")
    keep_picture(page, "offline")
    app.start()
    expect(page.locator(".offl")).to_have_count(0)
    for tab in (page, second):
        expect(tab.locator(".ph .pill")).to_have_text("Completed", timeout=END_MS)
        expect(loss_chart(tab)).to_have_attribute("data-last", "12")
        assert steps_shown(tab) == (12, 1, 12)
    assert journal_steps(app, run_id) == list(range(1, 13))
    assert (app.home / "ui-outputs/runs" / run_id / "adapter/adapter_model.safetensors").is_file()
    assert not torch_is_loaded(app.pid)
    keep_picture(page, "run-completed")


def test_stop_asks_then_keeps_what_was_learned(app: UiServer, watch) -> None:
    page = watch(app).open("/")
    run_id = start_run(page, 500)
    wait_for_step(page, 1)
    page.get_by_role("button", name="Stop").click()
    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("Stop quickstart?")
    expect(dialog.get_by_role("button", name="Keep running")).to_be_focused()
    dialog.get_by_role("button", name="Keep running").click()
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Stop").click()
    dialog.get_by_role("button", name="Stop the run").click()
    expect(page.locator(".ph .pill")).to_have_text("Stopped", timeout=60_000)
    assert (app.home / "ui-outputs/runs" / run_id / "adapter/adapter_model.safetensors").is_file()


def test_a_second_run_begins_its_curve_anew(app: UiServer, watch) -> None:
    page = watch(app).open("/")
    start_run(page, 6)
    expect(page.locator(".ph .pill")).to_have_text("Completed", timeout=END_MS)
    page.get_by_role("button", name="Use these settings again").click()
    expect(page.get_by_role("button", name="Data:")).to_contain_text("quickstart.jsonl")
    expect(page.get_by_label("Train for")).to_have_value("6")
    page.get_by_label("Train for").fill("400")
    expect(page.locator(".cli code")).to_contain_text("--steps 400")
    page.locator(".panel.stay").get_by_role("button", name="Start training").click()
    page.wait_for_url("**/runs/*")
    expect(page.locator(".cli code")).to_contain_text(page.url.rpartition("/")[2][:8])
    loss_chart(page).wait_for(timeout=FIRST_STEP_MS)
    points, first, last = steps_shown(page)
    assert (points, first) == (last, 1)
    assert last < 6
    rail = page.locator(".rail .plot.spark")
    assert int(rail.get_attribute("data-last") or 0) < 6


def test_a_double_click_is_one_run_and_command_line_runs_show_too(
    app: UiServer, watch, tmp_path: Path
) -> None:
    page = watch(app).open("/")
    page.get_by_role("button", name="Start training").dblclick()
    page.wait_for_url("**/runs/*")
    page.goto(f"{app.url}/runs")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    train = [
        sys.executable,
        "-m",
        "backpropagate",
        "train",
        "--model",
        "smollm2-135m",
        "--steps",
        "1",
        "--detach",
    ]
    done = subprocess.run(
        [*train, "--data", str(QUICKSTART), "--lora-preset", "fast", "--output", str(tmp_path / "out")],
        env=app.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("command")
    expect(rows.first.locator("td").nth(2)).to_have_text(re.compile("Queued|Starting|Running|Completed"))
    page.locator("body").press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*-*")
