"""Options that every command takes, before or after its name, and how a command is registered."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from backpropagate.cli.logs import configure_logging

_PANEL: Final = "Everywhere"

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
Format = Literal["console", "json"]

VERBOSE = Annotated[
    bool, typer.Option("--verbose", help="Show the traceback of a failure.", rich_help_panel=_PANEL)
]
LOG_LEVEL = Annotated[
    Level | None,
    typer.Option(
        "--log-level", case_sensitive=False, help="Least level that is logged.", rich_help_panel=_PANEL
    ),
]
LOG_FORMAT = Annotated[
    Format | None, typer.Option("--log-format", help="How log lines look.", rich_help_panel=_PANEL)
]
LOG_FILE = Annotated[
    Path | None,
    typer.Option("--log-file", dir_okay=False, help="Also log to this file.", rich_help_panel=_PANEL),
]

_OPTIONS: Final[dict[str, tuple[Any, Any]]] = {
    "verbose": (VERBOSE, False),
    "log_level": (LOG_LEVEL, None),
    "log_format": (LOG_FORMAT, None),
    "log_file": (LOG_FILE, None),
}


@dataclass
class RootOptions:
    """What was asked for on the whole command line; the command's own place wins over the root's."""

    verbose: bool = False
    log_level: Level | None = None
    log_format: Format | None = None
    log_file: Path | None = None

    def take(self, values: dict[str, Any]) -> None:
        """Take over the options that were given and set up logging with them."""
        self.verbose = self.verbose or bool(values["verbose"])
        for name in ("log_level", "log_format", "log_file"):
            if values[name] is not None:
                setattr(self, name, values[name])
        configure_logging(level=self.log_level, is_json=self.is_json, file=self.log_file)

    @property
    def is_json(self) -> bool | None:
        """Whether log lines are JSON; None when the settings decide."""
        return None if self.log_format is None else self.log_format == "json"


def command(
    app: typer.Typer, name: str, *, alias: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the command `name`, with the root options added to its own.

    Args:
        alias: a second name that works but is not listed.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = _with_root_options(function)
        app.command(name)(wrapped)
        if alias is not None:
            app.command(alias, hidden=True)(wrapped)
        return function

    return register


def _with_root_options(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def wrapper(root_context: typer.Context, **values: Any) -> Any:
        given = {name: values.pop(name) for name in _OPTIONS}
        root_context.obj.take(given)
        return function(**values)

    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _OPTIONS.items()
    ]
    context = inspect.Parameter(
        "root_context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in signature.parameters.values()
    ]
    wrapper.__signature__ = inspect.Signature([context, *own, *added])  # type: ignore[attr-defined]
    return wrapper
