"""The fields of sampling as options of a command, read from their one declaration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import typer

from backprop_core.config.chats import Sampling

if TYPE_CHECKING:
    from backprop_core.services.chats import Asked

_PANEL: Final = "Sampling"
_TYPES: Final[dict[str, Any]] = {
    "temperature": float | None,
    "top_p": float | None,
    "top_k": int | None,
    "repetition_penalty": float | None,
    "max_tokens": int | None,
    "seed": int | None,
    "stop": list[str] | None,
}


def with_sampling(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the fields of sampling as options; they arrive in its `**sampling`, None when not given."""
    signature = inspect.signature(function, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [_parameter(name) for name in _TYPES]
    function.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    return function


def asked(prompt: str, system: str | None, thinking: bool, sampling: Mapping[str, Any]) -> Asked:
    """Return the question of a command line.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, a value is outside its range.
    """
    from backprop_core.config.chats import ChatMessage
    from backprop_core.services.chats import Asked, sampling_of

    given = {name: value for name, value in sampling.items() if value is not None and value != []}
    turns = [ChatMessage(role="system", content=system)] if system else []
    return Asked([*turns, ChatMessage(role="user", content=prompt)], sampling_of(given), thinking)


def _parameter(name: str) -> inspect.Parameter:
    field = Sampling.model_fields[name]
    default = "" if field.default == () else f" Default: {field.default}."
    option = typer.Option(
        None,
        f"--{name.replace('_', '-')}",
        help=f"{field.description}{' May repeat.' if name == 'stop' else ''}{default}",
        metavar="TEXT" if name == "stop" else "NUMBER",
        show_default=False,
        rich_help_panel=_PANEL,
    )
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=_TYPES[name])
