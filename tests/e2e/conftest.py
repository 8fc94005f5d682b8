"""The real launcher, the built bundle and a Chromium; the bundle is built once when it is not current."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support import browser as chromium
from tests.support.models import test_cache_dir, tutorial_model_dir
from tests.support.ui_server import ROOT, UiServer

PICTURES = ROOT / "test-results"


@pytest.fixture(scope="session")
def bundle() -> None:
    """Build the web app."""
    done = subprocess.run(
        [sys.executable, "-m", "backprop_app.build"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium.require()
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(chromium.ARGUMENTS))
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder with the tutorial model."""
    tutorial_model_dir()
    return test_cache_dir()


@pytest.fixture
def app(bundle: None, models: Path, tmp_path: Path) -> Iterator[UiServer]:
    """A running app of its own."""
    server = UiServer(tmp_path / "app", data_dir=tmp_path, models=models)
    server.start()
    yield server
    server.end_runs()
    server.stop()


@pytest.fixture(scope="module")
def shared_app(bundle: None, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiServer]:
    """A running app for tests that start no run."""
    server = UiServer(tmp_path_factory.mktemp("shared") / "app", models=models)
    server.start()
    yield server
    server.stop()


class Watched:
    """Pages of one browser context, with everything that must not happen written down.

    Attributes:
        complaints: errors on the console and in scripts.
        strangers: addresses asked for that are not the app's.
    """

    def __init__(self, browser: Browser, url: str, **options: object) -> None:
        self._context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        self._url = url
        self.complaints: list[str] = []
        self.strangers: list[str] = []

    def open(self, path: str = "/") -> Page:
        """Open a page in a new tab."""
        page = self._context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))
        page.goto(self._url + path)
        return page

    def _heard(self, kind: str, text: str) -> None:
        # A server that was killed on purpose is not a defect of the page.
        if kind == "error" and not re.search(r"ERR_CONNECTION_REFUSED|WebSocket connection", text):
            self.complaints.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self._url, self._url.replace("http", "ws"), "data:", "blob:")):
            self.strangers.append(url)

    def close(self) -> None:
        """Close every tab."""
        self._context.close()


@pytest.fixture
def watch(browser: Browser) -> Iterator[object]:
    """Return a function that opens a watched context; at the end nothing bad may have been seen."""
    contexts: list[Watched] = []

    def make(server: UiServer, **options: object) -> Watched:
        contexts.append(Watched(browser, server.url, **options))
        return contexts[-1]

    yield make
    for context in contexts:
        context.close()
    assert [complaint for context in contexts for complaint in context.complaints] == []
    assert [url for context in contexts for url in context.strangers] == []


def keep_picture(page: Page, name: str) -> None:
    """Save a picture of the page among the results."""
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")


def torch_is_loaded(pid: int) -> bool:
    """Tell whether a process has PyTorch mapped."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text() if os.path.exists("/proc") else False
