"""What `backprop train` refuses: code, sentence, hint, exit 1, nothing created. Real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from backprop_core.runs.database import Database

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart.jsonl"


def backprop(cwd: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backpropagate", *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "good.jsonl").write_bytes(EXAMPLE.read_bytes())
    (folder / "empty.jsonl").write_text("")
    (folder / "broken.jsonl").write_text('{"conversations": [\n{"x": \n')
    (folder / "unknown.jsonl").write_text('{"alpha": 1, "beta": 2}\n')
    (folder / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (folder / "a-folder").mkdir()
    (folder / "theirs" / "lora").mkdir(parents=True)
    (folder / "theirs" / "lora" / "thesis.txt").write_text("years of work")
    (folder / "taken").write_text("a file where a folder would be")
    return folder


def everything_below(path: Path) -> dict[str, bytes | None]:
    return {
        str(found.relative_to(path)): found.read_bytes() if found.is_file() else None
        for found in sorted(path.rglob("*"))
    }


def runs_in(home: Path) -> int:
    if not (home / "store.db").exists():
        return 0
    database = Database(home / "store.db")
    try:
        return database.count()
    finally:
        database.close()


GOOD = {"--model": "smollm2-135m", "--data": "good.jsonl", "--lora-preset": "fast", "--steps": "3"}
BAD = {
    "missing file": ({"--data": "missing.jsonl"}, "INPUT_DATASET_NOT_FOUND", "missing.jsonl"),
    "no file": ({"--data": None}, "INPUT_DATASET_NOT_FOUND", ""),
    "empty file": ({"--data": "empty.jsonl"}, "INPUT_DATASET_INVALID", "empty.jsonl"),
    "broken file": ({"--data": "broken.jsonl"}, "INPUT_DATASET_", "broken.jsonl"),
    "unknown rows": ({"--data": "unknown.jsonl"}, "INPUT_DATASET_INVALID", "unknown.jsonl"),
    "a picture": ({"--data": "image.png"}, "INPUT_DATASET_FORMAT_UNSUPPORTED", "image.png"),
    "a folder": ({"--data": "a-folder"}, "INPUT_DATASET_", "a-folder"),
    "a device": ({"--data": "/dev/zero"}, "INPUT_DATASET_", "zero"),
    "unknown model": ({"--model": "no-such-model"}, "INPUT_MODEL_NOT_FOUND", "no-such-model"),
    "model folder without a model": ({"--model": "./a-folder"}, "", "a-folder"),
    "a web address for a model": ({"--model": "http://127.0.0.1/x"}, "INPUT_MODEL_NOT_FOUND", "http"),
    "no steps": ({"--steps": "0"}, "INPUT_VALIDATION_FAILED", "'0'"),
    "steps below none": ({"--steps": "-5"}, "INPUT_VALIDATION_FAILED", "'-5'"),
    "too many steps": ({"--steps": "1000000000000"}, "INPUT_VALIDATION_FAILED", "1000000000000"),
    "rate is no number": ({"--lr": "nan"}, "INPUT_VALIDATION_FAILED", "'nan'"),
    "rate without end": ({"--lr": "inf"}, "INPUT_VALIDATION_FAILED", "'inf'"),
    "rate of nothing": ({"--lr": "0"}, "INPUT_VALIDATION_FAILED", "'0'"),
    "rate below nothing": ({"--lr": "-1e-4"}, "INPUT_VALIDATION_FAILED", "'-1e-4'"),
    "huge rate": ({"--lr": "1e9"}, "INPUT_VALIDATION_FAILED", "1e9"),
    "rank of nothing": ({"--lora-r": "0"}, "INPUT_VALIDATION_FAILED", "'0'"),
    "huge rank": ({"--lora-r": "1000000"}, "INPUT_VALIDATION_FAILED", "1000000"),
    "batch below one": ({"--batch-size": "-1"}, "INPUT_VALIDATION_FAILED", "'-1'"),
    "a word for a number": ({"--batch-size": "many"}, "INPUT_VALIDATION_FAILED", "'many'"),
    "unknown preset": ({"--lora-preset": "best"}, "INPUT_VALIDATION_FAILED", "'best'"),
    "unknown device": ({"--device": "tpu"}, "INPUT_VALIDATION_FAILED", "'tpu'"),
    "no epochs": ({"--epochs": "0"}, "INPUT_VALIDATION_FAILED", "'0'"),
    "seed below zero": ({"--seed": "-1"}, "INPUT_VALIDATION_FAILED", "'-1'"),
    "output of others": ({"--output": "theirs"}, "INPUT_OUTPUT_DIR_NOT_OURS", "lora"),
    "output is a file": ({"--output": "taken"}, "INPUT_OUTPUT_DIR_NOT_OURS", "taken"),
    "output below a file": ({"--output": "taken/deeper"}, "INPUT_OUTPUT_DIR_NOT_OURS", "taken"),
    "unknown option": ({"--stepz": "3"}, "INPUT_VALIDATION_FAILED", "--stepz"),
}


@pytest.mark.parametrize(("changes", "code", "named"), BAD.values(), ids=list(BAD))
def test_train_refuses_with_code_sentence_and_hint_and_creates_nothing(work, own_home, changes, code, named):
    arguments = [
        word for name, value in (GOOD | changes).items() if value is not None for word in (name, value)
    ]
    before = everything_below(work)
    done = backprop(work, "train", *arguments)
    lines = done.stderr.splitlines()
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert lines[0].startswith(f"[{code}"), done.stderr
    assert "]: " in lines[0] and lines[0].endswith((".", "?"))
    assert named in lines[0]
    assert lines[1].startswith("hint: ")
    assert "Traceback" not in done.stderr
    assert everything_below(work) == before
    assert runs_in(own_home) == 0


def test_a_bad_variable_names_where_it_came_from(work):
    done = backprop(
        work, "train", "-m", "smollm2-135m", "-d", "good.jsonl", BACKPROPAGATE_TRAINING__STEPS="nought"
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "[CONFIG_INVALID_SETTING]: Steps cannot be 'nought'. It came from BACKPROPAGATE_TRAINING__STEPS."
    )


def test_a_flag_wins_over_a_bad_variable(work):
    done = backprop(
        work,
        "train",
        "-m",
        "smollm2-135m",
        "-d",
        "good.jsonl",
        "--steps",
        "3",
        "--dry-run",
        BACKPROPAGATE_TRAINING__STEPS="nought",
    )
    assert done.returncode == 0, done.stderr


def test_a_broken_settings_file_is_named(work, own_home):
    own_home.mkdir()
    (own_home / "config.toml").write_text("steps = = 3\n")
    done = backprop(work, "list-runs")
    assert done.returncode == 1
    assert done.stderr.startswith(f"[CONFIG_INVALID]: {own_home / 'config.toml'} is not TOML")


def test_a_home_that_cannot_hold_the_store_is_named(work, tmp_path):
    (tmp_path / "file").write_text("")
    done = backprop(work, "list-runs", BACKPROPAGATE_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 2
    assert done.stderr.startswith("[STATE_STORE_INVALID]")


def test_a_pipe_that_closes_early_is_no_failure_with_a_traceback(work):
    command = f"{sys.executable} -m backpropagate info --error-codes | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=work, check=False)
    assert done.stdout.startswith("CODE")
    assert "Traceback" not in done.stderr


def test_the_page_refuses_to_be_reachable_without_a_login(work):
    done = backprop(work, "ui", "--host", "0.0.0.0", "--no-open")
    assert done.returncode == 1
    assert done.stderr.startswith("[INPUT_AUTH_REQUIRED]")


def test_the_page_refuses_a_port_that_is_taken(work):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = backprop(work, "ui", "--port", str(port), "--no-open")
    assert done.returncode == 1
    assert done.stderr.startswith(f"[RUNTIME_UI_PORT_IN_USE]: Port {port} ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", "pwsh"])
def test_completion_is_there_for_every_shell(work, shell):
    # Otherwise the shell that the tests were started from decides, and there may be none.
    done = backprop(work, "--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert "backprop" in done.stdout
