from __future__ import annotations

import json


def config_file(own_home):
    return own_home / "config.toml"


def test_a_value_that_is_set_counts_and_tells_its_origin(backprop, own_home):
    assert backprop("config", "set", "training.steps", "77") == (0, "", "training.steps is 77 now\n")
    assert config_file(own_home).read_text() == "[training]\nsteps = 77\n"
    _, out, _ = backprop("config", "show", "--json")
    row = next(row for row in json.loads(out)["settings"] if row["key"] == "training.steps")
    assert (row["value"], row["origin"], row["note"]) == (77, "config", str(config_file(own_home)))


def test_comments_and_other_lines_stay(backprop, own_home):
    own_home.mkdir()
    before = '# mine\nlog_level = "DEBUG"  # loud\n\n[training]\nsteps = 5 # few\nseed = 1\n'
    config_file(own_home).write_text(before)
    backprop("config", "set", "training.steps", "6")
    assert config_file(own_home).read_text() == before.replace("steps = 5 # few", "steps = 6")


def test_a_value_outside_its_range_changes_nothing(backprop, own_home):
    code, _, err = backprop("config", "set", "lora.r", "5000")
    assert code == 1
    assert err == (
        "[INPUT_VALIDATION_FAILED]: Rank cannot be '5000'.\n"
        "hint: --lora-r takes a whole number, at least 1, at most 1,024, or auto.\n"
    )
    assert not config_file(own_home).exists()


def test_a_setting_of_the_installation_is_checked_too(backprop, own_home):
    code, _, err = backprop("config", "set", "ui.port", "99999")
    assert code == 1
    assert err.startswith("[CONFIG_INVALID_SETTING]: ui.port cannot be '99999'")
    assert not config_file(own_home).exists()


def test_an_unknown_key_names_the_nearest(backprop):
    code, _, err = backprop("config", "set", "lora.rr", "8")
    assert code == 1
    assert "hint: Did you mean lora.r?" in err


def test_reset_takes_a_value_out(backprop, own_home):
    backprop("config", "set", "ui.port", "8000")
    backprop("config", "set", "training.seed", "7")
    assert backprop("config", "reset", "ui.port")[0] == 0
    assert "port" not in config_file(own_home).read_text()
    assert "seed = 7" in config_file(own_home).read_text()


def test_reset_mends_a_file_with_a_value_that_cannot_be_used(backprop, own_home):
    own_home.mkdir()
    config_file(own_home).write_text("[ui]\nport = 0\n")
    assert backprop("list-runs")[0] == 1
    assert backprop("config", "reset", "ui.port")[0] == 0
    assert backprop("list-runs")[0] == 0


def test_reset_all_keeps_the_old_file_under_another_name(backprop, own_home):
    backprop("config", "set", "ui.port", "8000")
    code, _, err = backprop("config", "reset", "--all")
    assert code == 0
    assert not config_file(own_home).exists()
    kept = list(own_home.glob("config.toml.*"))
    assert [path.read_text() for path in kept] == ["[ui]\nport = 8000\n"]
    assert str(kept[0]) in err


def test_reset_without_a_name_resets_nothing(backprop, own_home):
    backprop("config", "set", "ui.port", "8000")
    assert backprop("config", "reset")[0] == 1
    assert "8000" in config_file(own_home).read_text()


def test_show_changed_lists_only_what_is_set(backprop, monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_LORA__R", "8")
    _, out, _ = backprop("config", "show", "--changed", "--json")
    keys = [row["key"] for row in json.loads(out)["settings"]]
    assert keys == ["lora.r", "home"]
