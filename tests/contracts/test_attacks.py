"""The table of attacks names a test for every row, and no part of the product can do what hostile files need."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "development" / "attacks.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (D\d\db?) \|[^|]*\|(.*)\|$", TABLE, re.MULTILINE))
SOURCES = [
    path
    for package in ("backprop_core", "backprop_app", "backpropagate")
    for path in sorted((ROOT / package).rglob("*.py"))
]
UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "tarfile",
}


def test_every_attack_has_a_row():
    assert sorted(ROWS) == sorted(["D21b", *(f"D{number:02}" for number in range(1, 79))])


@pytest.mark.parametrize("row", sorted(ROWS))
def test_every_test_of_a_row_exists(row):
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", ROWS[row])
    assert named
    for file, name in named:
        sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob(file)]
        assert any(f"def {name}(" in source for source in sources), f"{row}: {file}::{name}"


@functools.cache
def calls() -> list[tuple[Path, ast.Call]]:
    return [
        (path, node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def test_no_part_of_the_product_can_unpickle():
    imported = {
        (path.name, name.partition(".")[0])
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert [found for found in imported if found[1] in UNSAFE_MODULES] == []
    loads = [
        (path.name, ast.unparse(call)) for path, call in calls() if ast.unparse(call.func) == "torch.load"
    ]
    assert loads == []


def test_every_process_is_started_from_a_list_and_without_a_shell():
    starts = [
        (path.name, call)
        for path, call in calls()
        if ast.unparse(call.func) in {"subprocess.run", "subprocess.Popen"}
    ]
    assert len(starts) > 3
    assert [name for name, call in starts if isinstance(call.args[0], ast.Constant | ast.JoinedStr)] == []
    assert [name for name, call in starts if any(keyword.arg == "shell" for keyword in call.keywords)] == []
    assert [path.name for path, call in calls() if ast.unparse(call.func) in {"os.system", "os.popen"}] == []


def test_models_and_adapters_are_loaded_from_safetensors_alone():
    loads = [
        (path.name, ast.unparse(call))
        for path, call in calls()
        if ast.unparse(call.func).endswith(
            ("AutoModelForCausalLM.from_pretrained", "PeftModel.from_pretrained")
        )
    ]
    assert len(loads) >= 3
    assert [text for _, text in loads if "use_safetensors=True" not in text] == []
