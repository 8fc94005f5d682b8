"""What the running app works with: workspace, follower of runs, sampler of the machine, models of chats.

Reflex creates the State objects itself, so that nothing can be handed to them; this module is the one
place where they find it. The app's lifespan opens and closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import psutil

from backprop_app.views.events import EventItem, note
from backprop_core import units
from backprop_core.jobs.follower import Follower
from backprop_core.services.chats import ChatPool
from backprop_core.services.facts import Memo
from backprop_core.services.opening import open_workspace
from backprop_core.telemetry.sampler import Sampler
from backprop_core.workspace import Workspace


@dataclass(slots=True)
class Runtime:
    """Everything a State handler may use."""

    ws: Workspace
    follower: Follower
    sampler: Sampler
    chats: ChatPool
    memo: Memo = field(default_factory=Memo)
    notes: list[EventItem] = field(default_factory=list)
    notice: str = ""
    notice_is_bad: bool = False

    def now(self) -> datetime:
        """Return the wall time in the zone of this machine."""
        return self.ws.clock.now().astimezone()

    def forget(self) -> None:
        """Look up machine, model and data anew the next time somebody asks."""
        self.memo = Memo()

    def add_note(self, noun: str, fact: str) -> None:
        """Add a line of the app itself to the event log."""
        self.notes.append(note(self.now(), noun, fact))

    def tell(self, text: str, *, is_bad: bool = False) -> None:
        """Show a sentence above every page from now on, and keep it in the event log."""
        self.notice, self.notice_is_bad = text, is_bad
        self.add_note("Sharing", f": {text.partition('. ')[0]}")


class _Slot:
    """Holds the open runtime and how the next one is opened."""

    def __init__(self) -> None:
        self.opener: Callable[[], Workspace] = open_workspace
        self.runtime: Runtime | None = None


_SLOT: Final = _Slot()


def configure(opener: Callable[[], Workspace]) -> None:
    """Choose how the workspace is opened when the app starts."""
    _SLOT.opener = opener


def current() -> Runtime:
    """Return the open runtime.

    Raises:
        RuntimeError: the app is not running.
    """
    if _SLOT.runtime is None:
        raise RuntimeError("the app is not running")
    return _SLOT.runtime


@contextlib.asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """Open the workspace and run follower and sampler for as long as the app runs."""
    ws = await asyncio.to_thread(_SLOT.opener)
    await asyncio.to_thread(ws.sandbox.prepare)
    runtime = Runtime(ws, Follower(ws), Sampler(), ChatPool(ws.home))
    _SLOT.runtime = runtime
    runtime.add_note("App started", f", ready in {_age_s():.1f}{units.NBSP}s")
    runtime.sampler.start()
    following = asyncio.create_task(runtime.follower.run())
    try:
        yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        await asyncio.to_thread(runtime.sampler.stop)
        await asyncio.to_thread(runtime.chats.close)
        _SLOT.runtime = None
        ws.close()


def _age_s() -> float:
    return float(time.time() - psutil.Process().create_time())
