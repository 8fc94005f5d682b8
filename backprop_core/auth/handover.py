"""A secret on its way from whoever starts a job to the job's worker: a private file that is read once.

So it stands in no argument, environment, journal, spec or log.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from backprop_core import platform
from backprop_core.auth.secret_files import read_private_text, secrets_folder

_PREFIX: Final = "hub-"
_SUFFIX: Final = ".token"


def leave(home: Path, job_id: str, secret: str) -> None:
    """Put a secret down for a job.

    Raises:
        StateError: STATE_STORE_INVALID when others may enter the folder of secrets.
    """
    path = _path(home, job_id)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | platform.NO_FOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(secret)


def take(home: Path, job_id: str) -> str | None:
    """Return the secret of a job and remove it; None when there is none."""
    path = _path(home, job_id)
    try:
        return read_private_text(path)
    except OSError:
        return None
    finally:
        path.unlink(missing_ok=True)


def sweep(home: Path, is_waiting: Callable[[str], bool]) -> None:
    """Remove what jobs that no longer wait have left behind."""
    for path in secrets_folder(home).glob(f"{_PREFIX}*{_SUFFIX}"):
        if not is_waiting(path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)):
            with contextlib.suppress(OSError):
                path.unlink()


def _path(home: Path, job_id: str) -> Path:
    return secrets_folder(home) / f"{_PREFIX}{job_id}{_SUFFIX}"
