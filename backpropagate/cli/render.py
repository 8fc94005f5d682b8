"""Draws what commands say: tables, bars, JSON. Data goes to standard output, talk to standard error.

Nothing is said by colour alone; NO_COLOR and pipes give plain text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

SCHEMA_VERSION: Final = 1

_BAR_WIDTH: Final = 24
_STYLES: Final = {
    "completed": "green",
    "running": "cyan",
    "starting": "cyan",
    "paused": "yellow",
    "stopped": "yellow",
    "failed": "red",
    "interrupted": "red",
}


def console(*, stderr: bool = False) -> Console:
    """Return the terminal of standard output or error as it is now."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def talk(line: str, *, style: str = "") -> None:
    """Print a line for the user on standard error."""
    console(stderr=True).print(Text(line, style=style))


def put(line: str = "") -> None:
    """Print a line of data on standard output."""
    console().print(Text(line))


def put_json(kind: str, value: Any) -> None:
    """Print `value` under the name `kind` as JSON with its schema version."""
    document = {"schema_version": SCHEMA_VERSION, kind: value}
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[str] = ()) -> None:
    """Print aligned columns; on a pipe no cell is ever cut or wrapped.

    Args:
        numbers: names of the columns that are aligned to the right.
    """
    out, cells = console(), [list(row) for row in rows]
    if not out.is_terminal:
        for line in _plain_table([list(columns), *cells], [column in numbers for column in columns]):
            put(line)
        return
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        drawn.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    out.print(drawn, soft_wrap=False)


def _plain_table(rows: Sequence[Sequence[str]], is_number: Sequence[bool]) -> list[str]:
    widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [
            " " * (width - cell_len(cell)) + cell if right else cell + " " * (width - cell_len(cell))
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def pairs(values: Mapping[str, str]) -> None:
    """Print names and values, one pair in a line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        put(f"{name:<{width}}  {value}".rstrip())


def shown(value: object) -> str:
    """Return a setting's value as a user would type it; a dash for none."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def bar(share: float, width: int = _BAR_WIDTH) -> str:
    """Return a bar of `width` cells that is full to `share`, 0 to 1."""
    filled = round(max(0.0, min(1.0, share)) * width)
    return "█" * filled + "░" * (width - filled)
