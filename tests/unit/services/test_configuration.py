"""The page changes single values of config.toml, and none that would widen what the page reaches."""

from __future__ import annotations

import pytest

from backprop_core.config.settings import Settings, find_home
from backprop_core.errors import BackpropagateError, InputError
from backprop_core.services import configuration


@pytest.mark.parametrize(
    "key",
    [
        "home",
        "ui.auth",
        "ui.auth_file",
        "ui.host",
        "ui.output_dir",
        "log_file",
        "notify.webhook",
        "run.output_dir",
        "security.require_auth_for_share",
        "lora.from_adapter",
        "training.dataset",
    ],
)
def test_the_page_cannot_change_folders_logins_and_exposure(key: str) -> None:
    with pytest.raises(InputError, match="The page cannot change"):
        configuration.change_setting_from_page(key, "/tmp/x")
    with pytest.raises(InputError, match="The page cannot change"):
        configuration.reset_setting_from_page(key)
    assert not (find_home() / "config.toml").exists()


@pytest.mark.parametrize("key", ["", "no.such", "training", "../../x", "training.steps\n[ui]"])
def test_an_unknown_setting_changes_nothing(key: str) -> None:
    with pytest.raises(BackpropagateError) as caught:
        configuration.change_setting_from_page(key, "1")
    assert caught.value.code == "CONFIG_INVALID_SETTING"
    assert not (find_home() / "config.toml").exists()


def test_the_page_names_no_folder_as_the_model() -> None:
    with pytest.raises(InputError, match="no preset and no hub id"):
        configuration.change_setting_from_page("model.name", "/etc")


def test_a_value_that_the_environment_decides_is_not_changed_in_the_file(monkeypatch) -> None:
    monkeypatch.setenv("BACKPROPAGATE_TRAINING__STEPS", "7")
    with pytest.raises(InputError, match="BACKPROPAGATE_TRAINING__STEPS decides"):
        configuration.change_setting_from_page("training.steps", "9")


def test_a_secret_is_never_handed_to_the_page(monkeypatch) -> None:
    from backprop_app.views.settings import setting_groups

    monkeypatch.setenv("BACKPROPAGATE_UI__AUTH", "alice:hunter2")
    shown = repr(setting_groups(configuration.list_settings(), only_changed=False))
    assert "set, not shown" in shown
    assert "hunter2" not in shown


def test_every_setting_of_the_installation_is_shown():
    shown = {row.key for row in configuration.list_settings()}
    assert {name.replace("__", ".") for name in Settings.model_fields} <= shown
