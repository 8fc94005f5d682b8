"""The campaign that is shown: its legs and what they forget live; pause, stop, resume, one more leg, a merge judged."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.feed import FRAME_S, Frame, RunFeed
from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.states.steering import REQUESTS, steer
from backprop_app.views import campaign as views
from backprop_app.views.campaign import CampaignItem, CampaignView
from backprop_app.views.forget import Heat
from backprop_app.views.legs import Timeline
from backprop_app.views.machine import Pair
from backprop_app.views.marks import Marks, marks_of
from backprop_app.views.runs import Chunk, still_asked
from backprop_core.errors import BackpropagateError
from backprop_core.events import types as ev
from backprop_core.runs.projection import RunState as Projection
from backprop_core.services import campaigns, runs
from backprop_core.services.campaigns import Campaign

_LIST_EVERY_S: Final = 1.0
_LISTED: Final = 20
_MAX_TEXT: Final = 4096
_TELLS: Final = (ev.LegStarted, ev.LegEnded, ev.LegMerged, ev.LegChosen, ev.ForgetRow)


class CampaignState(rx.State):
    """What the page shows of one campaign, and the list of all."""

    is_loaded: bool = False
    shows_form: bool = False
    missing: str = ""
    items: list[CampaignItem] = []
    view: CampaignView = CampaignView()
    chunk: Chunk = Chunk()
    marks: Marks = Marks()
    timeline: Timeline = Timeline([], [])
    heat: Heat = Heat()
    figures: list[Pair] = []
    asked: str = ""
    asks_stop: bool = False
    is_deciding: bool = False
    adds: bool = False
    add_error: str = ""
    _wanted: str = ""
    _is_judged: bool = False

    @rx.event(background=True)
    async def watch(self) -> None:
        """Show the campaign in the address, else the one that works, and keep it live until the page is left."""
        runtime = current()
        async with self:
            self._wanted = str(self.router.url.query_parameters.get("run", ""))[:80]
            self.shows_form = False
        feed: RunFeed | None = None
        known: Campaign | None = None
        last: Frame | None = None
        listed = 0.0
        while True:
            if time.monotonic() - listed > _LIST_EVERY_S:
                listed = time.monotonic()
                states = await asyncio.to_thread(runs.list_runs, runtime.ws, kind="multi-run", limit=_LISTED)
                async with self:
                    run_id = self._choose(states, runtime)
                    # No follower reads the journal of a campaign that has ended.
                    known = None if self._is_judged else known
                    self._is_judged = False
                if feed is None or feed.run_id != run_id:
                    feed, known, last = (RunFeed(runtime.follower, run_id) if run_id else None), None, None
            frame = await feed.next() if feed else None
            if frame is not None:
                known = None if last is None or _has_news(last, frame) else known
                last = frame
            is_new = frame is not None or known is None
            if last is not None:
                if known is None:
                    known = await asyncio.to_thread(campaigns.read_campaign, runtime.ws, last.state.run_id)
                async with self:
                    self._show(runtime, last, known, is_new=is_new)
            await asyncio.sleep(FRAME_S if frame is not None else 3 * FRAME_S)

    @rx.event
    def new(self) -> None:
        """Show the form of a new campaign."""
        self.shows_form = True

    @rx.event
    def back(self) -> None:
        """Show the campaign again."""
        self.shows_form = False

    @rx.event
    def ask_stop(self) -> None:
        """Ask before the campaign is stopped."""
        self.asks_stop = True

    @rx.event
    def cancel_stop(self) -> None:
        """Keep the campaign going."""
        self.asks_stop = False

    @rx.event
    def stop(self) -> Any:
        """Ask the campaign to finish its step, save and end."""
        self.asks_stop = False
        return CampaignState.request("stop")

    @rx.event
    def toggle_pause(self) -> Any:
        """Ask the campaign to wait at its next step, or a waiting one to go on."""
        is_going_on = self.view.is_paused or self.asked == "pause"
        return CampaignState.request("continue" if is_going_on else "pause")

    @rx.event(background=True)
    async def request(self, wish: str) -> Any:
        """Ask for one of pause, continue, stop and resume; the page says so until it has happened."""
        if wish not in REQUESTS:
            return None
        async with self:
            run_id, self.asked = self.view.run_id, wish
        if refusal := await steer(run_id, wish):
            async with self:
                self.asked = ""
            return refusal
        await audit.note(self, f"campaign.{wish}", run_id=run_id)
        await current().follower.refresh()
        return None

    @rx.event
    def ask_leg(self) -> None:
        """Open the list of data files for one more leg."""
        self.adds, self.add_error = True, ""

    @rx.event
    def set_adds(self, is_open: bool) -> None:
        """Follow the list, which closes itself on Escape."""
        self.adds = bool(is_open)

    @rx.event(background=True)
    async def add_leg(self, path: str) -> Any:
        """Let the finished campaign learn one more data file."""
        async with self:
            run_id, self.add_error = self.view.run_id, ""
        runtime = current()
        try:
            await asyncio.to_thread(campaigns.add_leg, runtime.ws, run_id, path[:_MAX_TEXT], source="page")
        except BackpropagateError as error:
            async with self:
                self.add_error = f"{error.message} {error.hint}".strip()
            return None
        await audit.note(self, "campaign.add_leg", run_id=run_id, data=path[:_MAX_TEXT])
        await runtime.follower.refresh()
        async with self:
            self.adds = False
        return None

    @rx.event(background=True)
    async def decide(self, accept: bool) -> Any:
        """Accept or reject the merge of the newest leg."""
        async with self:
            if self.is_deciding:
                return None
            self.is_deciding = True
            run_id, leg = self.view.run_id, self.view.decidable
        runtime = current()
        try:
            await asyncio.to_thread(campaigns.decide_merge, runtime.ws, run_id, leg, accept=accept)
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        finally:
            async with self:
                self.is_deciding = False
        act = "campaign.accept" if accept else "campaign.reject"
        await audit.note(self, act, run_id=run_id, leg=str(leg))
        async with self:
            self._is_judged = True
        return None

    def _choose(self, states: list[Projection], runtime: Runtime) -> str:
        """Return the id of the campaign to show; without one the form is shown."""
        now = runtime.now()
        found = next(
            (state for state in states if self._wanted and state.run_id.startswith(self._wanted)), None
        )
        if found is None and not self._wanted:
            working = [state for state in states if not state.is_terminal]
            found = working[-1] if working else states[0] if states else None
        assign(
            self,
            is_loaded=True,
            items=[views.campaign_item(state, now) for state in states],
            missing="" if found or not self._wanted else f"No campaign {self._wanted} is here.",
        )
        return found.run_id if found else ""

    def _show(self, runtime: Runtime, frame: Frame, known: Campaign, *, is_new: bool) -> None:
        state = frame.state
        if is_new:
            if frame.chunk.rows:
                self.chunk = frame.chunk
            assign(
                self,
                view=views.campaign_view(state, known, frame.smooth_loss),
                heat=views.heat_view(known),
                figures=views.figures(known),
                marks=marks_of(frame.events),
                asked=still_asked(self.asked, state),
            )
        assign(self, timeline=views.legs_view(state, known, runtime.now()))


def _has_news(last: Frame, frame: Frame) -> bool:
    """Return whether a leg or a measurement was told since the last frame, or how the campaign stands."""
    seen = last.events[-1].seq if last.events else 0
    return last.state.status != frame.state.status or any(
        isinstance(event.body, _TELLS) for event in frame.events if event.seq > seen
    )
