"""A model is fetched from a hub on a local port, cancelled, taken up again and removed, all from the page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import keep_picture
from tests.support.hub_server import FakeHub, FakeRepository, serving
from tests.support.safetensors_bytes import safetensors_bytes
from tests.support.ui_server import UiServer

NAME = "acme/small-chat"
FILES = {
    "config.json": b'{"model_type":"llama"}',
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "model.safetensors": safetensors_bytes(200_000),
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving(FakeHub({NAME: FakeRepository(FILES)})) as running:
        yield running


@pytest.fixture
def app(bundle: None, hub: FakeHub, tmp_path: Path) -> Iterator[UiServer]:
    """An app with an empty cache that asks the fake hub."""
    environ = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf")}
    server = UiServer(tmp_path / "app", environ=environ).start()
    yield server
    server.stop()


def test_a_model_is_fetched_cancelled_fetched_again_and_removed(hub, app: UiServer, watch) -> None:
    released = hub.held["model.safetensors"] = threading.Event()
    page = watch(app).open("/models")
    expect(page.get_by_role("row").filter(has_text="qwen2.5-3b")).to_contain_text("Research licence")
    expect(page.get_by_role("row").filter(has_text="smollm2-135m")).to_contain_text("Fits")
    expect(page.get_by_text("No model is here yet")).to_be_visible()
    page.get_by_label("Another model of the hub").fill("no model")
    page.get_by_role("button", name="Download", exact=True).click()
    expect(page.locator(".help.bad")).to_contain_text("no preset, no folder and no hub id")

    page.get_by_label("Another model of the hub").fill(NAME)
    expect(page.locator(".cli code")).to_contain_text(f"backprop models download {NAME}")
    page.get_by_role("button", name="Download", exact=True).click()
    card = page.get_by_role("region", name="Download")
    expect(card.get_by_text("Fetching", exact=True)).to_be_visible()
    keep_picture(page, "models-fetching")
    card.get_by_role("button", name="Cancel").click()
    expect(card.locator(".pill")).to_have_text("Stopped")
    assert not (app.home / "cache" / "models" / "acme--small-chat").exists()
    released.set()
    card.get_by_role("button", name="Try again").click()
    expect(card.locator(".pill")).to_have_text("Completed", timeout=30_000)

    here = page.get_by_role("table", name="On this machine").get_by_role("row").filter(has_text=NAME)
    expect(here).to_contain_text("from the hub")
    beside = app.home / "cache" / "models" / "another-model"
    beside.mkdir()
    here.get_by_role("button", name=f"Remove {NAME}").click()
    dialog = page.get_by_role("alertdialog")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    dialog.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("No model is here yet")).to_be_visible()
    assert not (app.home / "cache" / "models" / "acme--small-chat").exists()
    assert beside.is_dir()
    audit = (app.home / "logs" / "audit.jsonl").read_text()
    assert [audit.count(act) for act in ("model.download", "model.cancel", "model.remove")] == [2, 1, 1]
