"""`backprop config`: what holds now and why, and single values of `config.toml`."""

from __future__ import annotations

from typing import Annotated

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.root import command

KEY = Annotated[str, typer.Argument(metavar="KEY", help="Name of the setting, for example training.steps.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(help="Settings with their origins, and the file config.toml.", no_args_is_help=True)
    command(group, "show")(show)
    command(group, "set")(set_value)
    command(group, "reset")(reset)
    app.add_typer(group, name="config")


def show(
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not a default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Show every setting with its value and where that came from."""
    from backprop_core.services.configuration import list_settings
    from backpropagate.cli.render import put_json, shown, table

    rows = [row for row in list_settings() if not changed or row.origin.source != "default"]
    if as_json:
        values = [
            {
                "key": r.key,
                "value": r.value,
                "origin": r.origin.source,
                "note": r.origin.note,
                "variable": r.variable,
            }
            for r in rows
        ]
        put_json("settings", values)
        return
    cells = [[row.key, shown(row.value), _origin(row.origin.source, row.origin.note)] for row in rows]
    table(("SETTING", "VALUE", "ORIGIN"), cells)


def set_value(
    key: KEY, value: Annotated[str, typer.Argument(metavar="VALUE", help="The new value.")]
) -> None:
    """Set a value in config.toml; other lines and comments stay as they are."""
    from backprop_core.services.configuration import change_setting
    from backpropagate.cli.render import talk

    talk(f"{key} is {change_setting(key, value)} now")


def reset(
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Name of the setting.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Rename config.toml, so that every default holds again.")
    ] = False,
) -> int:
    """Take a value out of config.toml, so that the default holds again."""
    from datetime import datetime

    from backprop_core.errors import InputError
    from backprop_core.services.configuration import reset_setting, set_config_aside
    from backpropagate.cli.render import talk

    if everything == (key is not None):
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            "Name one setting, or give --all.",
            hint="`backprop config show --changed` lists what is set.",
        )
    if key is not None:
        talk(f"{key} was reset" if reset_setting(key) else f"{key} was not in config.toml")
        return ExitCode.OK
    aside = set_config_aside(datetime.now().astimezone().strftime("%Y%m%d-%H%M%S"))
    talk(f"the old file is {aside}" if aside else "there is no config.toml")
    return ExitCode.OK


def _origin(source: str, note: str) -> str:
    return note if note.startswith(source) else f"{source}  {note}".rstrip()
