"""Every variable and every code as rows, for `backprop info` and the generated documents."""

from __future__ import annotations

from dataclasses import dataclass

from backprop_core.config.campaigns import campaign_fields
from backprop_core.config.schema import ENV_PREFIX, train_fields
from backprop_core.config.settings import Settings
from backprop_core.errors import CATALOGUE
from backpropagate.cli.options import default_text


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable."""

    name: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Code:
    """One error code with what it means and what helps."""

    code: str
    exit_code: int
    is_retryable: bool
    cause: str
    hint: str


def environment_variables() -> list[Variable]:
    """Return every variable: those of a run and a campaign first, then those of the installation."""
    fields = (*train_fields(), *campaign_fields())
    run = [Variable(field.env, default_text(field) or "–", field.description) for field in fields]
    installation = [
        Variable(f"{ENV_PREFIX}{name}".upper(), _setting_default(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return [*run, *installation]


def error_codes() -> list[Code]:
    """Return the catalogue in its order."""
    return [
        Code(code, int(kind.exit_code), kind.retryable, kind.cause, kind.hint)
        for code, kind in CATALOGUE.items()
    ]


def _setting_default(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
