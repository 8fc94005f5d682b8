"""Takes the pictures of the documentation from the real app, training the real model; `make screenshots`.

Works in a temporary home; the pictures land in `docs/images`. A few minutes on two cores.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

from tests.support import browser as chromium  # noqa: E402
from tests.support.models import test_cache_dir, tutorial_model_dir  # noqa: E402
from tests.support.ui_server import UiServer  # noqa: E402

IMAGES = ROOT / "docs" / "images"
SUPPORT = ROOT / "examples" / "support.jsonl"
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
LIVE_STEP = 40
STEPS = 70
PATIENCE_MS = 900_000


def take(page: Page, name: str) -> None:
    """Save what the page shows once its fonts and numbers are there."""
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    if page.viewport_size == WIDE:
        expect(page.locator(".ring").first).to_contain_text("%")
    page.mouse.move(700, 20)
    page.wait_for_timeout(1200)
    page.screenshot(path=IMAGES / f"{name}.png")
    sys.stderr.write(f"docs/images/{name}.png\n")


def open_page(browser: Browser, url: str, *, theme: str = "dark", phone: bool = False) -> Page:
    """Open a tab with a theme and a size of its own."""
    context = browser.new_context(
        viewport=PHONE if phone else WIDE,
        device_scale_factor=2 if phone else 1,
        is_mobile=phone,
        has_touch=phone,
    )
    context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    return page


def start(page: Page, *, steps: int) -> None:
    """Start the run that the form describes."""
    page.get_by_label("Train for").fill(str(steps))
    expect(page.locator(".cli code")).to_contain_text(f"--steps {steps}")
    page.locator("body").press("Control+Enter")
    page.wait_for_url("**/runs/*")


def story(browser: Browser, server: UiServer) -> None:
    """Walk from the first page to a run that is under way, taking pictures."""
    page = open_page(browser, server.url)
    expect(page.get_by_role("button", name="Start training").first).to_be_enabled()
    take(page, "first-run")
    page.get_by_role("button", name="All settings").click()
    start(page, steps=30)
    expect(page.locator(".ph .pill")).to_have_text("Completed", timeout=PATIENCE_MS)
    page.goto(server.url)
    page.get_by_role("button", name="Data:").click()
    page.get_by_role("button", name=SUPPORT.name).click()
    expect(page.locator(".panel.stay .pill")).to_contain_text("Fits")
    page.get_by_role("button", name="Length ").click()
    take(page, "train")
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Batch", exact=True).fill("2")
    page.get_by_label("Accumulation", exact=True).fill("1")
    start(page, steps=STEPS)
    run = page.url
    reached = ",".join(f'.plot.loss[data-last="{step}"]' for step in range(LIVE_STEP, STEPS))
    page.wait_for_selector(reached)
    take(page, "run-live")
    for name, options in (("light", {"theme": "light"}), ("phone", {"phone": True})):
        other = open_page(browser, run, **options)
        other.wait_for_selector(reached)
        take(other, f"run-live-{name}")
    copy = server.home / "ui-outputs" / "datasets" / SUPPORT.name
    shutil.copyfile(SUPPORT, copy)
    data = open_page(browser, f"{server.url}/dataset?file={quote(str(copy), safe='')}")
    expect(data.get_by_text("Ready to train")).to_be_visible()
    take(data, "dataset")
    listing = open_page(browser, f"{server.url}/runs")
    expect(listing.locator("tbody tr")).to_have_count(2)
    take(listing, "runs")
    campaign = open_page(browser, f"{server.url}/multi-run")
    campaign.get_by_role("button", name="Add data").click()
    campaign.get_by_role("button", name=SUPPORT.name).first.click()
    expect(campaign.get_by_role("table", name="Legs before Start").get_by_role("row")).to_have_count(6)
    take(campaign, "multi-run")
    for name in ("models", "settings"):
        beside = open_page(browser, f"{server.url}/{name}")
        expect(beside.locator("tbody tr").first).to_be_visible()
        take(beside, name)


def main() -> int:
    """Take every picture."""
    subprocess.run([sys.executable, "-m", "backprop_app.build"], cwd=ROOT, check=True)
    IMAGES.mkdir(parents=True, exist_ok=True)
    tutorial_model_dir()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.require(), args=list(chromium.ARGUMENTS)
        )
        server = UiServer(Path(folder) / "app", models=test_cache_dir()).start()
        try:
            story(browser, server)
        finally:
            server.end_runs()
            server.stop()
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
