"""Every code that the source raises is in the catalogue, and every entry is documented."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from backprop_core.errors import CATALOGUE

ROOT = Path(__file__).parents[2]
PACKAGES = ("backprop_core", "backprop_app", "backpropagate")
# The second argument of a problem at a field is a code too.
RAISERS = {
    "BackpropagateError",
    "InputError",
    "ConfigError",
    "DependencyError",
    "StateError",
    "RunError",
    "InternalError",
}


def sources() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(found) > 100
    return found


def raised_codes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        position = 0 if name in RAISERS else 1 if name == "FieldProblem" else None
        if (
            position is not None
            and len(node.args) > position
            and isinstance(node.args[position], ast.Constant)
        ):
            yield str(node.args[position].value)


def test_every_code_that_is_raised_is_in_the_catalogue():
    raised = {code: path for path in sources() for code in raised_codes(ast.parse(path.read_text()))}
    assert len(raised) > 20
    assert {code: str(path) for code, path in raised.items() if code not in CATALOGUE} == {}


def test_every_entry_is_documented():
    text = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert [code for code in CATALOGUE if f"\n## {code}\n" not in text] == []


def test_every_entry_is_a_sentence_with_a_next_step():
    for code, kind in CATALOGUE.items():
        assert kind.cause.endswith("."), code
        assert kind.hint.endswith("."), code
