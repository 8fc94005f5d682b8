"""The Playground: a question to the tuned model and its base, and both replies while they are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import reflex as rx

from backprop_app.chatting import Lane, find_source, list_items
from backprop_app.runtime import current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views import playground as views
from backprop_app.views.playground import LaneView, ModelItem, SliderView, TurnView
from backprop_core import units
from backprop_core.config.chats import MAX_SEED, Sampling, Side
from backprop_core.errors import BackpropagateError
from backprop_core.services.chats import Asked, sampling_of

_FRAME_S: Final = 0.1
_SYSTEM_CHARS: Final = 8000
_TURNS_KEPT: Final = 50


class PlaygroundState(rx.State):
    """The chosen model, the conversation of this tab and the replies on their way."""

    is_loaded: bool = False
    models: list[ModelItem] = []
    model: ModelItem = ModelItem()
    missing: str = ""
    mode: str = "both"
    turns: list[TurnView] = []
    question: str = ""
    base: LaneView = LaneView()
    tuned: LaneView = LaneView()
    is_writing: bool = False
    is_stopping: bool = False
    sliders: dict[str, SliderView] = views.default_sliders()
    seed: str = str(Sampling().seed)
    system: str = ""
    thinking: bool = False
    shows_system: bool = False
    open_picker: bool = False
    command: str = ""
    python: str = ""
    revision: int = 0

    @rx.event(background=True)
    async def load(self) -> None:
        """Look up what can be talked to; the address may name the run or export."""
        runtime = current()
        async with self:
            wanted = str(self.router.url.query_parameters.get("run", ""))[:200]
        items = await asyncio.to_thread(list_items, runtime)
        chosen = next((item for item in items if wanted and item.key.startswith(wanted)), None)
        missing = ""
        if wanted and chosen is None:
            chosen, missing = await asyncio.to_thread(find_source, runtime, wanted)
        async with self:
            assign(self, models=items, missing=missing, is_loaded=True)
            known = any(item.key == self.model.key for item in items)
            if chosen is None and not missing:
                chosen = self.model if known else next(iter(items), ModelItem())
            if not self.is_writing:
                self._choose(chosen or ModelItem())

    @rx.event
    def show_picker(self, is_open: bool) -> None:
        """Open or close the list of models."""
        self.open_picker = bool(is_open)

    @rx.event
    def choose(self, key: str) -> None:
        """Talk to another model, in a new conversation."""
        self.open_picker = False
        for item in self.models:
            if item.key == key and not self.is_writing:
                self.missing = ""
                self._choose(item)

    @rx.event
    def choose_mode(self, key: str) -> None:
        """Ask both sides or the tuned one alone."""
        if key in dict(views.MODES):
            self.mode = key

    @rx.event
    def set_slider(self, name: str, value: float) -> None:
        """Change a number of the sampling."""
        within = views.clamped(name, value)
        if within is not None:
            slider = next(item for item in views.SLIDERS if item.name == name)
            self.sliders = {**self.sliders, name: views.slider_view(slider, within)}
            self._describe()

    @rx.event
    def set_seed(self, value: str) -> None:
        """Change the seed of both sides; empty takes another one each time."""
        digits = value.strip()[:10]
        self.seed = str(min(int(digits), MAX_SEED)) if digits.isascii() and digits.isdigit() else ""
        self._describe()

    @rx.event
    def set_system(self, value: str) -> None:
        """Change the system prompt."""
        self.system = value.strip()[:_SYSTEM_CHARS]
        self._describe()

    @rx.event
    def toggle_system(self) -> None:
        """Show or hide the field of the system prompt."""
        self.shows_system = not self.shows_system

    @rx.event
    def toggle_thinking(self) -> None:
        """Let the model think first, or not."""
        self.thinking = not self.thinking
        self._describe()

    @rx.event
    def begin_anew(self) -> None:
        """Forget the conversation."""
        if not self.is_writing:
            assign(self, turns=[], question="", base=LaneView(), tuned=LaneView())

    @rx.event
    def stop_writing(self) -> None:
        """End the replies that are being written."""
        self.is_stopping = self.is_writing

    @rx.event(background=True)
    async def send(self, form: dict[str, str]) -> Any:
        """Ask and show both replies while they are written."""
        runtime = current()
        async with self:
            question = str(form.get("question", "")).strip()
            if not question or self.is_writing or not self.model.key:
                return None
            try:
                lanes = self._begin(question)
            except BackpropagateError as error:
                return ShellState.show_toast(error.message, error.hint, "danger")
            key = self.model.key
        tasks = [lane.start(runtime, key) for lane in lanes]
        try:
            async for is_over in _frames(tasks):
                async with self:
                    if self.is_stopping:
                        for lane in lanes:
                            lane.end()
                    self._show(lanes, is_over=is_over)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for lane in lanes:
            if lane.loaded_s is not None:
                took = f"{lane.loaded_s:.0f}{units.NBSP}s"
                runtime.add_note("Playground", f" {lane.name} loaded in {took}")
        return None

    def _begin(self, question: str) -> list[Lane]:
        """Lay the last turn down and return what shall be written now.

        Raises:
            BackpropagateError: a number of the sampling cannot be used.
        """
        sampling = sampling_of(self._sampling())
        if self.question:
            turn = TurnView(self.question, self.base.text, self.tuned.text)
            self.turns = [*self.turns, turn][-_TURNS_KEPT:]
        sides: tuple[Side, ...] = views.SIDES if self.mode == "both" and self.model.has_base else ("tuned",)
        lanes = [
            Lane(
                side,
                self.model.name if side == "tuned" else self.model.base,
                Asked(views.conversation(self.turns, side, self.system, question), sampling, self.thinking),
            )
            for side in sides
        ]
        assign(self, question=question, is_writing=True, is_stopping=False, base=LaneView(), tuned=LaneView())
        self._show(lanes, is_over=False)
        return lanes

    def _show(self, lanes: list[Lane], *, is_over: bool) -> None:
        assign(self, **{lane.side: lane.view() for lane in lanes}, is_writing=not is_over)
        if is_over:
            self.is_stopping = False

    def _choose(self, item: ModelItem) -> None:
        if item.key != self.model.key:
            self.begin_anew()
            self.revision += 1
        self.model = item
        self._describe()

    def _sampling(self) -> dict[str, Any]:
        values: dict[str, Any] = {name: view.value for name, view in self.sliders.items()}
        return {**values, "seed": int(self.seed) if self.seed else None}

    def _describe(self) -> None:
        """Write down the two twins."""
        words = (self.model.short_key, self.system, self._sampling())
        assign(
            self,
            command=views.command_twin(*words, thinking=self.thinking),
            python=views.python_twin(*words, thinking=self.thinking),
        )


async def _frames(tasks: list[asyncio.Task[None]]) -> AsyncIterator[bool]:
    """Yield ten times a second until every task has ended; the last time True."""
    while True:
        _, waiting = await asyncio.wait(tasks, timeout=_FRAME_S)
        yield not waiting
        if not waiting:
            return
