"""The report of what ended lately, on the Runs page."""

from __future__ import annotations

import asyncio

import reflex as rx

from backprop_app.runtime import current
from backprop_app.states.assign import assign
from backprop_app.views.night import NightView, night_view
from backprop_core.services.report import morning_report

_LOOK_EVERY_S = 2.0


class NightState(rx.State):
    """The card "last night"."""

    night: NightView = NightView()

    @rx.event(background=True)
    async def watch(self) -> None:
        """Read the report, and again after each end, until the page is left."""
        runtime = current()
        told: int | None = None
        while True:
            notices = runtime.follower.overview.notices
            newest = notices[-1].id if notices else 0
            if newest != told:
                told = newest
                report = await asyncio.to_thread(morning_report, runtime.ws)
                async with self:
                    assign(self, night=night_view(report, runtime.now()))
            async with self:
                pass
            await asyncio.sleep(_LOOK_EVERY_S)
