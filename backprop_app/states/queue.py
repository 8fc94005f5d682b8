"""The queue on the Runs page: kept fresh, reordered by button and keyboard, shortened."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views.queue import QueueRow, queue_rows
from backprop_core.errors import BackpropagateError
from backprop_core.jobs.room import SampledMemory
from backprop_core.services import queueing

_REFRESH_S: Final = 1.0


class QueueState(rx.State):
    """What waits for the device."""

    rows: list[QueueRow] = []

    @rx.event(background=True)
    async def watch(self) -> None:
        """Read the queue whenever something changes, at the latest after a second, until the page is left."""
        runtime = current()
        while True:
            await self._read(runtime)
            await runtime.follower.wait_for_change(_REFRESH_S)
            await asyncio.sleep(_REFRESH_S / 4)

    @rx.event(background=True)
    async def move(self, run_id: str, way: str) -> Any:
        """Put a job one place up or down, or at an end of the queue."""
        runtime = current()
        memory = SampledMemory(runtime.sampler)
        try:
            await asyncio.to_thread(queueing.move, runtime.ws, run_id, way, memory)  # type: ignore[arg-type]
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "queue.move", run_id=run_id, way=way)
        await self._read(runtime)
        return None

    @rx.event(background=True)
    async def cancel(self, run_id: str) -> Any:
        """Take a job out of the queue."""
        runtime = current()
        try:
            state = await asyncio.to_thread(queueing.cancel, runtime.ws, run_id)
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "queue.cancel", run_id=run_id)
        await runtime.follower.refresh()
        await self._read(runtime)
        return ShellState.show_toast(
            f"{state.name} no longer waits.", "Resume on its page puts it at the end again.", "info"
        )

    async def _read(self, runtime: Runtime) -> None:
        items = await asyncio.to_thread(queueing.list_queue, runtime.ws, SampledMemory(runtime.sampler))
        async with self:
            assign(self, rows=queue_rows(items, runtime.now()))
