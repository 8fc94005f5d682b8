"""Whatever starts, stops, deletes or exports on the page is in the audit log; found in the source of the States."""

from __future__ import annotations

import ast
from pathlib import Path

STATES = Path(__file__).parents[2] / "backprop_app" / "states"
ACTS = {
    "start",
    "stop",
    "cancel",
    "repeat",
    "resume",
    "pause",
    "unpause",
    "delete",
    "remove",
    "export",
    "push",
    "register",
    "restore",
    "purge",
}


def handlers() -> dict[str, ast.AST]:
    """Return every function that is a handler, by file and name."""
    found: dict[str, ast.AST] = {}
    for path in sorted(STATES.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "rx.event" in " ".join(
                ast.unparse(decorator) for decorator in node.decorator_list
            ):
                found[f"{path.stem}.{node.name}"] = node
    return found


def writes(name: str, known: dict[str, ast.AST]) -> bool:
    """Tell whether a handler writes the audit log itself or hands on to one of its file that does."""
    text = ast.unparse(known[name])
    if "audit.note(" in text:
        return True
    file = name.partition(".")[0]
    others = [other for other in known if other.startswith(f"{file}.") and other != name]
    return any(f".{other.partition('.')[2]}(" in text and writes(other, known) for other in others)


def test_every_handler_that_acts_writes_the_audit_log():
    known = handlers()
    acting = [name for name in known if name.rpartition(".")[2] in ACTS]
    assert len(acting) >= 4
    assert [name for name in acting if not writes(name, known)] == []
