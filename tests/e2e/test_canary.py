"""A secret planted in every place where one can be, and looked for everywhere after a whole training run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backprop_core.services.access import create_token
from tests.e2e.test_login import sign_in
from tests.e2e.test_train import END_MS
from tests.support.logins import USER
from tests.support.ui_server import UiServer

PASSWORD = "canary-of-the-password"
ENVIRONMENT = {
    "HF_TOKEN": "hf_CanaryOfTheHubToken0123456789",
    "WANDB_API_KEY": "canary0of0the0tracker0key0123456789abcd",
    "AWS_SECRET_ACCESS_KEY": "CanaryOfTheCloudKey/0123456789+abcdefgh",
    "BACKPROPAGATE_UI__AUTH": f"{USER}:{PASSWORD}",
}
# Shaped like secrets, and part of the data: a log must not repeat them, the file keeps them.
IN_DATA = (
    "hf_InTheDataZyxwvutsrqponmlk",
    "sk-InTheDataZyxwvutsrqponmlk0123",
    "AKIAINTHEDATAZYXWVUT",
    "eyJJblRoZURhdGEiOjF9.eyJJblRoZURhdGEiOjF9.InTheDataSignature",
)


@pytest.fixture(scope="module")
def app(bundle: None, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiServer]:
    folder = tmp_path_factory.mktemp("canary")
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"The key? {text}"},
                {"role": "assistant", "content": f"It is {text}."},
            ]
        }
        for text in IN_DATA
    ]
    (folder / "keys.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    server = UiServer(folder / "app", models=models, data_dir=folder, environ=ENVIRONMENT)
    server.start()
    yield server
    server.end_runs()
    server.stop()


def environments(home: Path) -> dict[str, dict[str, str]]:
    """Return command line and environment of every process that works for this home."""
    found = {}
    for process in Path("/proc").iterdir():
        try:
            environment = dict(
                pair.split("=", 1) for pair in (process / "environ").read_text().split("\0") if "=" in pair
            )
            command = (process / "cmdline").read_text().replace("\0", " ")
        except (OSError, UnicodeDecodeError):
            continue
        if environment.get("BACKPROPAGATE_HOME") == str(home):
            found[command] = environment
    return found


def files_with(folder: Path, secrets: list[str]) -> dict[str, list[str]]:
    """Return which files below `folder` hold which of the secrets; links are not followed."""
    found: dict[str, list[str]] = {}
    for root, _, names in os.walk(folder):
        for path in (Path(root) / name for name in names):
            if path.is_symlink() or not path.is_file():
                continue
            data = path.read_bytes()
            hits = [secret for secret in secrets if secret.encode() in data]
            if hits:
                found[str(path.relative_to(folder))] = hits
    return found


def test_no_secret_is_found_anywhere_after_a_whole_run(app: UiServer, browser: Browser) -> None:
    _, token = create_token(app.home, "script")
    context = browser.new_context(base_url=app.url)
    page = context.new_page()
    told: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: told.append(str(frame))))
    page.on("console", lambda message: told.append(message.text))
    page.goto("/")
    sign_in(page, PASSWORD)
    expect(page.get_by_role("heading", level=1)).to_have_text("Train your first model")
    cookie = next(item["value"] for item in context.cookies() if item["name"] == "backprop_session")
    run_id = start_on(page, app.home.parent / "keys.jsonl")
    page.wait_for_selector('.plot.loss[data-last="1"], .plot.loss[data-last="2"]', timeout=END_MS)
    processes = environments(app.home)
    page.get_by_text("completed").first.wait_for(timeout=END_MS)
    for path in ("/", "/runs", f"/runs/{run_id}", "/export", "/no-such-page"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_timeout(500)
        told.append(page.content())
    told.append(
        page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    )
    context.close()
    export(app, run_id)

    secrets = [PASSWORD, cookie, token, *(ENVIRONMENT[name] for name in ENVIRONMENT if "AUTH" not in name)]
    assert files_with(app.home, secrets) == {}
    assert [secret for secret in secrets if any(secret in text for text in told)] == []
    assert [command for command in processes if any(secret in command for secret in secrets)] == []
    workers = {command: given for command, given in processes.items() if "engine.worker" in command}
    assert len(workers) == 1
    for given in workers.values():
        assert {name: value for name, value in given.items() if value in secrets or PASSWORD in value} == {}

    logs = [
        path
        for path in files_with(app.home, list(IN_DATA))
        if path.endswith((".log", "events.jsonl", "audit.jsonl"))
    ]
    assert logs == []
    assert all(text in (app.home.parent / "keys.jsonl").read_text() for text in IN_DATA)
    audit = [json.loads(line) for line in (app.home / "logs" / "audit.jsonl").read_text().splitlines()]
    started = next(line for line in audit if line["action"] == "run.start")
    assert (started["user"], started["peer"], started["run_id"]) == (USER, started["peer"], run_id)
    assert started["peer"] in {"127.0.0.1", "::1"}


def start_on(page: Page, dataset: Path) -> str:
    """Start a run of three steps on `dataset` and return its id."""
    page.get_by_role("button", name="All settings").click()
    page.locator("#pick-dataset").click()
    page.get_by_placeholder("Path below a folder of the app").fill(str(dataset))
    page.get_by_role("button", name="Use what is typed").click()
    expect(page.locator(".cli code")).to_contain_text(dataset.name)
    page.get_by_label("Train for").fill("3")
    expect(page.locator(".cli code")).to_contain_text("--steps 3")
    page.locator("body").press("Control+Enter")
    page.wait_for_url("**/runs/*")
    return page.url.rpartition("/")[2]


def export(app: UiServer, run_id: str) -> None:
    """Export the adapter with its model card, as a command beside the app."""
    command = [
        sys.executable,
        "-m",
        "backpropagate",
        "export",
        run_id,
        "--format",
        "lora",
        "--output",
        "exported",
    ]
    done = subprocess.run(
        command, cwd=app.home, env=app.environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
