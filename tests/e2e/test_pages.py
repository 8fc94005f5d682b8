"""Every page without a run: addresses, keys, themes, bad input, narrow screens."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import keep_picture
from tests.support.ui_server import UiServer


def status(server: UiServer, path: str) -> int:
    try:
        with urllib.request.urlopen(server.url + path, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", 200),
        ("/runs", 200),
        ("/runs/", 200),
        ("/runs/7f3a91c2", 200),
        ("/export", 200),
        ("/models", 200),
        ("/multi-run", 200),
        ("/settings", 200),
        ("/nowhere", 404),
    ],
)
def test_deep_links_answer_directly(shared_app: UiServer, path: str, expected: int) -> None:
    assert status(shared_app, path) == expected


def test_an_unknown_run_says_so(shared_app: UiServer, watch) -> None:
    page = watch(shared_app).open("/runs/00000000")
    expect(page.get_by_role("heading", level=1)).to_have_text("No such run")
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")


def test_an_unknown_address_says_so(shared_app: UiServer, browser) -> None:
    page = browser.new_page()
    page.goto(f"{shared_app.url}/nowhere")
    expect(page.get_by_role("heading", level=1)).to_have_text("No such page")
    page.close()


def test_the_list_without_runs_names_the_next_step(shared_app: UiServer, watch) -> None:
    page = watch(shared_app).open("/runs")
    page.get_by_role("link", name="Train the example").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Train your first model")


def test_keys_walk_between_pages_and_list_themselves(shared_app: UiServer, watch) -> None:
    page = watch(shared_app).open("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    page.keyboard.press("/")
    expect(page.get_by_label("Search runs")).to_be_focused()
    page.keyboard.type("gt")
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page.get_by_role("heading", level=1)).to_have_text("Train your first model")


def test_the_theme_is_kept_over_a_reload(shared_app: UiServer, watch) -> None:
    page = watch(shared_app).open("/")
    page.get_by_role("button", name="Theme: dark").click()
    expect(page.locator("html")).to_have_class("light")
    page.reload()
    expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    expect(page.locator("html")).to_have_class("light")
    keep_picture(page, "first-run-light")


def open_form(page: Page) -> None:
    page.get_by_role("button", name="All settings").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Train")


@pytest.mark.parametrize("value", ["0", "-3", "nan", "1e99", "many"])
def test_a_bad_number_of_steps_is_told_at_its_field_and_start_is_off(shared_app, watch, value) -> None:
    page = watch(shared_app).open("/")
    open_form(page)
    page.get_by_label("Train for").fill(value)
    expect(page.locator(".field .help.bad")).to_be_visible()
    expect(page.locator(".panel.stay").get_by_role("button", name="Start training")).to_be_disabled()
    expect(page.locator(".panel.stay .note.warn")).to_be_visible()
    page.get_by_label("Train for").fill("5")
    expect(page.locator(".panel.stay").get_by_role("button", name="Start training")).to_be_enabled()


@pytest.mark.parametrize("path", ["/etc/passwd", "/nowhere/at/all.jsonl", "../../x.jsonl"])
def test_data_outside_the_folders_of_the_app_is_not_read(shared_app, watch, path) -> None:
    page = watch(shared_app).open("/")
    open_form(page)
    page.get_by_role("button", name="Data:").click()
    page.get_by_placeholder("Path below a folder of the app").fill(path)
    page.get_by_role("button", name="Use what is typed").click()
    expect(page.locator(".help.bad")).to_contain_text("not in a folder that the app may read")
    expect(page.locator(".panel.stay").get_by_role("button", name="Start training")).to_be_disabled()


def test_an_unknown_model_is_told_at_its_field(shared_app, watch) -> None:
    page = watch(shared_app).open("/")
    open_form(page)
    page.get_by_role("button", name="Model:").click()
    page.get_by_placeholder("Hub id or folder").fill("no such model")
    page.get_by_role("button", name="Use what is typed").click()
    expect(page.locator(".help.bad").first).to_be_visible()
    expect(page.locator(".panel.stay").get_by_role("button", name="Start training")).to_be_disabled()


def test_a_changed_setting_is_marked_and_goes_back_to_the_rule(shared_app, watch) -> None:
    page = watch(shared_app).open("/")
    open_form(page)
    page.get_by_role("button", name="Advanced").click()
    page.get_by_label("Learning rate", exact=True).fill("1e-4")
    expect(page.locator(".chip")).to_have_text("changed")
    expect(page.locator(".cli code")).to_contain_text("--lr 1e-4")
    page.get_by_role("button", name="Use the rule").click()
    expect(page.locator(".chip")).to_have_count(0)
    expect(page.get_by_label("Learning rate", exact=True)).to_have_value("0.0002")


@pytest.mark.parametrize("path", ["/", "/runs", "/runs/00000000", "/models", "/settings", "/multi-run"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 800), (820, 1180), (390, 844)])
def test_every_page_fits_every_width(shared_app, watch, path, width, height) -> None:
    page = watch(shared_app, viewport={"width": width, "height": height}).open(path)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    page.wait_for_timeout(300)
    overflow = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0
    keep_picture(page, f"page{path.replace('/', '-')}-{width}")


@pytest.mark.parametrize("path", ["/", "/runs", "/models", "/settings", "/multi-run"])
def test_every_button_has_a_name_and_every_field_a_label(shared_app, watch, path) -> None:
    page = watch(shared_app).open(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a")]
            .filter((item) => item.getClientRects().length > 0)
            .filter((item) => !(item.innerText || "").trim() && !item.getAttribute("aria-label")
                && !item.getAttribute("aria-labelledby") && !(item.labels && item.labels.length))
            .map((item) => item.outerHTML)"""
    )
    assert nameless == []


def test_the_rail_opens_from_the_strip_on_a_phone(shared_app, watch) -> None:
    page = watch(shared_app, viewport={"width": 390, "height": 844}).open("/")
    expect(page.get_by_role("complementary", name="Live")).to_be_hidden()
    page.get_by_role("button", name="Show or hide live numbers").click()
    expect(page.get_by_role("complementary", name="Live")).to_be_visible()
    page.get_by_role("button", name="Show or hide live numbers").click()
    expect(page.get_by_role("complementary", name="Live")).to_be_hidden()


def test_the_pages_beyond_the_tab_bar_are_behind_more_on_a_phone(shared_app, watch) -> None:
    page = watch(shared_app, viewport={"width": 390, "height": 844}).open("/")
    page.get_by_role("button", name="More").click()
    page.get_by_role("dialog").get_by_role("link", name="Settings").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Settings")


ROWS = '{"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good day"}]}\n' * 7


def test_an_uploaded_file_becomes_the_data(shared_app, watch, tmp_path) -> None:
    file = tmp_path / "my chats (1).jsonl"
    file.write_text(ROWS)
    page = watch(shared_app).open("/")
    page.get_by_role("button", name="Use my own data").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a file").click()
    chooser.value.set_files(file)
    expect(page.get_by_role("button", name="Data:")).to_contain_text("my-chats-1")
    expect(page.get_by_text("7 rows")).to_be_visible()
    stored = list((shared_app.home / "ui-outputs/datasets").iterdir())
    assert [item.read_text() for item in stored] == [ROWS]


def test_an_upload_that_is_no_data_is_refused_with_the_reason(shared_app, watch, tmp_path) -> None:
    file = tmp_path / "virus.exe"
    file.write_bytes(b"MZ")
    tabs = watch(shared_app)
    page = tabs.open("/")
    page.get_by_role("button", name="Data:").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a file").click()
    chooser.value.set_files(file)
    expect(page.locator(".pop .help.bad")).to_contain_text("no type of file that can be read")
    # The browser writes a refused request to its console, too.
    assert all("400" in complaint for complaint in tabs.complaints)
    tabs.complaints.clear()
