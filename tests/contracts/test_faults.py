"""Every fault of docs/development/faults.md names tests, and every test that it names exists."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (R\d\d) \|", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
FAULTS = (ROOT / "docs" / "development" / "faults.md").read_text()
ALL = {f"R{number:02d}" for number in range(1, 35)}


@functools.cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_fault_has_a_row_with_a_test():
    rows = {line[2:5]: TEST.findall(line) for line in FAULTS.splitlines() if ROW.match(line)}
    assert set(rows) == ALL
    assert [fault for fault, named in rows.items() if not named] == []


def test_every_test_that_is_named_exists():
    named = TEST.findall(FAULTS)
    assert [f"{path}::{name}" for path, name in named if name not in functions_of(path)] == []
