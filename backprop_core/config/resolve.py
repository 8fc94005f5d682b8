"""Values from all sources made into one spec, with the origin of each value.

Precedence: explicit > flag > environment > config file > default. A preset ranks with the source
that chose it, just below that source's own fields.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from backprop_core.config.schema import SchemaField, train_field, train_fields
from backprop_core.config.specs import PRESETS, TrainSpec
from backprop_core.errors import ConfigError, InputError

Source = Literal["default", "config", "environment", "flag", "explicit", "derived"]

# LoRA learns best at about ten times the rate of full tuning (Schulman et al., "LoRA Without Regret", 2025).
FULL_MODE_LEARNING_RATE: Final = 2e-5

_RANK: Final[dict[Source, int]] = {"default": 0, "config": 1, "environment": 2, "flag": 3, "explicit": 4}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from; `note` names a preset, variable or file."""

    source: Source
    note: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """The values that one source names."""

    source: Source
    values: Mapping[str, Any]
    note: str = ""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """Why a value cannot be used, at its field."""

    field: str
    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A whole spec and where each of its values came from."""

    spec: TrainSpec
    origins: Mapping[str, Origin]


def resolve_train(layers: Iterable[Layer]) -> Resolved:
    """Merge `layers` over the defaults into a spec.

    Raises:
        InputError: INPUT_VALIDATION_FAILED for an unknown name or a value outside its range.
        ConfigError: CONFIG_INVALID_SETTING when the value came from the environment or the file.
    """
    values, origins = _merge(layers)
    try:
        spec = TrainSpec.model_validate(values)
    except ValidationError as error:
        problem = _problem(error.errors()[0], origins)
        cls = ConfigError if problem.code == "CONFIG_INVALID_SETTING" else InputError
        raise cls(problem.code, problem.message, hint=problem.hint, field=problem.field) from error
    return Resolved(spec, origins)


def field_problems(layers: Iterable[Layer]) -> list[FieldProblem]:
    """Return every value that cannot be used, for a form that shows messages at its fields."""
    values, origins = _merge(layers)
    try:
        TrainSpec.model_validate(values)
    except ValidationError as error:
        # A value that fails every member of a union is reported once.
        problems = [_problem(detail, origins) for detail in error.errors()]
        return list({problem.field: problem for problem in problems}.values())
    return []


def environment_layer(environ: Mapping[str, str] | None = None) -> Layer:
    """Return the fields of a run that environment variables set."""
    environ = os.environ if environ is None else environ
    found = {field.name: environ[field.env] for field in train_fields() if field.env in environ}
    return Layer("environment", found, "the environment")


def config_layer(path: Path) -> Layer:
    """Return the fields of a run that `config.toml` sets; a missing file sets none.

    Raises:
        ConfigError: the file is not TOML, or names a setting that does not exist.
    """
    tables = read_config(path)
    names = {(field.section, _config_key(field.name)): field.name for field in train_fields()}
    found = {}
    for section in ("model", "training", "lora", "run"):
        for key, value in tables.get(section, {}).items():
            if (section, key) not in names:
                raise unknown_setting(f"{section}.{key}", [f"{s}.{k}" for s, k in names], str(path))
            found[names[section, key]] = value
    return Layer("config", found, str(path))


def read_config(path: Path) -> dict[str, Any]:
    """Return the tables of `config.toml`, empty when there is no file.

    Raises:
        ConfigError: CONFIG_INVALID when the file is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("CONFIG_INVALID", f"{path} cannot be read: {error}.") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("CONFIG_INVALID", f"{path} is not TOML: {error}.") from error


def unknown_setting(name: str, known: Iterable[str], where: str) -> ConfigError:
    """Return the error for a setting that does not exist, with the nearest one that does."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else None
    return ConfigError("CONFIG_INVALID_SETTING", f"{where} names {name}, which is no setting.", hint=hint)


def by_rank(layers: Iterable[Layer]) -> list[Layer]:
    """Return `layers` with those that win over others last."""
    return sorted(layers, key=lambda layer: _RANK[layer.source])


def _config_key(name: str) -> str:
    env = train_field(name).env
    return env.rpartition("__")[2].lower()


def _merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[str, Origin]]:
    values: dict[str, Any] = {field.name: field.default for field in train_fields()}
    origins = {name: Origin("default") for name in values}
    for layer in by_rank(layers):
        named = {
            name: value for name, value in layer.values.items() if value is not None or name not in values
        }
        preset = named.get("lora_preset")
        if preset in PRESETS:
            values.update(PRESETS[preset])
            origins.update({name: Origin(layer.source, f"preset {preset}") for name in PRESETS[preset]})
        # A source that asks for epochs alone does not also want the default number of steps.
        if "epochs" in named and "steps" not in named:
            values["steps"] = None
            origins["steps"] = Origin(layer.source, "epochs are given")
        values.update(named)
        origins.update({name: Origin(layer.source, layer.note) for name in named})
    if values["mode"] == "full" and origins["learning_rate"].source == "default":
        values["learning_rate"] = FULL_MODE_LEARNING_RATE
        origins["learning_rate"] = Origin("derived", "a tenth of the rate of an adapter")
    return values, origins


def _problem(error: ErrorDetails, origins: Mapping[str, Origin]) -> FieldProblem:
    """Turn one pydantic error into a sentence with the value and the range, and where it came from."""
    name = str(error["loc"][0]) if error["loc"] else "spec"
    known = [field.name for field in train_fields()]
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {nearest[0]}?" if nearest else ""
        return FieldProblem(name, "INPUT_VALIDATION_FAILED", f"{name} is no field of a run.", hint)
    return refused(train_field(name), error["input"], origins[name])


def refused(field: SchemaField, value: object, origin: Origin) -> FieldProblem:
    """Return why `field` cannot have `value`, with its range and where the value came from."""
    allowed = [f"one of {', '.join(field.choices)}"] if field.kind == "choice" else [f"a {_NOUN[field.kind]}"]
    if field.limits:
        allowed.append(field.limits)
    if field.kind != "choice" and field.choices:
        allowed.append(f"or {' or '.join(field.choices)}")
    message = f"{field.label} cannot be {str(value)[:80]!r}."
    hint = f"{field.flag.split('/')[0]} takes {', '.join(allowed)}."
    if origin.source in {"environment", "config"}:
        where = field.env if origin.source == "environment" else origin.note
        return FieldProblem(field.name, "CONFIG_INVALID_SETTING", f"{message} It came from {where}.", hint)
    return FieldProblem(field.name, "INPUT_VALIDATION_FAILED", message, hint)


_NOUN: Final = {"int": "whole number", "float": "number", "text": "text", "bool": "yes or no"}
