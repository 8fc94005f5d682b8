"""The Train form: a draft, the plan that follows from it, and Start."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views import form
from backprop_app.views import plan as plans
from backprop_app.views.form import FieldView, Option
from backprop_app.views.machine import Fact, MachineCard, machine_card_view, machine_facts_list
from backprop_app.views.plan import DerivedView, PartView, PlanRow, PlanView
from backprop_core.config.presets import TUTORIAL_MODEL
from backprop_core.config.resolve import Layer, resolve_train
from backprop_core.config.schema import train_fields
from backprop_core.errors import BackpropagateError
from backprop_core.planning.records import MachineFacts
from backprop_core.services import data_files, runs, system, training
from backprop_core.services.training import Draft

_FIRST_STEPS: Final = "60"
_MAX_TEXT: Final = 4096
_FIELDS: Final = frozenset(field.name for field in train_fields()) - {"output_dir"}
_LENGTHS: Final = {"steps": "100", "epochs": "1"}


class TrainState(rx.State):
    """What the user chose, as text; everything else on the page follows from it."""

    draft: dict[str, str] = {}
    is_first: bool = False
    is_loaded: bool = False
    models: list[Option] = []
    data: list[Option] = []
    machine: MachineCard = MachineCard()
    machine_facts: list[Fact] = []
    choice: form.Choice = form.Choice()
    plan: PlanView = PlanView()
    parts: list[PartView] = []
    plan_rows: list[PlanRow] = []
    derived: list[DerivedView] = []
    errors: dict[str, str] = {}
    advanced: list[FieldView] = []
    advanced_text: str = ""
    command_head: str = "backprop train"
    command_rest: str = ""
    python: str = ""
    open_why: str = ""
    open_picker: str = ""
    shows_advanced: bool = False
    is_starting: bool = False
    _start_key: str = ""
    _revision: int = 0

    @rx.event(background=True)
    async def load(self) -> Any:
        """Fill the form on the first visit and refresh what can be chosen on each."""
        runtime = current()
        found = await asyncio.to_thread(_look, runtime)
        async with self:
            self.is_first = found.runs == 0
            assign(self, models=found.models, data=found.data)
            assign(
                self,
                machine=machine_card_view(found.machine),
                machine_facts=machine_facts_list(found.machine),
            )
            self.draft = self.draft or found.draft
            self._start_key = self._start_key or uuid.uuid4().hex
        return TrainState.replan

    @rx.event
    def set_field(self, name: str, value: str) -> Any:
        """Change one field; an empty value of an optional one is kept as empty."""
        if name not in _FIELDS:
            return None
        self.draft = {**self.draft, name: str(value).strip()[:_MAX_TEXT]}
        return TrainState.replan

    @rx.event
    def reset_field(self, name: str) -> Any:
        """Go back to the rule for one field."""
        self.draft = {key: value for key, value in self.draft.items() if key != name}
        self._revision += 1
        return TrainState.replan

    @rx.event
    def choose_length(self, kind: str) -> Any:
        """Train for a number of steps or of passes over the data."""
        if kind not in _LENGTHS:
            return None
        other = "epochs" if kind == "steps" else "steps"
        self.draft = {**self.draft, kind: _LENGTHS[kind], other: ""}
        self._revision += 1
        return TrainState.replan

    @rx.event
    def show_picker(self, name: str, is_open: bool) -> None:
        """Open or close the list of models or of data files."""
        self.open_picker = str(name) if is_open else ""

    @rx.event
    def pick(self, name: str, value: str) -> Any:
        """Take a model or data file from its list."""
        self.open_picker = ""
        return TrainState.set_field(name, value)

    @rx.event
    def uploaded(self, path: str) -> Any:
        """Take the data file that was just uploaded and offer it from now on."""
        self.open_picker = ""
        return [TrainState.set_field("dataset", path), TrainState.load]

    @rx.event(background=True)
    async def train_on(self, path: str) -> Any:
        """Open the page with a data file chosen, from another page."""
        found = await asyncio.to_thread(_look, current())
        async with self:
            self.draft = {**(self.draft or found.draft), "dataset": str(path)[:_MAX_TEXT]}
        return rx.redirect("/")

    @rx.event
    def pick_typed(self, values: dict[str, str]) -> Any:
        """Take the model or data file that was typed; the form has one field."""
        name, value = next(iter(values.items()), ("", ""))
        return TrainState.pick(name, value) if value else None

    @rx.event
    def use_suggestion(self) -> Any:
        """Take the change that the plan suggests."""
        self._revision += 1
        return TrainState.set_field(self.plan.suggestion_field, self.plan.suggestion_value)

    @rx.event
    def toggle_why(self, name: str) -> None:
        """Show or hide the whole reason of a value."""
        self.open_why = "" if self.open_why == name else str(name)

    @rx.event
    def toggle_advanced(self) -> None:
        """Fold the Advanced panel in or out."""
        self.shows_advanced = not self.shows_advanced

    @rx.event
    def look_again(self) -> Any:
        """Look for a card anew."""
        current().forget()
        return TrainState.load

    @rx.event
    def leave_first(self) -> None:
        """Show the whole form instead of the first-run page."""
        self.is_first = False

    @rx.event(background=True)
    async def use_again(self, run_id: str) -> Any:
        """Fill the form with the settings of a run."""
        return await self._take(run_id, {})

    @rx.event(background=True)
    async def go_on_from(self, run_id: str) -> Any:
        """Fill the form with the settings of a run and begin at its adapter instead of a fresh one."""
        return await self._take(run_id, {"from_adapter": run_id})

    async def _take(self, run_id: str, changes: dict[str, str]) -> Any:
        """Fill the form with the settings of a run and `changes`, and show it."""
        runtime = current()
        try:
            detail = await asyncio.to_thread(runs.run_detail, runtime.ws, run_id)
            draft = form.draft_of(detail.training) | changes
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        async with self:
            self.draft = draft
            self.shows_advanced = self.shows_advanced or bool(changes)
            self._revision += 1
        return rx.redirect("/")

    @rx.event(background=True)
    async def replan(self) -> Any:
        """Work out what the draft means, without holding up the page."""
        runtime = current()
        async with self:
            draft, revision = dict(self.draft), self._revision
        try:
            result, base = await asyncio.to_thread(_plan, runtime, draft)
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        async with self:
            if draft == self.draft:
                self._show(draft, result, base, revision)
        return None

    @rx.event(background=True)
    async def start(self) -> Any:
        """Start the run; a second click before the answer is the same run."""
        async with self:
            if self.is_starting:
                return None
            self.is_starting = True
            draft, key = dict(self.draft), self._start_key
        runtime = current()
        try:
            started = await asyncio.to_thread(
                training.start, runtime.ws, _layers(draft), source="page", start_key=key, memo=runtime.memo
            )
        except BackpropagateError as error:
            async with self:
                self.is_starting = False
                self.errors = {**self.errors, str(error.details.get("field", "")): error.message}
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "run.start", run_id=started.run_id)
        await runtime.follower.refresh()
        async with self:
            self.is_starting, self._start_key = False, uuid.uuid4().hex
        return rx.redirect(f"/runs/{started.run_id}")

    def _show(self, draft: dict[str, str], result: Draft, base: dict[str, Any], revision: int) -> None:
        errors = {
            problem.field: f"{problem.message} {plans.page_hint(problem)}".strip()
            for problem in reversed(result.problems)
        }
        head, rest = form.command_twin(draft)
        advanced = form.advanced_fields(draft, base, errors, revision)
        assign(
            self,
            errors=errors,
            advanced=advanced,
            advanced_text=form.advanced_text(advanced),
            choice=form.choice(draft, base, result, self.models, self.data, revision),
            command_head=head,
            command_rest=rest,
            python=form.python_twin(draft),
            is_loaded=True,
        )
        if result.plan is None:
            assign(self, plan=plans.stale_view(self.plan, result.problems))
        else:
            assign(
                self,
                plan=plans.plan_view(result.plan, result.problems),
                parts=plans.parts(result.plan),
                plan_rows=plans.rows(result.plan),
                derived=plans.derived(result.plan),
            )


def _layers(draft: dict[str, str]) -> list[Layer]:
    return [Layer("explicit", draft, "the page")]


def _plan(runtime: Runtime, draft: dict[str, str]) -> tuple[Draft, dict[str, Any]]:
    """Return the plan of a draft, and the spec that would hold with its choices but no changed field."""
    result = training.draft(runtime.ws, _layers(draft), source="page", memo=runtime.memo)
    chosen = {name: draft[name] for name in ("lora_preset",) if name in draft and name not in _bad(result)}
    base = resolve_train(training.layers_of(runtime.ws, _layers(chosen))).spec
    return result, base.model_dump()


def _bad(result: Draft) -> set[str]:
    return {problem.field for problem in result.problems}


@dataclass(frozen=True, slots=True)
class _Found:
    """What the page looks up when it opens."""

    runs: int
    models: list[Option]
    data: list[Option]
    machine: MachineFacts
    draft: dict[str, str]


def _look(runtime: Runtime) -> _Found:
    total = runs.count_runs(runtime.ws)
    examples = data_files.examples_dir()
    machine = system.machine_facts(runtime.memo)
    draft = {
        "model": TUTORIAL_MODEL,
        "dataset": str(examples / data_files.DEFAULT_EXAMPLE),
        "lora_preset": "auto",
    }
    if total == 0:
        draft["steps"] = _FIRST_STEPS
    elif machine.gpu is not None:
        draft = {"dataset": draft["dataset"]}
    data = form.data_options(data_files.list_data_files(runtime.ws), examples)
    return _Found(total, form.model_options({}), data, machine, draft)
