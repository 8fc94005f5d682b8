"""Settings are changed, refused and reset on the page; what widens the reach of the page stays closed."""

from __future__ import annotations

import tomllib

from playwright.sync_api import expect

from tests.support.ui_server import UiServer


def test_a_value_is_changed_refused_and_reset_and_the_file_follows(app: UiServer, watch) -> None:
    page = watch(app).open("/settings")
    row = page.locator(".setrow").filter(has_text="training.steps")
    expect(row).to_contain_text("default")
    row.get_by_role("button", name="Change Steps").click()
    expect(page.locator(".cli code")).to_have_text("backprop config set training.steps VALUE")
    row.get_by_label("Steps").fill("-4")
    row.get_by_role("button", name="Save").click()
    expect(row.locator(".help.bad")).to_be_visible()
    assert not (app.home / "config.toml").exists()
    row.get_by_label("Steps").fill("42")
    row.get_by_label("Steps").press("Enter")
    expect(row).to_contain_text("config.toml")
    assert tomllib.loads((app.home / "config.toml").read_text()) == {"training": {"steps": 42}}
    page.get_by_role("radio", name="Changed").click()
    expect(page.locator(".setrow")).to_have_count(2)
    row.get_by_role("button", name="Reset Steps").click()
    expect(row).to_have_count(0)
    assert "steps" not in (app.home / "config.toml").read_text()


def test_folders_logins_and_exposure_are_shown_but_not_changed_here(shared_app: UiServer, watch) -> None:
    page = watch(shared_app).open("/settings")
    for key in ("ui.output_dir", "ui.host", "ui.auth_file", "log_file", "run.output_dir", "home", "ui.auth"):
        row = page.locator(".setrow").filter(has=page.locator("code").get_by_text(key, exact=True))
        expect(row.get_by_role("button")).to_have_count(0)


def test_the_machine_is_checked_as_doctor_does(shared_app: UiServer, watch) -> None:
    page = watch(shared_app).open("/settings")
    checks = page.get_by_role("table", name="Checks")
    expect(checks.get_by_role("row").filter(has_text="extra unsloth")).to_contain_text(
        "pip install 'backpropagate[unsloth]'"
    )
    expect(page.get_by_role("table", name="About")).to_contain_text("transformers")


def test_the_theme_is_chosen_on_the_page(shared_app: UiServer, watch) -> None:
    page = watch(shared_app).open("/settings")
    page.get_by_role("radio", name="Light").click()
    expect(page.locator("html")).to_have_class("light")
