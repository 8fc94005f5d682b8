"""The schema as options of a command: the one place where a field becomes a flag.

A value reaches the schema as the text that was typed, so that its range is checked, and refused with
code and hint, in one place for all faces.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import typer

from backprop_core import units
from backprop_core.config.campaigns import campaign_fields
from backprop_core.config.schema import SchemaField, train_field, train_fields

_PANELS: Final = {
    "model": "Model",
    "training": "Training",
    "lora": "LoRA",
    "run": "Run",
    "multi_run": "Campaign",
}
_METAVARS: Final = {"text": "TEXT", "int": "NUMBER", "float": "NUMBER"}
_PATHS: Final = {"dataset": "FILE", "output_dir": "FOLDER"}


def with_schema(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every field of a run as an option.

    The function's own parameters come first; the fields arrive in its `**fields`, by field name, None
    when not given.
    """
    return with_fields(*(field.name for field in train_fields()))(function)


def with_campaign(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every field of a run but its data, and every option of a campaign, as options."""
    train = [field for field in train_fields() if field.name != "dataset"]
    return _with(*train, *campaign_fields())(function)


def with_fields(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command the fields called `names`, as `with_schema` gives all."""
    return _with(*map(train_field, names))


def _with(*fields: SchemaField) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        options = [_parameter(field) for field in fields]
        function.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        return function

    return decorate


def given_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def flags_of(field: SchemaField) -> tuple[str, ...]:
    """Return the option's names as they are declared: `--use-dora/--no-use-dora`, `-m`."""
    flag = field.flag
    if field.kind == "bool" and "/" not in flag:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    return (flag, field.short) if field.short else (flag,)


def help_of(field: SchemaField) -> str:
    """Return what the option does, its range and its default."""
    parts = [field.description]
    if field.limits:
        words = f", or {' or '.join(field.choices)}" if field.choices else ""
        parts.append(f"Takes {field.limits}{words}.")
    if (default := default_text(field)) is not None:
        parts.append(f"Default: {default}.")
    return " ".join(parts)


def default_text(field: SchemaField) -> str | None:
    """Return the default as a user would type it; None when the field has none."""
    if field.default is None or field.default == "":
        return None
    if field.kind == "bool":
        return "on" if field.default else "off"
    if isinstance(field.default, float):
        return units.rate(field.default) if field.default < 1e-3 else f"{field.default:g}"
    return str(field.default)


def _parameter(field: SchemaField) -> inspect.Parameter:
    option = typer.Option(
        None,
        *flags_of(field),
        help=help_of(field),
        metavar=None if field.kind == "bool" else _metavar(field),
        show_default=False,
        rich_help_panel=_PANELS[field.section],
        autocompletion=_completion(field.choices) if field.choices else None,
    )
    annotation = bool | None if field.kind == "bool" else str | None
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=annotation
    )


def _metavar(field: SchemaField) -> str:
    if field.kind == "choice":
        return "|".join(field.choices)
    return _PATHS.get(field.name, _METAVARS[field.kind])


def _completion(choices: Iterable[str]) -> Callable[[str], list[str]]:
    words = list(choices)

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete
