"""Files that hold a secret: read only when nobody else can, made once and for the user alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from backprop_core import platform
from backprop_core.errors import InputError, StateError

KEY_BYTES: Final = 32
_MAX_BYTES: Final = 64 * 1024


def secrets_folder(home: Path) -> Path:
    """Return the folder of secrets below `home`, made with rights for the user alone.

    Raises:
        StateError: STATE_STORE_INVALID when others may enter it.
    """
    folder = home / "secrets"
    with platform.private_umask():
        folder.mkdir(parents=True, exist_ok=True)
    reason = _not_private(folder.lstat(), is_folder=True)
    if reason:
        raise StateError(
            "STATE_STORE_INVALID",
            f"{folder} {reason}.",
            hint=f"Take the rights of others away: chmod 700 {folder}",
        )
    return folder


def signing_key(folder: Path) -> bytes:
    """Return the key that signs sessions; a lost or damaged one is replaced, which ends every session.

    Raises:
        StateError: STATE_STORE_INVALID when others can read the file.
    """
    path = folder / "session.key"
    try:
        key = _read_private(path)
    except FileNotFoundError:
        key = b""
    except PermissionError as error:
        raise StateError(
            "STATE_STORE_INVALID",
            f"{path} {error}.",
            hint=f"Others may have read the key. Delete the file to make a new one: rm {path}",
        ) from error
    return key if len(key) == KEY_BYTES else _new_key(path)


def read_credential_file(path: Path) -> str:
    """Return the text of a file that holds `user:password`.

    Raises:
        InputError: INPUT_AUTH_INVALID_SHAPE when it cannot be read or others can read it, too.
    """
    try:
        data = _read_private(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            "INPUT_AUTH_INVALID_SHAPE",
            f"The credential file {path} cannot be used: {reason}.",
            hint=f"It holds one line user:password and is yours alone: chmod 600 {path}",
        ) from error
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(
            "INPUT_AUTH_INVALID_SHAPE", f"The credential file {path} is not UTF-8 text."
        ) from error


def read_private_text(path: Path) -> str:
    """Return the text of a file that only its owner can read, without blanks around it.

    Raises:
        OSError: it cannot be opened, or others can read it, too.
    """
    return _read_private(path).decode(errors="replace").strip()


def _read_private(path: Path) -> bytes:
    """Return the content of a regular file that only its owner can read.

    Raises:
        PermissionError: somebody else owns it or can read it; the message says which.
        OSError: it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | platform.NO_FOLLOW)
    with os.fdopen(fd, "rb") as stream:
        reason = _not_private(os.fstat(stream.fileno()), is_folder=False)
        if reason:
            raise PermissionError(reason)
        return stream.read(_MAX_BYTES)


def _not_private(facts: os.stat_result, *, is_folder: bool) -> str | None:
    kind = stat.S_ISDIR if is_folder else stat.S_ISREG
    if not kind(facts.st_mode):
        return f"is no {'folder' if is_folder else 'regular file'}"
    if platform.WINDOWS:  # pragma: no cover - rights come from the folder of the user there
        return None
    if facts.st_uid != os.geteuid():
        return "belongs to another user"
    if facts.st_mode & 0o077:
        return f"can be used by others, its mode is {stat.S_IMODE(facts.st_mode):04o}"
    return None


def _new_key(path: Path) -> bytes:
    """Write a fresh key; of two processes that do it at once, the second takes the key of the first."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    key = secrets.token_bytes(KEY_BYTES)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | platform.NO_FOLLOW, 0o600)
    except FileExistsError:
        return _read_private(path)
    with os.fdopen(fd, "wb") as stream:
        stream.write(key)
        stream.flush()
        os.fsync(stream.fileno())
    return key
