"""Signing in and out in a browser, with and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import keep_picture
from tests.support.logins import PASSWORD, USER
from tests.support.ui_server import UiServer


@pytest.fixture(scope="module")
def guarded(bundle: None, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiServer]:
    folder = tmp_path_factory.mktemp("guarded")
    file = folder / "login"
    file.write_text(f"{USER}:{PASSWORD}\n")
    file.chmod(0o600)
    server = UiServer(folder / "app", models=models, arguments=["--auth-file", str(file)])
    server.start()
    yield server
    server.stop()


def sign_in(page: Page, password: str = PASSWORD) -> None:
    page.get_by_label("User").fill(USER)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def test_one_signs_in_sees_the_wanted_page_and_signs_out(guarded: UiServer, browser: Browser) -> None:
    context = browser.new_context(base_url=guarded.url)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/runs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert {url.removeprefix(guarded.url) for url in asked} <= {
        "/runs",
        "/login?next=%2Fruns",
        "/login/inter.woff2",
        "/favicon.svg",
    }
    expect(page.get_by_label("User")).to_be_focused()
    sign_in(page, "not-the-one")
    expect(page.get_by_role("alert")).to_have_text(
        "User and password do not match. 4 tries left this minute."
    )
    expect(page.get_by_label("User")).to_have_value(USER)
    keep_picture(page, "login-refused")
    sign_in(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    second = context.new_page()
    second.goto("/")
    expect(second.get_by_role("status").filter(has_text="Live")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(second.get_by_role("status").filter(has_text="Offline")).to_be_visible()
    second.evaluate("() => { document.dispatchEvent(new Event('visibilitychange')) }")
    expect(second.get_by_role("heading", name="Sign in")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()


def test_the_form_works_without_javascript(guarded: UiServer, browser: Browser) -> None:
    context = browser.new_context(base_url=guarded.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/runs?page=1")
    sign_in(page)
    assert page.url == f"{guarded.url}/runs?page=1"
    expect(page).to_have_title("Runs · Backpropagate")
    context.close()


def test_the_cookie_is_out_of_reach_of_scripts(guarded: UiServer, browser: Browser) -> None:
    context = browser.new_context(base_url=guarded.url)
    page = context.new_page()
    page.goto("/")
    sign_in(page)
    expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
    assert "backprop" not in page.evaluate("() => document.cookie")
    context.close()


def test_the_login_page_fits_a_phone_and_breaks_no_policy(guarded: UiServer, watch) -> None:
    page = watch(guarded, viewport={"width": 390, "height": 844}).open("/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    assert page.evaluate(
        "() => document.fonts.ready.then(() => document.fonts.check('16px \"Inter Variable\"'))"
    )
    keep_picture(page, "login-phone")


def test_nobody_signed_in_sees_no_button_to_sign_out(shared_app: UiServer, watch) -> None:
    page = watch(shared_app).open("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
