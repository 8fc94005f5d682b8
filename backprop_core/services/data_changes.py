"""New data files of the web app: versions made by an operation, and rows that were pasted.

Everything is written below the sandbox's `datasets/` under a new name; no file is changed or replaced.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, get_args

from backprop_core.datasets.operations import (
    OPERATIONS,
    Convert,
    Operation,
    Split,
    operation_from,
)
from backprop_core.datasets.readers import read_rows
from backprop_core.datasets.report import inspect_structure
from backprop_core.datasets.rows import RawRow
from backprop_core.datasets.versions import (
    Version,
    apply,
    list_versions,
    next_version,
    read_recipe,
    version_number,
)
from backprop_core.datasets.write_rows import OutputFormat
from backprop_core.errors import BackpropagateError, InputError, StateError
from backprop_core.platform import FileLock
from backprop_core.sandbox import check_segment
from backprop_core.services.data_files import check_readable, list_data_files
from backprop_core.services.room import require_room
from backprop_core.workspace import Workspace

FOLDER: Final = "datasets"
PASTED_CHARS: Final = 100_000
COLUMN_FIELDS: Final = ("prompt", "completion", "system", "text", "chat")

_MAX_STEM: Final = 60
_MAX_VALUE: Final = 1000
_LISTED: Final = 500
_SHOWN_COLUMNS: Final = 200
_WAIT_S: Final = 600.0
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "order": ("short_first", "long_first"),
    "part": ("train", "heldout"),
    "to": get_args(OutputFormat),
}


def operation_of(name: str, form: Mapping[str, str]) -> Operation:
    """Build the operation that a form describes; an empty field keeps its default.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, naming the field and its value.
    """
    kind = OPERATIONS.get(name)
    defaults = {item.name: item.default for item in fields(kind)} if kind else {}
    given = {
        key: _value(key, str(text).strip(), defaults.get(key))
        for key, text in form.items()
        if str(text).strip()
    }
    return operation_from(name, given)


def _value(key: str, text: str, default: object) -> Any:
    """Return the value of a field; its kind is that of its default, and a number where that is None."""
    if len(text) > _MAX_VALUE:
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"{_words(key)} is longer than {_MAX_VALUE:,} characters."
        )
    if key in _WORDS:
        if text not in _WORDS[key]:
            raise InputError("INPUT_VALIDATION_FAILED", f"{text[:60]!r} is none of {', '.join(_WORDS[key])}.")
        return text
    if isinstance(default, bool):
        return text in {"on", "true", "yes"}
    if isinstance(default, str):
        return text
    number: Callable[[str], float] = float if isinstance(default, float) else int
    try:
        return number(text.replace(",", ""))
    except ValueError as error:
        what = "a number" if number is float else "a whole number"
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"{_words(key)} is {text[:60]!r}; it must be {what}."
        ) from error


def _words(key: str) -> str:
    return key.replace("_", " ").capitalize()


def make_versions(ws: Workspace, source: Path, operation: Operation) -> tuple[Version, ...]:
    """Run an operation on a file and keep the result as its next version; a split makes two.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE.
        InputError: the file cannot be read, or no row is left.
        DependencyError: DEP_EXTRA_MISSING.
        RunError: RUNTIME_DISK_FULL.
    """
    check_readable(ws, source)
    _folder(ws)
    size = source.stat().st_size if source.exists() else 0
    room = require_room(ws, size, "The new version")
    suffix = ".csv" if isinstance(operation, Convert) and operation.to == "csv" else ".jsonl"
    parts: list[Operation] = [operation]
    if isinstance(operation, Split):
        parts = [replace(operation, part="train"), replace(operation, part="heldout")]
    lock = FileLock(ws.home / "datasets.lock")
    if not lock.acquire(wait_s=_WAIT_S):
        raise StateError(
            "STATE_RUN_LOCKED", "Another version is being made.", hint="Try again when it is done."
        )
    try:
        return tuple(_apply(ws, part, source, suffix, room) for part in parts)
    finally:
        lock.release()


def _apply(ws: Workspace, operation: Operation, source: Path, suffix: str, room: int) -> Version:
    with ws.sandbox.held(FOLDER) as folder:
        name = next_version(Path(f"{stem_of(source)}.jsonl"), folder, suffix).name
        made = apply(operation, source, folder / check_segment(name), now=_now(ws), room_bytes=room)
    return replace(made, path=ws.sandbox.path(FOLDER, name))


def versions_of(ws: Workspace, path: Path) -> tuple[Version, ...]:
    """Return the versions of a file, oldest first; the first is the file that was never changed.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE.
    """
    check_readable(ws, path)
    folder = _folder(ws)
    stem = stem_of(path)
    made = [found for found in list_versions(Path(f"{stem}.jsonl"), folder) if found.number > 1]
    if version_number(_bare(path)) == 1:
        return (Version(path, 1, None), *made)
    sources = {found.recipe.source for found in made if found.recipe is not None}
    originals = [
        Version(found, 1, None)
        for found in list_data_files(ws, _LISTED)
        if version_number(_bare(found)) == 1 and stem_of(found) == stem and found.name in sources
    ]
    return (*originals[:1], *made)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a file, and which of them were last named by hand for a file with the same ones."""

    names: tuple[str, ...] = ()
    remembered: Mapping[str, str] = field(default_factory=dict)


def columns_of(ws: Workspace, path: Path) -> Columns:
    """Return the columns of the first row that is one.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE.
        InputError: the file cannot be read.
    """
    check_readable(ws, path)
    first = next((row for row in read_rows(path) if isinstance(row, RawRow)), None)
    names = tuple(str(name) for name in first.value)[:_SHOWN_COLUMNS] if first is not None else ()
    return Columns(names, _remembered(ws, frozenset(names)))


def _remembered(ws: Workspace, names: frozenset[str]) -> dict[str, str]:
    """Return the columns of the newest recipe that named some, when this file has all of them."""
    folder = _folder(ws)
    for path in sorted(folder.glob("*.recipe.json"), key=lambda path: -path.stat().st_mtime)[:_LISTED]:
        recipe = read_recipe(path.with_name(path.name.replace(".recipe.json", ".jsonl")))
        if recipe is None or recipe.operation != Convert.name:
            continue
        named = {key: str(recipe.parameters.get(key) or "") for key in COLUMN_FIELDS}
        chosen = {key: name for key, name in named.items() if name}
        if chosen and names.issuperset(chosen.values()):
            return chosen
    return {}


def save_pasted(ws: Workspace, name: str, text: str) -> Path:
    """Keep pasted rows as a new data file and return where it lies.

    Args:
        name: what to call it; may be empty.
        text: JSON lines, a JSON array, or plain text.

    Raises:
        InputError: nothing or too much was pasted, or no row of it can be used.
    """
    if not text.strip():
        raise InputError(
            "INPUT_DATASET_INVALID", "Nothing was pasted.", hint="Paste one JSON object per line."
        )
    if len(text) > PASTED_CHARS:
        raise InputError(
            "INPUT_DATASET_INVALID",
            f"{len(text):,} characters are more than the {PASTED_CHARS:,} that can be pasted.",
            hint="Upload them as a file.",
        )
    suffix = {"{": ".jsonl", "[": ".json"}.get(text.lstrip()[0], ".txt")
    file = f"{_safe(name.removesuffix(suffix)) or 'pasted'}-{secrets.token_hex(2)}{suffix}"
    _folder(ws)
    require_room(ws, len(text.encode()), "The pasted text")
    with ws.sandbox.create(FOLDER, file) as stream:
        stream.write(text.encode())
    path = ws.sandbox.path(FOLDER, file)
    try:
        inspect_structure(path)
    except BackpropagateError:
        ws.sandbox.remove(FOLDER, file)
        raise
    return path


def stem_of(path: Path) -> str:
    """Return the name that a file shares with its versions, safe on every system."""
    bare = _bare(path)
    found = re.fullmatch(r"(.+)\.v[1-9][0-9]{0,5}", bare.stem)
    return _safe(found[1] if found else bare.stem) or "data"


def _bare(path: Path) -> Path:
    """Return the name without the ending of a compressed file."""
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name)


def _safe(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:_MAX_STEM]


def _folder(ws: Workspace) -> Path:
    """Return the folder of versions, made when needed; a link in its place is refused."""
    ws.sandbox.prepare()
    return ws.sandbox.path(FOLDER)


def _now(ws: Workspace) -> datetime:
    return ws.clock.now().astimezone()
