"""`backprop ollama`: the models that the Ollama server holds. OLLAMA_HOST names another server."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.root import command

AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="Models in Ollama: list, register, remove.", no_args_is_help=True)
    command(group, "list")(list_models)
    command(group, "register")(register)
    command(group, "rm")(remove)
    app.add_typer(group, name="ollama")


def list_models(as_json: AS_JSON = False) -> None:
    """List the models that Ollama holds."""
    from backprop_core import units
    from backprop_core.services import ollama
    from backpropagate.cli.render import put_json, table, talk

    models = ollama.list_models()
    if as_json:
        put_json("models", [dataclasses.asdict(model) for model in models])
    elif models:
        rows = [
            [model.name, units.file_size(model.size_bytes), model.digest[:12], model.modified_at[:19]]
            for model in models
        ]
        table(("NAME", "SIZE", "DIGEST", "CHANGED"), rows, numbers=("SIZE",))
    else:
        talk("Ollama holds no models")


def register(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A GGUF file, or a folder that --format ollama-adapter made."),
    ],
    name: Annotated[str, typer.Option("--name", help="The model's name in Ollama.", show_default=False)],
    force: Annotated[
        bool, typer.Option("--force", help="Also a file whose proof is red.", show_default=False)
    ] = False,
    as_json: AS_JSON = False,
) -> None:
    """Register an exported file with Ollama and hear it answer."""
    from backprop_core.services import ollama
    from backpropagate.cli.render import put, put_json, talk
    from backpropagate.cli.transfer import transfer_progress

    with transfer_progress(name) as progress:
        made = ollama.register(path, name, progress=progress, force=force)
    for warning in made.warnings:
        talk(f"warning: {warning}")
    if as_json:
        put_json("registration", dataclasses.asdict(made))
        return
    put(f"ollama run {made.name}")


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model's name in Ollama.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AS_JSON = False,
) -> int:
    """Remove a model from Ollama. Exported files stay."""
    from backprop_core.services import ollama
    from backpropagate.cli.render import put_json, talk

    if not yes and not typer.confirm(f"Remove {name} from Ollama?", err=True):
        talk("nothing was removed")
        return ExitCode.USER
    ollama.remove(name)
    if as_json:
        put_json("removed", name)
    talk(f"{name} was removed from Ollama")
    return ExitCode.OK
