"""The audit log: who signed in, and who started, stopped, deleted or exported, one JSON line each.

Holds names, addresses and ids, never a password, a cookie or a token.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import orjson

from backprop_core import platform
from backprop_core.ports import Clock
from backprop_core.redact import redact

MAX_BYTES: Final = 5 * 1024 * 1024
_MAX_CHARS: Final = 200


class AuditLog:
    """Appends to `logs/audit.jsonl` of the installation; the file before the newest is kept beside it."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self.path = home / "logs" / "audit.jsonl"
        self._clock = clock

    def write(self, action: str, *, user: str, peer: str, **facts: str) -> None:
        """Append one line.

        Args:
            action: what was done, `login`, `run.stop` and the like.
            user: who did it, as signed in or as typed at a failed login.
            peer: address it came from.
            facts: ids and names that belong to it.
        """
        values = {"action": action, "user": user, "peer": peer, **facts}
        line = {"ts": self._clock.now().isoformat(timespec="milliseconds")}
        line |= {name: redact(value)[:_MAX_CHARS] for name, value in values.items()}
        self._append(orjson.dumps(line) + b"\n")

    def _append(self, data: bytes) -> None:
        with platform.private_umask():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = platform.open_own(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fd, data)
            is_full = os.fstat(fd).st_size > MAX_BYTES
        finally:
            os.close(fd)
        if is_full:
            platform.replace(self.path, self.path.with_suffix(".1.jsonl"))
