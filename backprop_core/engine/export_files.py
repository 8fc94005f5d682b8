"""Files of an export copied with their digests, in small pieces, so that a copy can be ended at any time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OnBytes = Callable[[int], None]

# What a model or adapter folder may hold that runs code when it is loaded.
PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt"})

_CHUNK_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of the export; `name` is relative to it."""

    name: str
    size_bytes: int
    sha256: str


def plain_files(folder: Path) -> list[Path]:
    """Return the regular files of a folder, without links, pickles and subfolders."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.is_symlink() and path.suffix not in PICKLES
    ]


def copy_files(sources: Iterable[Path], folder: Path, on_bytes: OnBytes) -> list[WrittenFile]:
    """Copy files into `folder`, each safe on the disk, and return their digests.

    Args:
        on_bytes: receives the bytes of each piece; what it raises ends the copy.
    """
    return [copy_file(source, folder / source.name, on_bytes) for source in sources]


def copy_file(source: Path, target: Path, on_bytes: OnBytes) -> WrittenFile:
    """Copy one file to a new name and return its digest."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reader, target.open("xb") as writer:
        while piece := reader.read(_CHUNK_BYTES):
            writer.write(piece)
            digest.update(piece)
            size += len(piece)
            on_bytes(len(piece))
        writer.flush()
        os.fsync(writer.fileno())
    return WrittenFile(target.name, size, digest.hexdigest())


def link_or_copy(source: Path, target: Path, on_bytes: OnBytes) -> None:
    """Give a file a second name on the same disk, or copy it where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        copy_file(source, target, on_bytes)
