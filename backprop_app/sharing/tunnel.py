"""One running tunnel program: its output is read line by line, its end is noticed, and it is ended.

Decides nothing about what its words mean; that is the provider's plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from backprop_app.sharing.providers import Plan, Reach
from backprop_core import platform
from backprop_core.redact import redact

_CHUNK_BYTES: Final = 4096
_MAX_LINE_BYTES: Final = 4096
_LINES_KEPT: Final = 20
_END_S: Final = 5.0
_LEASH: Final = Path(__file__).with_name("leash.py")
_KEPT: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "TEMP", "TMP", "SSH_AUTH_SOCK"}
    | {"SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA"}
)


class Tunnel:
    """A tunnel program, started.

    Args:
        plan: what to run and how its output is read.
        environ: from which the few variables that it needs are taken.
    """

    def __init__(self, plan: Plan, environ: Mapping[str, str]) -> None:
        self._plan = plan
        self._env = {name: value for name, value in environ.items() if name.upper() in _KEPT}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._reach: asyncio.Future[Reach] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()

    async def start(self) -> None:
        """Start the program in a session of its own, with its end tied to the end of this process."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(_LEASH), *self._plan.command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._env,
            cwd=Path(self._plan.command[0]).parent,
            start_new_session=not platform.WINDOWS,
        )
        if self._plan.reach is not None:
            self._reach.set_result(self._plan.reach)
        self._reading = asyncio.create_task(self._read(self._process))

    async def reach(self) -> Reach | None:
        """Return where the app is reached, None when the program ended before it said so."""
        ended = asyncio.ensure_future(self.ended.wait())
        try:
            both: set[asyncio.Future[Any]] = {ended, self._reach}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        return self._reach.result() if self._reach.done() and not self.ended.is_set() else None

    @property
    def last_words(self) -> str:
        """The last line of output that can be shown, empty when there was none."""
        return self._lines[-1] if self._lines else ""

    async def stop(self) -> None:
        """End the program and everything that it started; harmless when it has ended."""
        if self._process is None or self._reading is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_S)
        except TimeoutError:
            platform.signal_group(self._process.pid, force=True)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Read until the end, whatever comes: a program whose output nobody takes stands still."""
        assert process.stdout is not None
        rest = b""
        while chunk := await process.stdout.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-_MAX_LINE_BYTES:]
            for line in lines:
                self._take(line[:_MAX_LINE_BYTES])
        self._take(rest)
        await process.wait()
        self.ended.set()

    def _take(self, raw: bytes) -> None:
        line = raw.decode("utf-8", "replace")
        shown = redact("".join(char if char.isprintable() else " " for char in line)).strip()
        if shown:
            self._lines.append(shown[:200])
        if not self._reach.done() and (found := self._plan.read(line)) is not None:
            self._reach.set_result(found)


def find_program(name: str, environ: Mapping[str, str]) -> Path | None:
    """Return where a program lies, looked up in the absolute folders of PATH and never in the current one."""
    endings = environ.get("PATHEXT", ".EXE").lower().split(";") if platform.WINDOWS else [""]
    for entry in environ.get("PATH", "").split(os.pathsep):
        folder = Path(entry)
        if not entry or not folder.is_absolute() or folder == Path.cwd():
            continue
        for ending in endings:
            found = folder / f"{name}{ending}"
            if found.is_file() and os.access(found, os.X_OK):
                return found
    return None
