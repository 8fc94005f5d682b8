"""A campaign of three legs on the real model, from the page: killed in leg 2, resumed, merged, measured, judged."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from backprop_core.events import types as ev
from backprop_core.events.journal import JournalReader
from tests.e2e.conftest import keep_picture
from tests.support.models import tutorial_model_dir
from tests.support.stores import wait_for
from tests.support.ui_server import ROOT, UiServer

END_MS = 240_000
FIELDS = (
    ("Steps", "3", "--steps"),
    ("Batch", "2", "--batch-size"),
    ("Length", "64", "--max-seq-length"),
    ("Learning rate", "0.002", "--lr"),
    ("Replay", "0.25", "--replay-fraction"),
)
ANSWERS = {"colours": "blue", "animals": "cat", "towns": "Rome"}


def write_sources(folder: Path) -> None:
    """Write one small file per leg."""
    for name, answer in ANSWERS.items():
        rows = [
            {
                "messages": [
                    {"role": "user", "content": f"{name} {n}?"},
                    {"role": "assistant", "content": answer},
                ]
            }
            for n in range(6)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def set_up(page: Page) -> None:
    """Choose the data and make the legs as short as they can be."""
    expect(page.get_by_role("heading", level=1)).to_have_text("Multi-Run")
    expect(page.get_by_text("No data is chosen.")).to_be_visible(timeout=END_MS)
    expect(page.get_by_role("button", name="Start the campaign")).to_be_disabled()
    for number, name in enumerate(ANSWERS, start=1):
        page.get_by_role("button", name="Add data").click()
        page.get_by_role("button", name=f"{name}.jsonl").click()
        expect(page.get_by_role("list", name="Data files").get_by_role("listitem")).to_have_count(number)
    for label, value, flag in FIELDS:
        page.get_by_label(label, exact=True).fill(value)
        expect(page.locator(".cli code")).to_contain_text(f"{flag} {value}", timeout=END_MS)
    page.get_by_label("Rate over legs").select_option("linear")
    legs = page.get_by_role("table", name="Legs before Start").get_by_role("row")
    expect(legs).to_have_count(4, timeout=END_MS)
    expect(legs.nth(2)).to_contain_text("+ 1", timeout=END_MS)
    expect(legs.nth(3)).to_contain_text("2e-4", timeout=END_MS)


def journal(folder: Path) -> list[ev.Event]:
    path = folder / "events.jsonl"
    return JournalReader(path).read_all() if path.exists() else []


def kill_in_leg_two(runs: Path) -> Path:
    """End the worker with SIGKILL once it has taken a step of leg 2; return the folder of the campaign."""
    wait_for(lambda: any(runs.glob("*/events.jsonl")), "the worker", 60)
    folder = next(runs.glob("*/events.jsonl")).parent

    def is_in_leg_two() -> bool:
        bodies = [event.body for event in journal(folder)]
        begun = [body.first_step for body in bodies if isinstance(body, ev.LegStarted) and body.leg == 2]
        steps = [body.step for body in bodies if isinstance(body, ev.Metrics)]
        return bool(begun) and bool(steps) and steps[-1] > begun[-1]

    wait_for(is_in_leg_two, "a step of leg 2", 200)
    pid = next(event.body.pid for event in journal(folder) if isinstance(event.body, ev.RunStarted))
    os.kill(pid, signal.SIGKILL)
    return folder


def shown_matrix(page: Page) -> list[list[float]]:
    """Return the losses that the cells of the page tell, row by row."""
    rows = page.get_by_role("table", name="Change of held-out loss against the base model").locator(
        "tbody tr"
    )
    return [
        [float(re.search(r"loss ([0-9.]+)", title).group(1)) for title in titles]
        for titles in (
            [cell.get_attribute("title") for cell in row.locator(".cell").all()] for row in rows.all()
        )
    ]


def recompute(model: Path, campaign: Path) -> dict[str, Any]:
    """Return what plain PEFT says of the adapters of a campaign, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "forget_check.py"), str(model), str(campaign)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_campaign_is_killed_in_leg_two_resumes_and_its_matrix_is_that_of_its_adapters(
    app: UiServer, watch, tmp_path: Path
) -> None:
    write_sources(tmp_path)
    page = watch(app).open("/multi-run")
    set_up(page)
    keep_picture(page, "multi-run-form")
    page.get_by_role("button", name="Start the campaign").click()
    folder = kill_in_leg_two(app.home / "ui-outputs" / "runs")
    expect(page.locator(".ph .pill")).to_have_text("Interrupted", timeout=END_MS)
    lanes = page.get_by_role("list", name="Legs").get_by_role("listitem")
    expect(lanes.nth(0)).to_contain_text("Merged")
    expect(lanes.nth(1)).to_contain_text("Interrupted")
    expect(page.get_by_text("Merged adapter of leg 1")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".ph .pill")).to_have_text("Completed", timeout=END_MS)
    expect(lanes.nth(2)).to_contain_text("Merged")
    expect(page.get_by_text("Merged adapter of leg 3")).to_be_visible()
    for figure in ("Average now", "Learned, right after each leg", "Backward transfer"):
        expect(page.get_by_text(figure).first).to_be_visible()
    keep_picture(page, "multi-run")

    recomputed = recompute(tutorial_model_dir(), folder)
    assert recomputed["product"] > 0
    matrix = shown_matrix(page)
    assert [len(row) for row in matrix] == [3, 3, 3, 3]
    for row, again in zip(matrix, recomputed["matrix"], strict=True):
        # The processor computes in bf16, which tells logits near 20 apart by 0.1; legs differ by whole units.
        assert row == pytest.approx(again, abs=0.1)

    page.get_by_role("button", name="Reject the merge").click()
    expect(lanes.nth(2)).to_contain_text("Not merged")
    expect(page.get_by_text("Merged adapter of leg 2")).to_be_visible()
    page.get_by_role("button", name="Accept the merge").click()
    expect(page.get_by_text("Merged adapter of leg 3")).to_be_visible()
    assert "campaign.reject" in (app.home / "logs" / "audit.jsonl").read_text()
