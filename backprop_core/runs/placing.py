"""Puts a finished folder in its place: written beside its final name and swapped in by a rename."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from backprop_core import platform
from backprop_core.runs.store import check_publish_target


def staging(target: Path) -> Path:
    """Return a fresh folder beside `target`; a leftover of it is safe to delete."""
    staged = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    staged.mkdir(mode=0o700, parents=True)
    return staged


def swap_in(staged: Path, target: Path) -> None:
    """Rename `staged` to `target`; what was there comes back when the rename fails."""
    if not target.exists():
        platform.replace(staged, target)
        platform.sync_directory(target.parent)
        return
    old = target.with_name(f"{target.name}.{secrets.token_hex(4)}.old.partial")
    platform.replace(target, old)
    try:
        platform.replace(staged, target)
    except OSError:
        platform.replace(old, target)
        raise
    platform.sync_directory(target.parent)
    shutil.rmtree(old)


def place_copy(source: Path, target: Path) -> None:
    """Put a copy of the folder `source` in the place of `target`."""
    staged = staging(target)
    shutil.copytree(source, staged, dirs_exist_ok=True)
    swap_in(staged, target)


def publish(source: Path, target: Path) -> None:
    """Put a copy of `source` in the place of `target`, which the user may have named.

    Raises:
        InputError: INPUT_OUTPUT_DIR_NOT_OURS when `target` holds files that no run wrote.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    check_publish_target(target)
    place_copy(source, target)
