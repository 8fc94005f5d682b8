"""Changes single values of `config.toml` and leaves every other line, comments included, as it is. Pure."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from backprop_core.errors import ConfigError

Value = str | int | float | bool

_HEADER: Final = re.compile(r"\s*\[\s*([A-Za-z0-9_.-]+)\s*\]\s*(#.*)?$")


def set_value(text: str, key: str, value: Value) -> str:
    """Return the file's text with `key` set.

    Args:
        key: `section.name`, or a bare name for the top of the file.

    Raises:
        ConfigError: CONFIG_INVALID when the line cannot be changed safely.
    """
    section, name = _split(key)
    lines = _lines(text)
    line = f"{name} = {_literal(value)}"
    start, end = _region(lines, section)
    if start is None:
        block = [f"[{section}]", line]
        changed = [*lines, *([""] if lines else []), *block]
    else:
        at = _find(lines, start, end, name)
        changed = [*lines[:at], line, *lines[at + 1 :]] if at is not None else _insert(lines, end, line)
    return _checked(text, changed, section, name, value)


def remove_value(text: str, key: str) -> str:
    """Return the file's text without `key`; unchanged when it is not there.

    Raises:
        ConfigError: CONFIG_INVALID when the line cannot be removed safely.
    """
    section, name = _split(key)
    lines = _lines(text)
    start, end = _region(lines, section)
    at = _find(lines, start, end, name) if start is not None else None
    if at is None:
        return text
    return _checked(text, [*lines[:at], *lines[at + 1 :]], section, name, None)


def _lines(text: str) -> list[str]:
    # Not `splitlines`: it also splits at characters that may stand inside a TOML string.
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _split(key: str) -> tuple[str, str]:
    section, _, name = key.rpartition(".")
    return section, name


def _region(lines: list[str], section: str) -> tuple[int | None, int]:
    """Return the first line after the header of `section` and the line where it ends."""
    start = 0 if not section else None
    for number, line in enumerate(lines):
        header = _HEADER.match(line)
        if header is None:
            continue
        if start is not None:
            return start, number
        if header[1] == section:
            start = number + 1
    return start, len(lines)


def _find(lines: list[str], start: int, end: int, name: str) -> int | None:
    pattern = re.compile(rf"\s*{re.escape(name)}\s*=")
    return next((number for number in range(start, end) if pattern.match(lines[number])), None)


def _insert(lines: list[str], end: int, line: str) -> list[str]:
    while end > 0 and not lines[end - 1].strip():
        end -= 1
    # The first value at the top of a file keeps a blank line before the table that follows.
    gap = [""] if end == 0 and lines else []
    return [*lines[:end], line, *gap, *lines[end:]]


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # TOML escapes as JSON does, and wants DEL escaped too.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _checked(before: str, lines: list[str], section: str, name: str, value: Value | None) -> str:
    """Return the new text when it says what the old one said but for the one value."""
    text = "\n".join(lines) + "\n" if lines else ""
    wanted = _with(tomllib.loads(before), section, name, value)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        found = {}
    if _without_empty(found) != _without_empty(wanted):
        raise ConfigError(
            "CONFIG_INVALID",
            f"The line of {name} in config.toml cannot be changed by itself.",
            hint="It spans several lines or is written as part of another value; edit the file by hand.",
        )
    return text


def _with(tables: Mapping[str, Any], section: str, name: str, value: Value | None) -> dict[str, Any]:
    changed = dict(tables)
    table = dict(changed.get(section, {})) if section else changed
    if value is None:
        table.pop(name, None)
    else:
        table[name] = value
    if section:
        changed[section] = table
    return changed


def _without_empty(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tables.items() if value != {}}
