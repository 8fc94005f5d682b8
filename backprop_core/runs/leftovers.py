"""Unfinished work that a kill left below a folder of runs: what of it is ours and old enough to go.

Looks only where the product stages its files, follows no link, and removes nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core.runs.store import RUN_ID_PATTERN, RunFolder, list_folders

OLD_S: Final = 24 * 3600.0

_SUFFIX: Final = ".partial"
_STAGED: Final = re.compile(r"(?P<name>.+?)\.[0-9a-f]{8}(?P<old>\.old)?\.partial\Z")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that ends with `.partial`; `reason` says why it stays, empty when it may go."""

    path: Path
    reason: str = ""


def find_leftovers(root: Path, now_s: float) -> Iterator[Leftover]:
    """Yield what lies unfinished below a folder of runs and is not being worked on.

    Args:
        root: the folder that holds runs.
        now_s: the wall time in seconds since 1970, as file times are.
    """
    for path in _partial_in(root):
        is_ours = RUN_ID_PATTERN.match(path.name.removesuffix(_SUFFIX)) is not None
        yield _judge(path, now_s, is_ours=is_ours)
    for folder in list_folders(root):
        if folder.is_worked_on():
            continue
        for path in _places(folder):
            for partial in _partial_in(path):
                yield _judge(partial, now_s, is_ours=_is_staged(partial))


def _places(folder: RunFolder) -> tuple[Path, ...]:
    return (folder.path, folder.checkpoints, folder.exports)


def _partial_in(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIX))


def _is_staged(path: Path) -> bool:
    """Return whether the name is one that staging gives, and nothing is lost with it.

    A folder that was moved aside for its successor stays while there is no successor.
    """
    found = _STAGED.match(path.name)
    return found is not None and (found["old"] is None or path.with_name(found["name"]).exists())


def _judge(path: Path, now_s: float, *, is_ours: bool) -> Leftover:
    if not is_ours or path.is_symlink():
        return Leftover(path, "its name is none that Backpropagate gives to work that may be lost")
    if now_s - _newest_change(path) < OLD_S:
        return Leftover(path, "it is younger than a day")
    return Leftover(path)


def _newest_change(path: Path) -> float:
    return max(found.lstat().st_mtime for found in (path, *path.rglob("*")))
