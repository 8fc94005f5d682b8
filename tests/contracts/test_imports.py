"""Who may import whom: the written rules, and what is really loaded when the faces run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "peft", "trl", "accelerate", "datasets", "bitsandbytes")


def loaded_after(code: str, *watched: str) -> list[str]:
    """Run `code` in a fresh interpreter and return which of the `watched` packages it loaded."""
    tail = f"\nimport sys\nprint(sorted(set({list(watched)!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return list(ast.literal_eval(done.stdout.splitlines()[-1]))


def test_the_import_rules_hold():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_help_of_the_command_loads_no_training_library_and_no_web_app():
    code = "from backpropagate.cli.main import main\nassert main(['--help']) == 0"
    assert loaded_after(code, *HEAVY, "reflex", "fastapi", "sqlite3", "httpx") == []


@pytest.mark.parametrize(
    "arguments", [["list-runs"], ["info"], ["doctor"], ["config", "show"], ["models", "list"]]
)
def test_a_command_loads_no_training_library(arguments):
    code = f"from backpropagate.cli.main import main\nassert main({arguments!r}) in (0, 2)"
    assert loaded_after(code, *HEAVY, "reflex") == []


def test_a_trainer_loads_no_training_library_before_it_trains():
    assert loaded_after("from backpropagate import Trainer\nTrainer('smollm2-135m')", *HEAVY) == []


def test_the_scheduler_loads_no_training_library():
    assert loaded_after("import backprop_core.services.scheduling", *HEAVY, "reflex") == []


def test_the_modules_of_the_web_app_load_no_training_library():
    code = "import backprop_app.serve, backprop_app.runtime, backprop_app.states, backprop_app.pages"
    assert loaded_after(code, *HEAVY) == []
