"""A data set of the hub on its way into the app's folder, with progress and cancel."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.runtime import current
from backprop_app.states.assign import assign
from backprop_app.views import dataset as views
from backprop_core.errors import BackpropagateError
from backprop_core.services import data_fetch
from backprop_core.services.data_fetch import FetchCancelledError, FetchJob

_FRAME_S: Final = 0.3
_FIELDS: Final = ("repo", "split", "config", "rows")


class DatasetFetchState(rx.State):
    """The form of the hub and the transfer that it started."""

    is_open: bool = False
    is_fetching: bool = False
    done: str = ""
    error: str = ""
    _job: Any = None

    @rx.event
    def toggle(self) -> None:
        """Show or hide the form."""
        self.is_open, self.error = not self.is_open, ""

    @rx.event(background=True)
    async def fetch(self, values: dict[str, str]) -> Any:
        """Fetch the data set that the form names, and open it."""
        runtime = current()
        try:
            source = data_fetch.hub_source(*(str(values.get(name, ""))[:200] for name in _FIELDS))
        except BackpropagateError as error:
            async with self:
                self.error = f"{error.message} {error.hint}".strip()
            return None
        async with self:
            if self.is_fetching:
                return None
            job = self._job = FetchJob()
            assign(self, is_fetching=True, error="", done="asking the hub")
        work = asyncio.create_task(asyncio.to_thread(data_fetch.fetch_for_page, runtime.ws, source, job))
        while not (await asyncio.wait({work}, timeout=_FRAME_S))[0]:
            async with self:
                self.done = f"{job.rows:,} rows" if job.rows else self.done
        async with self:
            assign(self, is_fetching=False, done="")
            self._job = None
            try:
                path = work.result()
            except FetchCancelledError:
                return None
            except BackpropagateError as error:
                self.error = f"{error.message} {error.hint}".strip()
                return None
            self.is_open = False
        await audit.note(self, "data.fetch", file=path.name)
        return rx.redirect(views.dataset_href(path))

    @rx.event
    def give_up(self) -> None:
        """Give the transfer up; nothing of it stays."""
        if self._job is not None:
            self._job.cancel()
            self.done = "ending"
