from __future__ import annotations

import logging

import pytest

from backpropagate.cli.main import main


def test_the_version_is_data(backprop):
    assert backprop("--version") == (0, "backpropagate 1.0.0\n", "")


def test_the_program_alone_shows_its_help(backprop):
    code, out, err = backprop()
    assert code == 0
    assert "Usage: backprop" in out
    assert err == ""


def test_an_unknown_command_is_the_users_mistake(backprop):
    code, out, err = backprop("trainn")
    assert code == 1
    assert out == ""
    assert err == (
        "[INPUT_VALIDATION_FAILED]: No such command 'trainn'. Did you mean 'train'?\n"
        "hint: `backprop --help` lists what it takes.\n"
    )


def test_an_unknown_option_is_the_users_mistake(backprop):
    code, _, err = backprop("train", "--stepz", "3")
    assert code == 1
    assert err.startswith("[INPUT_VALIDATION_FAILED]: No such option: --stepz")
    assert "hint: `backprop train --help` lists what it takes." in err


def test_a_group_without_a_command_shows_its_help_and_is_the_users_mistake(backprop):
    code, out, err = backprop("config")
    assert code == 1
    assert "set" in out + err
    assert "[INPUT" not in err


def test_a_missing_argument_is_named(backprop):
    code, _, err = backprop("show-run")
    assert code == 1
    assert "RUN_ID" in err


@pytest.mark.parametrize("arguments", [("--verbose", "show-run", "zz"), ("show-run", "zz", "--verbose")])
def test_verbose_works_before_and_after_the_command_and_adds_the_traceback(backprop, arguments):
    code, _, err = backprop(*arguments)
    assert code == 1
    assert err.startswith("[INPUT_RUN_NOT_FOUND]: 'zz' is no run id.\nhint: ")
    assert "Traceback (most recent call last)" in err


def test_debug_in_the_environment_adds_the_traceback(backprop, monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_DEBUG", "1")
    assert "Traceback" in backprop("show-run", "zz")[2]


def test_without_verbose_there_is_no_traceback(backprop):
    assert "Traceback" not in backprop("show-run", "zz")[2]


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_log_file_gets_the_failure_with_its_traceback(backprop, tmp_path, place):
    path = tmp_path / "logs" / "backprop.log"
    option = ["--log-file", str(path)]
    arguments = [*option, "show-run", "zz"] if place == "before" else ["show-run", "zz", *option]
    backprop(*arguments)
    text = path.read_text()
    assert "[INPUT_RUN_NOT_FOUND]" in text
    assert "Traceback" in text


def test_the_log_file_is_redacted_and_the_message_too(backprop, tmp_path):
    path = tmp_path / "backprop.log"
    code, _, err = backprop("show-run", "hf_abcdefghijklmnop", "--log-file", str(path))
    assert code == 1
    assert "hf_abcdefghijklmnop" not in err
    assert "hf_abcdefghijklmnop" not in path.read_text()


def test_json_log_lines_are_json(backprop, tmp_path):
    import json

    path = tmp_path / "backprop.log"
    backprop("--log-format", "json", "--log-file", str(path), "show-run", "zz")
    entry = json.loads(path.read_text())
    assert entry["level"] == "ERROR"
    assert "Traceback" in entry["traceback"]


def test_a_log_file_that_cannot_be_written_is_refused(backprop, tmp_path):
    (tmp_path / "taken").write_text("")
    code, _, err = backprop("list-runs", "--log-file", str(tmp_path / "taken" / "x.log"))
    assert code == 1
    assert err.startswith("[CONFIG_INVALID_SETTING]: The log file ")


def test_the_log_level_of_the_command_wins(backprop):
    backprop("--log-level", "error", "list-runs", "--log-level", "debug")
    assert logging.getLogger("backprop_core").level == logging.DEBUG


def test_what_nobody_foresaw_is_internal_and_exits_two(backprop, monkeypatch):
    from backprop_core.services import opening

    def broken(**_):
        raise ZeroDivisionError("token=abc123secret")

    monkeypatch.setattr(opening, "open_workspace", broken)
    code, _, err = backprop("list-runs")
    assert code == 2
    assert err.startswith("[INTERNAL]: ZeroDivisionError: token=[redacted]\nhint: Run the command again")


def test_ctrl_c_exits_with_130(monkeypatch):
    from backprop_core.services import opening

    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "open_workspace", interrupted)
    assert main(["list-runs"]) == 130


def test_an_unknown_variable_is_reported_with_the_nearest_name(backprop, monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_TRAINING__STEP", "3")
    code, _, err = backprop("list-runs")
    assert code == 0
    assert "BACKPROPAGATE_TRAINING__STEP" in err
    assert "Did you mean BACKPROPAGATE_TRAINING__STEPS?" in err
