"""New versions of a data file, each with the recipe that made it.

`talks.jsonl` becomes `talks.v2.jsonl` beside `talks.v2.recipe.json`. Nothing is overwritten, so
undoing an operation is taking the older version.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from backprop_core import files
from backprop_core.datasets.child import Child, ChildFailed
from backprop_core.datasets.hub_rows import HubSource, hub_lines
from backprop_core.datasets.operations import (
    Convert,
    Filter,
    Operation,
    operation_from,
    parameters_of,
    run,
)
from backprop_core.errors import InputError, RunError, error_from_record

SCHEMA_VERSION: Final = 1
PATIENCE_S: Final = 60.0
_MEMORY_BYTES: Final = 2 << 30
_VERSION: Final = re.compile(r"(?P<stem>.+)\.v(?P<number>[1-9][0-9]{0,5})\Z")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a version came to be.

    Args:
        operation: its name; `parameters` are its values.
        source: name of the file it was made from; `source_sha256` is that file's digest.
        rows: rows of the version; `sha256` is its digest.
        made_at: wall time with its zone.
    """

    operation: str
    parameters: Mapping[str, Any]
    source: str
    source_sha256: str
    rows: int
    sha256: str
    made_at: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a data file; the first has no recipe."""

    path: Path
    number: int
    recipe: Recipe | None


def apply(
    operation: Operation, source: Path, target: Path, *, now: datetime, room_bytes: int | None = None
) -> Version:
    """Run an operation and write its result, whole or not at all.

    Args:
        operation: what to do.
        source: the file to read; it is not changed.
        target: the file to write; must not exist.
        now: the wall time for the recipe.
        room_bytes: the most that may be written; None for no limit.

    Raises:
        InputError: the source cannot be read, the target exists, or no row is left.
        DependencyError: DEP_EXTRA_MISSING.
        RunError: RUNTIME_DISK_FULL, the result is larger than `room_bytes`.
    """
    pieces = _within(room_bytes, _pieces(operation, source))
    rows, digest = _write(target, pieces, f"No row of {source.name!r} is left after {operation.name}.")
    recipe = Recipe(
        operation.name,
        parameters_of(operation),
        source.name,
        files.sha256_of(source),
        rows,
        digest,
        now.isoformat(timespec="seconds"),
    )
    return _keep(recipe, target)


def fetch(
    source: HubSource,
    target: Path,
    *,
    token: str | None = None,
    now: datetime,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Version:
    """Fetch a data set of the hub into a file, whole or not at all.

    Args:
        source: what to fetch.
        target: the JSONL file to write; must not exist.
        token: for gated data sets; it is kept nowhere.
        now: the wall time for the recipe.
        on_rows: told the number of rows that are here; what it raises ends the transfer.

    Raises:
        InputError: as `hub_lines`; the target exists, or the split has no rows.
        DependencyError: DEP_EXTRA_MISSING.
    """

    def pieces() -> Iterator[tuple[bytes, int]]:
        here = 0
        for piece in hub_lines(source, token=token):
            count = piece.count(b"\n")
            here += count
            on_rows(here)
            yield piece, count

    rows, digest = _write(target, pieces(), f"{source.repo!r} has no rows in the split {source.split!r}.")
    recipe = Recipe("fetch", asdict(source), source.repo, "", rows, digest, now.isoformat(timespec="seconds"))
    return _keep(recipe, target)


def _write(target: Path, pieces: Iterable[tuple[bytes, int]], if_empty: str) -> tuple[int, str]:
    """Write the pieces; return the number of rows and the digest."""
    if target.exists() or recipe_path(target).exists():
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"{target.name!r} exists; a version is never overwritten."
        )
    rows = 0
    digest = hashlib.sha256()
    with files.atomic_writer(target) as stream:
        for piece, count in pieces:
            stream.write(piece)
            digest.update(piece)
            rows += count
        if not rows:
            raise InputError("INPUT_DATASET_INVALID", if_empty)
    return rows, digest.hexdigest()


def _within(room_bytes: int | None, pieces: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    """Pass pieces on until they are more than there is room for."""
    written = 0
    for piece, count in pieces:
        written += len(piece)
        if room_bytes is not None and written > room_bytes:
            raise RunError(
                "RUNTIME_DISK_FULL",
                f"The new version is larger than the {room_bytes / 1e9:.1f} GB that may be written.",
            )
        yield piece, count


def _keep(recipe: Recipe, target: Path) -> Version:
    files.write_json(recipe_path(target), asdict(recipe))
    return Version(target, version_number(target), recipe)


def _pieces(operation: Operation, source: Path) -> Iterator[tuple[bytes, int]]:
    """Yield what the operation writes, with the number of rows in each piece."""
    if isinstance(operation, Filter) and (operation.matching or operation.not_matching):
        yield from _in_child(operation, source)
        return
    lines = run(operation, source)
    if isinstance(operation, Convert) and operation.to == "csv":
        yield next(lines), 0
    for line in lines:
        yield line, 1


def _in_child(operation: Operation, source: Path) -> Iterator[tuple[bytes, int]]:
    """Run an operation where it can be killed: a regular expression may take for ever."""
    arguments = [operation.name, orjson.dumps(parameters_of(operation)).decode(), str(source)]
    with Child("operate", arguments, memory_bytes=_MEMORY_BYTES) as child:
        try:
            for piece in child.output(silence_s=PATIENCE_S):
                yield piece, piece.count(b"\n")
        except ChildFailed as failure:
            if failure.word == "error":
                raise error_from_record(orjson.loads(failure.sentence)) from failure
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                "The regular expression takes too long or too much memory on this file; it was stopped.",
                hint="Use a simpler expression, without a repetition inside a repetition.",
            ) from failure


def next_version(source: Path, folder: Path, suffix: str = ".jsonl") -> Path:
    """Return the path of the version after the newest one of `source` in `folder`."""
    stem = _stem(source)
    newest = max((version_number(path) for path in folder.glob("*.v*") if _stem(path) == stem), default=1)
    return folder / f"{stem}.v{newest + 1}{suffix}"


def list_versions(source: Path, folder: Path) -> tuple[Version, ...]:
    """Return every version of a data file in a folder, oldest first."""
    stem = _stem(source)
    paths = [path for path in folder.iterdir() if path.is_file() and _stem(path) == stem]
    data = [path for path in paths if not path.name.endswith(".recipe.json")]
    versions = [Version(path, version_number(path), read_recipe(path)) for path in data]
    return tuple(sorted(versions, key=lambda version: (version.number, version.path.name)))


def read_recipe(path: Path) -> Recipe | None:
    """Return the recipe of a version; None when it has none or it cannot be read."""
    try:
        value = files.read_json(recipe_path(path))
        return Recipe(**value)
    except (OSError, ValueError, TypeError):
        return None


def repeat(recipe: Recipe, source: Path, target: Path, *, now: datetime) -> Version:
    """Follow a recipe once more, for example on a newer source.

    Raises:
        InputError: as `apply`; INPUT_VALIDATION_FAILED when the recipe is not one of ours.
    """
    return apply(operation_from(recipe.operation, recipe.parameters), source, target, now=now)


def recipe_path(path: Path) -> Path:
    """Return where the recipe of a version stands."""
    return path.with_name(f"{path.name.removesuffix(path.suffix)}.recipe.json")


def version_number(path: Path) -> int:
    """Return the number in the name of a version; 1 when it has none."""
    found = _VERSION.match(_bare(path))
    return int(found["number"]) if found else 1


def _stem(path: Path) -> str:
    bare = _bare(path)
    found = _VERSION.match(bare)
    return found["stem"] if found else bare


def _bare(path: Path) -> str:
    return path.name.removesuffix(".recipe.json") if path.name.endswith(".recipe.json") else path.stem
