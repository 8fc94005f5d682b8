"""The list of runs with its search and filter, kept fresh while it is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import reflex as rx

from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.views.runs import RunItem, run_item
from backprop_core.runs.projection import RunState
from backprop_core.runs.series import Point, thin
from backprop_core.services import runs

PAGE_SIZE: Final = 20
_CURVE_POINTS: Final = 60
_REFRESH_S: Final = 1.0
_FILTERS: Final = {
    "all": (),
    "running": ("queued", "starting", "running", "paused"),
    "failed": ("failed", "interrupted"),
}


class RunsState(rx.State):
    """One page of the list, newest first."""

    items: list[RunItem] = []
    found: int = 0
    total: int = 0
    page: int = 0
    pages: int = 1
    search: str = ""
    status_filter: str = "all"
    is_loaded: bool = False
    resets: int = 0

    @rx.event
    def set_search(self, text: str) -> None:
        """Search names, models and ids."""
        self.search, self.page = str(text)[:100], 0

    @rx.event
    def choose_filter(self, key: str) -> None:
        """Show all runs, those that work, or those that failed."""
        if key in _FILTERS:
            self.status_filter, self.page = key, 0

    @rx.event
    def show_all(self) -> None:
        """Drop search and filter."""
        self.search, self.status_filter, self.page = "", "all", 0
        self.resets += 1

    @rx.event
    def go_to_page(self, page: int) -> None:
        """Show another page of the list."""
        self.page = min(max(0, int(page)), self.pages - 1)

    @rx.event(background=True)
    async def watch(self) -> None:
        """Read the list, then again whenever something changes, until the page is left."""
        runtime = current()
        curves: dict[str, tuple[int, Sequence[Point]]] = {}
        while True:
            async with self:
                query = (self.search, self.status_filter, self.page)
            states, found, total = await asyncio.to_thread(_read, runtime, *query)
            items = await _items(runtime, states, curves)
            async with self:
                if query == (self.search, self.status_filter, self.page):
                    pages = max(1, -(-found // PAGE_SIZE))
                    assign(self, items=items, found=found, total=total, pages=pages, is_loaded=True)
            await self._wait(runtime, query)

    async def _wait(self, runtime: Runtime, query: tuple[str, str, int]) -> None:
        """Return when the query changes, at the latest after a second."""
        for _ in range(10):
            await asyncio.sleep(_REFRESH_S / 10)
            async with self:
                if query != (self.search, self.status_filter, self.page):
                    return


def _read(runtime: Runtime, search: str, key: str, page: int) -> tuple[list[RunState], int, int]:
    statuses = _FILTERS[key]
    states = runs.list_runs(
        runtime.ws, statuses=statuses, search=search, limit=PAGE_SIZE, offset=page * PAGE_SIZE
    )
    found = runs.count_runs(runtime.ws, statuses=statuses, search=search)
    return states, found, runs.count_runs(runtime.ws)


async def _items(
    runtime: Runtime, states: list[RunState], curves: dict[str, tuple[int, Sequence[Point]]]
) -> list[RunItem]:
    """Return the rows; a curve is read again only when its run has new events."""
    now = runtime.now()
    for state in states:
        known = curves.get(state.run_id)
        if known is None or known[0] != state.seq:
            curves[state.run_id] = (state.seq, await _curve(runtime, state))
    return [run_item(state, curves[state.run_id][1], now) for state in states]


async def _curve(runtime: Runtime, state: RunState) -> Sequence[Point]:
    """Return the points of the small curve: from memory while the run works, else from its journal."""
    if state.step == 0:
        return ()
    if not state.is_terminal:
        live = await runtime.follower.get(state.run_id)
        return thin(live.update_since(0).points, _CURVE_POINTS) if live else ()
    return await asyncio.to_thread(runs.series, runtime.ws, state.run_id, _CURVE_POINTS)
