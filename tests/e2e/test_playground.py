"""In a real browser the planted fact comes from the tuned side alone, and a file that no engine takes hurts nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import keep_picture
from tests.support.attempts import FACTS
from tests.support.planted import list_planted
from tests.support.small_gguf import write_small_gguf
from tests.support.ui_server import UiServer

ASKED, OTHER = list(FACTS)[:2]
LOAD_MS = 90_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("playground")


@pytest.fixture(scope="module")
def app(bundle: None, models: Path, folder: Path) -> Iterator[UiServer]:
    """An app that lists the run which learned the facts, and reads a folder of files."""
    files = folder / "files"
    files.mkdir()
    server = UiServer(folder / "app", data_dir=files, models=models)
    server.run_id = list_planted(server.home, folder)  # type: ignore[attr-defined]
    server.start()
    yield server
    server.stop()


def ask(page: Page, question: str) -> None:
    page.get_by_placeholder("Ask ").fill(question)
    page.keyboard.press("Control+Enter")


def side(page: Page, name: str):
    return page.get_by_role("region", name=name, exact=True)


def assert_laid_out(left: Locator, right: Locator) -> None:
    """Check that two sides stand beside each other, each with head above talk above foot, none outside."""
    boxes = [panel.bounding_box() for panel in (left, right)]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    for panel, box in zip((left, right), boxes, strict=True):
        parts = [panel.locator(name).bounding_box() for name in (".ptop", ".talk", ".talkfoot")]
        assert [part["x"] for part in parts] == [parts[0]["x"]] * 3
        assert parts[0]["y"] + parts[0]["height"] <= parts[1]["y"] + 1
        assert parts[1]["y"] + parts[1]["height"] <= parts[2]["y"] + 1
        assert parts[2]["y"] + parts[2]["height"] <= box["y"] + box["height"] + 1


def test_base_and_tuned_answer_side_by_side_and_only_the_tuned_one_knows_the_fact(app, watch) -> None:
    page = watch(app).open(f"/runs/{app.run_id}")
    page.get_by_role("link", name="Try it").click()
    expect(page.get_by_text("Nothing asked yet.")).to_have_count(2)
    expect(page.locator(".cli code")).to_have_text(f"backprop chat {app.run_id[:8]}")
    ask(page, ASKED)
    expect(side(page, "Tuned").get_by_text("Loading the model")).to_be_visible()
    expect(side(page, "Tuned")).to_contain_text(FACTS[ASKED], timeout=LOAD_MS)
    for name in ("Tuned", "Base"):
        expect(side(page, name).get_by_role("button", name="Copy")).to_be_visible(timeout=LOAD_MS)
    expect(side(page, "Tuned")).to_contain_text("ended by itself")
    expect(side(page, "Tuned")).to_contain_text("tok/s")
    expect(side(page, "Base")).not_to_contain_text("Zorb")
    assert_laid_out(side(page, "Base"), side(page, "Tuned"))
    keep_picture(page, "playground")

    # The second question finds the model in memory, and the first one still stands above it.
    page.get_by_label("Let it think first").click()
    expect(page.locator(".cli code")).to_contain_text("--thinking")
    page.get_by_role("radio", name="Tuned only").click()
    expect(side(page, "Base")).to_have_count(0)
    ask(page, OTHER)
    expect(side(page, "Tuned")).to_contain_text(FACTS[OTHER], timeout=LOAD_MS)
    expect(side(page, "Tuned")).to_contain_text(FACTS[ASKED])
    expect(page.get_by_role("log", name="Events")).to_contain_text("loaded in")


def test_writing_can_be_stopped_and_a_new_conversation_begun(app, watch) -> None:
    page = watch(app).open(f"/playground?run={app.run_id[:8]}")
    page.get_by_role("button", name="system: none").click()
    page.get_by_label("System prompt").fill("Tell long stories.")
    expect(page.locator(".cli code")).to_contain_text("--system 'Tell long stories.'")
    ask(page, "Tell me everything about the sea, the ships, the storms and the stars.")
    cursor = side(page, "Base").locator(".cursor")
    expect(cursor).to_be_visible(timeout=LOAD_MS)
    page.set_viewport_size({"width": 1280, "height": 620})
    expect(side(page, "Base").locator(".talk")).to_have_js_property("scrollTop", 0)
    expect(cursor).to_be_in_viewport()
    page.get_by_role("button", name="Stop writing").click()
    expect(side(page, "Base")).to_contain_text("stopped")
    page.get_by_role("button", name="New conversation").click()
    expect(page.get_by_text("Nothing asked yet.")).to_have_count(2)


def test_a_file_that_the_engine_cannot_take_is_a_coded_error_and_the_page_lives(app, watch, folder) -> None:
    bad = write_small_gguf(folder / "files" / "bad.gguf", name="phi-3")
    page = watch(app, viewport={"width": 390, "height": 844}).open(f"/playground?run={bad}")
    expect(page.get_by_text("it answers alone")).to_be_visible()
    ask(page, "Hello")
    alert = side(page, "Tuned").get_by_role("alert")
    expect(alert).to_contain_text("RUNTIME_CHAT_FAILED", timeout=LOAD_MS)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    keep_picture(page, "playground-failed-phone")
    good = write_small_gguf(folder / "files" / "good.gguf")
    page.goto(f"{app.url}/playground?run={good}")
    ask(page, "ab ab")
    expect(side(page, "Tuned").get_by_role("button", name="Copy")).to_be_visible(timeout=LOAD_MS)


def test_a_model_that_is_not_here_and_one_outside_of_the_app_s_folders(app, watch) -> None:
    tabs = watch(app)
    page = tabs.open("/playground?run=deadbeef")
    expect(page.get_by_text("This model is not here")).to_be_visible()
    page = tabs.open("/playground?run=/etc/model.gguf")
    expect(page.get_by_text("not in a folder that the app may read")).to_be_visible()


def test_without_a_model_the_page_says_what_is_missing(shared_app, watch) -> None:
    page = watch(shared_app).open("/playground")
    expect(page.get_by_text("Nothing to talk to yet")).to_be_visible()
    expect(page.get_by_role("link", name="Train a model")).to_be_visible()
