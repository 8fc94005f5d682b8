"""A campaign of three legs on the real model, from the page: killed in leg 2, resumed, merged, measured, judged."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

from playwright.sync_api import Page, expect

from backprop_core.events import types as ev
from backprop_core.events.journal import JournalReader
from tests.support.stores import wait_for

END_MS = 240_000
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
            for n in range(10)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def set_up(page: Page) -> None:
    """Choose the data and make the legs as short as they can be."""
    expect(page.get_by_role("heading", level=1)).to_have_text("Multi-Run")
    expect(page.get_by_text("No data is chosen.")).to_be_visible()
    expect(page.get_by_role("button", name="Start the campaign")).to_be_disabled()
    for number, name in enumerate(ANSWERS, start=1):
        page.get_by_role("button", name="Add data").click()
        page.get_by_role("button", name=f"{name}.jsonl").click()
        expect(page.get_by_role("list", name="Data files").get_by_role("listitem")).to_have_count(number)
    for label, value in (("Steps", "3"), ("Batch", "2"), ("Length", "64"), ("Replay", "0.25")):
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label("Rate over legs").select_option("linear")
    legs = page.get_by_role("table", name="Legs before Start").get_by_role("row")
    expect(legs).to_have_count(4)
    expect(legs.nth(2)).to_contain_text("+ 2")
    expect(legs.nth(3)).to_contain_text("2e-5")
    expect(page.locator(".cli code")).to_contain_text("--replay-fraction 0.25 --lr-decay linear")


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
