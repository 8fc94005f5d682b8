"""Two runs picked from the list and compared, live while one of them works."""

from __future__ import annotations

import asyncio
from typing import Final

import reflex as rx

from backprop_app.feed import RunFeed
from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.views.compare import Difference, differ_text, results, setting_differences
from backprop_app.views.runs import Chunk
from backprop_core.errors import BackpropagateError
from backprop_core.services import runs

_REFRESH_S: Final = 0.25


class CompareState(rx.State):
    """What is selected in the list of runs, at most two."""

    selected: list[str] = []
    compared: list[str] = []
    names: list[str] = []
    first: Chunk = Chunk()
    second: Chunk = Chunk()
    settings: list[Difference] = []
    settings_text: str = ""
    results: list[Difference] = []

    @rx.event
    def toggle(self, run_id: str) -> None:
        """Select a run or let it go; of three, the one that was selected first goes."""
        others = [known for known in self.selected if known != run_id]
        self.selected = others if run_id in self.selected else [*others, run_id][-2:]
        self._keep_to_selection()

    @rx.event
    def clear(self) -> None:
        """Select nothing."""
        self.selected = []
        self._keep_to_selection()

    @rx.event(background=True)
    async def watch(self) -> None:
        """Compare whenever two runs are selected, until the page is left."""
        runtime = current()
        feeds: dict[str, RunFeed] = {}
        while True:
            async with self:
                selected = list(self.selected)
            feeds = {key: feeds.get(key) or RunFeed(runtime.follower, key) for key in selected}
            if len(selected) == 2:
                await self._compare(runtime, selected, feeds)
            await asyncio.sleep(_REFRESH_S)

    async def _compare(self, runtime: Runtime, selected: list[str], feeds: dict[str, RunFeed]) -> None:
        """Send what is new about the two runs."""
        frames = [await feeds[key].next() for key in selected]
        async with self:
            is_new = self.compared != selected
        if not is_new and frames == [None, None]:
            return
        try:
            one, other = [await asyncio.to_thread(runs.run_detail, runtime.ws, key) for key in selected]
            settings = setting_differences(one, other)
        except BackpropagateError:
            # One of them was deleted meanwhile.
            async with self:
                self.selected = []
                self._keep_to_selection()
            return
        chunks = {
            name: frame.chunk
            for name, frame in zip(("first", "second"), frames, strict=True)
            if frame is not None and frame.chunk.rows
        }
        async with self:
            if self.selected == selected:
                assign(
                    self,
                    compared=selected,
                    names=[one.state.short_id, other.state.short_id],
                    settings=settings,
                    settings_text=differ_text(len(settings)),
                    results=results(one.state, other.state),
                    **chunks,
                )

    def _keep_to_selection(self) -> None:
        if self.compared != self.selected:
            self.compared, self.names = [], []
