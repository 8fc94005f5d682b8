"""Checks the arguments of every handler before it runs: whoever holds a socket can call any of them.

Names and types come from the handler's own signature, so that a new handler is checked from its first day.
What a value means is the handler's business.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

import reflex as rx
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from reflex.event import Event
from reflex.state import BaseState, StateUpdate
from reflex_base.registry import RegistrationContext
from reflex_base.utils.form import form_data_as_dict

from backprop_app.states.shell import ShellState

MAX_TEXT_CHARS: Final = 100_000
# Reflex gives every State this handler; the page uses handlers of its own.
_NEVER: Final = "setvar"
_MAX_EXACT_INT: Final = 2**53
# Number fields of the browser give numbers to handlers that keep text.
_CONFIG: Final = ConfigDict(
    allow_inf_nan=False,
    coerce_numbers_to_str=True,
    str_max_length=MAX_TEXT_CHARS,
    arbitrary_types_allowed=True,
)


class CheckedArguments(rx.Middleware):
    """Answers a call with wrong arguments itself, with a code, and leaves the state as it is."""

    async def preprocess(self, app: rx.App, state: BaseState, event: Event) -> StateUpdate | None:
        """Check one call; return the answer when it must not run."""
        registered = RegistrationContext.get().event_handlers.get(event.name)
        if registered is None:
            return None
        try:
            if event.name.rpartition(".")[2] == _NEVER:
                raise ValueError("nothing sets a variable by its name")
            checked = check_arguments(registered.handler.fn, event.payload)
        except ValueError as error:
            toast = ShellState.show_toast(
                "That was not understood", f"INPUT_VALIDATION_FAILED: {error}", "danger"
            )
            return StateUpdate(events=Event.from_event_type(toast))
        event.payload.clear()
        event.payload.update(checked)
        return None


def check_arguments(handler: Callable[..., Any], payload: object) -> dict[str, Any]:
    """Return the arguments of a call in the types that `handler` declares.

    Args:
        handler: a function of a State; its first parameter is the state.
        payload: arguments by name, as they came from outside.

    Raises:
        ValueError: a name is missing or unknown, or a value is of another type, too large or not finite.
    """
    if not isinstance(payload, Mapping):
        raise ValueError("the arguments have no names")
    expected = _expected(handler)
    for name in payload:
        if name not in expected:
            raise ValueError(f"there is no argument {str(name)[:40]}")
    checked = {}
    for name, (adapter, is_required) in expected.items():
        if name in payload:
            checked[name] = _checked(name, adapter, _unwrapped(name, payload[name]))
        elif is_required:
            raise ValueError(f"the argument {name} is missing")
    return checked


def _unwrapped(name: str, value: object) -> object:
    """Return the fields of a submitted form, which the browser sends as pairs under one key."""
    try:
        return form_data_as_dict(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no form") from error


def _checked(name: str, adapter: TypeAdapter[Any] | None, value: object) -> Any:
    _require_sane(name, value)
    if adapter is None:
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{name}: {error.errors()[0]['msg']}") from error


def _require_sane(name: str, value: object) -> None:
    """Refuse values that a page never sends, however deep they lie; the size of a message has its own cap."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float) and not -1e300 < item < 1e300:
            raise ValueError(f"{name} is no finite number")
        if isinstance(item, int) and abs(item) > _MAX_EXACT_INT:
            raise ValueError(f"{name} is out of range")
        if isinstance(item, str) and (len(item) > MAX_TEXT_CHARS or "\0" in item):
            raise ValueError(f"{name} is too long or holds a NUL")
        if isinstance(item, Mapping):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)


@functools.cache
def _expected(handler: Callable[..., Any]) -> dict[str, tuple[TypeAdapter[Any] | None, bool]]:
    """Return what checks each argument, and whether it must be there."""
    hints = typing.get_type_hints(handler)
    parameters = list(inspect.signature(handler).parameters.values())[1:]
    return {
        parameter.name: (_adapter(hints.get(parameter.name, Any)), parameter.default is parameter.empty)
        for parameter in parameters
    }


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    """Return the check of a type; a type that checks itself takes no configuration."""
    if hint is Any:
        return None
    try:
        return TypeAdapter(hint, config=_CONFIG)
    except PydanticUserError:
        return TypeAdapter(hint)
