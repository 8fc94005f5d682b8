"""Replies for the event loop: what a worker tells from its thread arrives as an async stream, or in a lane."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable

from backprop_app.runtime import Runtime
from backprop_app.views import playground as views
from backprop_app.views.playground import LaneView, ModelItem
from backprop_core.config.chats import Finished, Piece, Refused, Side, Told
from backprop_core.errors import BackpropagateError, error_from_record
from backprop_core.services.chat_sources import ChatSource, find_chat, list_chats
from backprop_core.services.chats import Asked, Talk


async def replies(
    runtime: Runtime,
    source: ChatSource,
    side: Side,
    asked: Asked,
    take: Callable[[Talk], None] = lambda talk: None,
) -> AsyncGenerator[Piece | Finished, None]:
    """Yield the pieces of a reply as they are written, and `Finished` at last.

    Whoever stops listening ends the reply.

    Args:
        take: receives what ends the reply in order, told as `Finished`.

    Raises:
        BackpropagateError: why there is no reply, or why it broke off.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[Told] = asyncio.Queue()

    def tell(what: Told) -> None:
        # A worker may outlive the loop by an instant when the app ends.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(told.put_nowait, what)

    # Starting a process and putting another model away takes a moment; loading is not waited for.
    talk = await asyncio.to_thread(runtime.chats.ask, source.spec(side), side, asked, tell)
    is_over = False
    take(talk)
    try:
        while not is_over:
            what = await told.get()
            is_over = isinstance(what, Finished | Refused)
            if isinstance(what, Refused):
                raise error_from_record(what.error)
            if isinstance(what, Piece | Finished):
                yield what
    finally:
        if not is_over:
            talk.cancel()


class Lane:
    """One side of the page while its reply is written; the page looks at it when it draws.

    Args:
        side: that is asked.
        name: of the model, for people.
        asked: the conversation.
    """

    def __init__(self, side: Side, name: str, asked: Asked) -> None:
        self.side = side
        self.name = name
        self.loaded_s: float | None = None
        self._asked = asked
        self._text = ""
        self._view = LaneView(state="loading")
        self._talk: Talk | None = None
        self._is_ended = False
        self._task: asyncio.Task[None] | None = None

    def start(self, runtime: Runtime, key: str) -> asyncio.Task[None]:
        """Let the model that `key` finds answer; the task ends with the reply."""
        self._task = asyncio.create_task(self._write(runtime, key))
        return self._task

    def end(self) -> None:
        """Ask for the end; a model that still loads is not waited for."""
        if self._is_ended or self._task is None:
            return
        self._is_ended = True
        if self._talk is not None and self._view.state in {"reading", "writing"}:
            self._talk.cancel()
        else:
            self._task.cancel()

    def view(self) -> LaneView:
        """Return the lane as it stands."""
        return self._view

    async def _write(self, runtime: Runtime, key: str) -> None:
        try:
            source = await asyncio.to_thread(find_chat, runtime.ws, key, face="page")
            spec = source.spec(self.side)
            is_warm = runtime.chats.ready(spec) is not None
            self._view = LaneView(state="reading" if is_warm else "loading")
            async with contextlib.aclosing(
                replies(runtime, source, self.side, self._asked, self._take)
            ) as parts:
                await self._follow(parts)
            ready = runtime.chats.ready(spec)
            self.loaded_s = ready.seconds if ready is not None and not is_warm else None
        except BackpropagateError as error:
            self._view = views.failed_lane(self._text, error)
        except asyncio.CancelledError:
            self._view = LaneView(state="ended", text=self._text, ending="stopped")

    def _take(self, talk: Talk) -> None:
        self._talk = talk

    async def _follow(self, parts: AsyncGenerator[Piece | Finished, None]) -> None:
        async for part in parts:
            if isinstance(part, Piece):
                self._text += part.text
                self._view = LaneView(state="writing", text=self._text)
            else:
                self._view = views.ended_lane(self._text, part)


def list_items(runtime: Runtime) -> list[ModelItem]:
    """Return the models of the index."""
    return [views.model_item(source) for source in list_chats(runtime.ws)]


def find_source(runtime: Runtime, wanted: str) -> tuple[ModelItem | None, str]:
    """Return the model that an address names, or why there is none."""
    try:
        return views.model_item(find_chat(runtime.ws, wanted, face="page")), ""
    except BackpropagateError as error:
        return None, error.message
