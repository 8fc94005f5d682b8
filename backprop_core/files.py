"""Files written whole or not at all, and read without surprises.

The one place that knows the order write, flush, rename, flush the folder. It does not decide
where a file may lie; `sandbox` does.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import orjson

from backprop_core import platform
from backprop_core.errors import RunError

_CHUNK_BYTES: Final = 1 << 20


@contextlib.contextmanager
def atomic_writer(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Yield a file that becomes `path` when the block ends, and vanishes when it raises.

    Args:
        path: the final name; an existing file is replaced in one step.
        durable: whether to wait until disk and folder entry are safe from a power loss (about 9 ms).
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | platform.NO_FOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        platform.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        platform.sync_directory(path.parent)


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_writer(path, durable=durable) as stream:
        stream.write(data)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    write_bytes(path, text.encode(), durable=durable)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_bytes(path, orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n", durable=durable)


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not hold JSON.
    """
    return orjson.loads(path.read_bytes())


def sha256_of(path: Path, *, progress: Callable[[int], None] | None = None) -> str:
    """Return the hexadecimal SHA-256 of a file; `progress` receives the bytes read so far."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done)
    return digest.hexdigest()


def size_of_tree(path: Path) -> int:
    """Return the bytes of all regular files below `path`, links not followed."""
    return sum(
        entry.stat().st_size for entry in path.rglob("*") if entry.is_file() and not entry.is_symlink()
    )


def free_bytes(path: Path) -> int:
    """Return the free bytes on the disk of `path` or of its nearest existing parent."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def require_free(path: Path, needed_bytes: int, purpose: str) -> None:
    """Raise RUNTIME_DISK_FULL when the disk of `path` cannot take `needed_bytes`.

    Args:
        path: where the bytes will be written; need not exist.
        needed_bytes: what the work writes, the reserve included.
        purpose: names the work in the message.
    """
    free = free_bytes(path)
    if free < needed_bytes:
        raise RunError(
            "RUNTIME_DISK_FULL",
            f"{purpose} needs {needed_bytes / 1e9:.1f} GB at {path}, {free / 1e9:.1f} GB are free.",
            hint=f"Free {(needed_bytes - free) / 1e9:.1f} GB there, or choose a folder on another disk.",
        )
