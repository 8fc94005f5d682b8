"""The commands and the Python of the README exist and parse."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer

from backpropagate.cli.main import build_app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def command_lines() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("backprop ")]


def make_verbs() -> list[str]:
    return re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)


def test_the_readme_shows_commands_python_and_make_verbs():
    assert len(command_lines()) >= 5
    assert len(blocks("python")) >= 1
    assert {"run", "test"} <= set(make_verbs())


@pytest.mark.parametrize("line", command_lines())
def test_a_command_of_the_readme_parses(line):
    command = typer.main.get_command(build_app())
    _, *words = shlex.split(line)
    parent = command.make_context("backprop", [], resilient_parsing=True)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    # A value that is missing or an option that does not exist is a usage error here.
    with command.make_context(command.name, words, parent=parent) as context:
        assert context.command.name in line


@pytest.mark.parametrize("line", command_lines())
def test_a_file_that_a_command_of_the_readme_names_is_there(line):
    for word in shlex.split(line):
        if word.startswith("examples/"):
            assert (ROOT / word).is_file()


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_of_the_readme_compiles_and_its_names_exist(block):
    import backpropagate

    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module == "backpropagate":
            assert [alias.name for alias in node.names if not hasattr(backpropagate, alias.name)] == []


@pytest.mark.parametrize("verb", make_verbs())
def test_a_make_verb_of_the_readme_exists(verb):
    assert re.search(rf"^{verb}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("target", re.findall(r"\]\(([a-z][^):#]*)\)", README))
def test_a_link_of_the_readme_leads_to_a_file(target):
    assert (ROOT / target).exists()
