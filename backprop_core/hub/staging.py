"""A model folder made by one process at a time and seen by others only when it is whole.

The marker file, written last, says what the folder is and how large each file was. It makes the
folder ours: nothing without it is ever removed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from backprop_core import files, platform
from backprop_core.errors import InputError
from backprop_core.hub.records import Progress

MARKER: Final = "backpropagate-model.json"
UNFINISHED: Final = "backpropagate-unfinished.json"
PASSING_SUFFIXES: Final = (".partial", ".removed")
_LOCK_WAIT_S: Final = 0.2


class Marker(BaseModel):
    """What the marker file of a cached model says.

    Attributes:
        id: hub id, or the stem of the GGUF file.
        source: where the model came from.
        revision: commit on the hub, or digest of the file it was made of.
        licence: as the source names it.
        files: size in bytes of each file of the model, by its path inside the folder.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    id: str
    source: Literal["hub", "wheel", "gguf"]
    revision: str | None = None
    licence: str | None = None
    files: dict[str, int]


def read_marker(folder: Path) -> Marker | None:
    """Return the marker of `folder`, None when it has none that can be read."""
    try:
        return Marker.model_validate_json((folder / MARKER).read_bytes())
    except (OSError, ValidationError):
        return None


def is_whole(folder: Path, marker: Marker) -> bool:
    """Return whether every file that `marker` lists is in `folder` with its size."""
    try:
        return all((folder / name).stat().st_size == size for name, size in marker.files.items())
    except OSError:
        return False


def is_ours(folder: Path) -> bool:
    """Return whether `folder` is a model of ours, finished or not; links are not."""
    return not folder.is_symlink() and (read_marker(folder) is not None or (folder / UNFINISHED).is_file())


def unfinished_dir(cache_dir: Path, name: str) -> Path:
    """Return where a long download of the model `name` collects its files until it is whole."""
    return cache_dir / f"{name}.partial"


@contextlib.contextmanager
def exclusive(cache_dir: Path, name: str, progress: Progress) -> Iterator[None]:
    """Hold the right to make the model `name`; wait while another process has it."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    lock = platform.FileLock(cache_dir / f"{name}.lock")
    while not lock.acquire():
        progress(0, None, "waiting")
        time.sleep(_LOCK_WAIT_S)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def staged(cache_dir: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder beside the final one and remove what is left of it afterwards.

    Only the holder of `exclusive` may call this: it also sweeps what killed processes left behind.
    """
    for leftover in cache_dir.glob(f"{name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = cache_dir / f"{name}.{secrets.token_hex(4)}.partial"
    partial.mkdir(mode=0o700)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def publish(
    folder: Path,
    target: Path,
    *,
    model_id: str,
    source: Literal["hub", "wheel", "gguf"],
    revision: str | None,
    licence: str | None,
) -> None:
    """Flush `folder`, write its marker and rename it to `target`, both on one disk.

    A damaged model of ours that stands in the way is removed first.

    Raises:
        InputError: INPUT_OUTPUT_DIR_NOT_OURS when something else stands there.
    """
    if not discard(target) and target.exists():
        raise InputError(
            "INPUT_OUTPUT_DIR_NOT_OURS",
            f"{target} holds files that Backpropagate did not write.",
            hint=f"Move {target} away, then start again.",
        )
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MARKER, UNFINISHED)
    }
    for name in sizes:
        _flush(folder / name)
    marker = Marker(id=model_id, source=source, revision=revision, licence=licence, files=sizes)
    files.write_text(folder / MARKER, marker.model_dump_json(indent=2) + "\n")
    (folder / UNFINISHED).unlink(missing_ok=True)
    platform.replace(folder, target)
    platform.sync_directory(target.parent)


def discard(folder: Path) -> bool:
    """Rename a model folder of ours away and delete it; return whether there was one.

    The rename comes first, so that no reader ever sees half a model under the final name.
    """
    if not is_ours(folder):
        return False
    doomed = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.removed")
    platform.replace(folder, doomed)
    shutil.rmtree(doomed)
    return True


def _flush(path: Path) -> None:
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())
