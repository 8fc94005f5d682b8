"""The generated references say what the program says now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load_generator():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "settings.md", "errors.md", "events.md"])
def test_a_reference_is_what_make_docs_would_write(name):
    documents = {path.name: (path, text) for path, text in load_generator().documents().items()}
    path, text = documents[name]
    assert path.read_text() == text, "run `make docs`"


def test_there_are_four_generated_references():
    assert sorted(path.name for path in load_generator().documents()) == [
        "cli.md",
        "errors.md",
        "events.md",
        "settings.md",
    ]
