"""The form of a campaign: one model, one data file or one per leg, and every leg shown before Start."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.campaigning import Found, layers_of, look, plan_of, rules_of
from backprop_app.runtime import current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views import campaign as views
from backprop_app.views.campaign import PreviewLeg
from backprop_app.views.form import FieldView, Option
from backprop_app.views.machine import Pair
from backprop_app.views.plan import page_hint
from backprop_core.config.campaigns import campaign_fields
from backprop_core.config.schema import train_fields
from backprop_core.errors import BackpropagateError
from backprop_core.services import campaigns
from backprop_core.services.campaign_plan import CampaignDraft

_MAX_TEXT: Final = 4096
_MAX_SOURCES: Final = 100
_FIELDS: Final = {field.name for field in (*train_fields(), *campaign_fields())} - {"output_dir", "dataset"}


class CampaignFormState(rx.State):
    """What the user chose, as text; the legs and what they need follow from it."""

    draft: dict[str, str] = {}
    sources: list[str] = []
    models: list[Option] = []
    data: list[Option] = []
    chosen: list[Option] = []
    model: str = ""
    model_note: str = ""
    fields: list[FieldView] = []
    errors: dict[str, str] = {}
    legs: list[PreviewLeg] = []
    costs: list[Pair] = []
    blocked: str = ""
    command: str = ""
    open_picker: str = ""
    is_planning: bool = False
    is_starting: bool = False
    _start_key: str = ""
    _revision: int = 0

    @rx.event(background=True)
    async def load(self) -> Any:
        """Fill the form on the first visit and refresh what can be chosen on each."""
        found: Found = await asyncio.to_thread(look, current())
        async with self:
            assign(self, models=found.models, data=found.data)
            self.draft = self.draft or found.draft
            self._start_key = self._start_key or uuid.uuid4().hex
        return CampaignFormState.replan

    @rx.event
    def set_field(self, name: str, value: str) -> Any:
        """Change one field."""
        if name not in _FIELDS:
            return None
        self.draft = {**self.draft, name: str(value).strip()[:_MAX_TEXT]}
        return CampaignFormState.replan

    @rx.event
    def reset_field(self, name: str) -> Any:
        """Go back to the rule for one field."""
        self.draft = {key: value for key, value in self.draft.items() if key != name}
        self._revision += 1
        return CampaignFormState.replan

    @rx.event
    def show_picker(self, name: str, is_open: bool) -> None:
        """Open or close the list of models or of data files."""
        self.open_picker = str(name) if is_open else ""

    @rx.event
    def pick(self, name: str, value: str) -> Any:
        """Take a model, or one more data file."""
        self.open_picker = ""
        if name != "dataset":
            return CampaignFormState.set_field(name, value)
        if value and len(self.sources) < _MAX_SOURCES:
            self._take([*self.sources, value[:_MAX_TEXT]])
        return CampaignFormState.replan

    @rx.event
    def pick_typed(self, values: dict[str, str]) -> Any:
        """Take the model or data file that was typed; the form has one field."""
        name, value = next(iter(values.items()), ("", ""))
        return CampaignFormState.pick(name, value) if value else None

    @rx.event
    def uploaded(self, path: str) -> Any:
        """Take the data file that was just uploaded and offer it from now on."""
        return [CampaignFormState.pick("dataset", path), CampaignFormState.load]

    @rx.event
    def drop_source(self, index: int) -> Any:
        """Take a data file out again."""
        self._take([path for at, path in enumerate(self.sources) if at != index])
        return CampaignFormState.replan

    @rx.event(background=True)
    async def replan(self) -> Any:
        """Work out what the form means, without holding up the page."""
        runtime = current()
        async with self:
            draft, sources, revision = dict(self.draft), list(self.sources), self._revision
            self.is_planning = True
        try:
            result = await asyncio.to_thread(plan_of, runtime, draft, sources)
            rules = await asyncio.to_thread(rules_of, runtime)
        except BackpropagateError as error:
            async with self:
                self.is_planning = False
            return ShellState.show_toast(error.message, error.hint, "danger")
        async with self:
            if (draft, sources) == (self.draft, self.sources):
                self._show(result, rules, revision)
                self.is_planning = False
        return None

    @rx.event(background=True)
    async def start(self) -> Any:
        """Start the campaign; a second click before the answer is the same one."""
        async with self:
            if self.is_starting:
                return None
            self.is_starting = True
            layers, key = layers_of(self.draft, self.sources), self._start_key
        runtime = current()
        try:
            started = await asyncio.to_thread(
                campaigns.start_campaign, runtime.ws, layers, source="page", start_key=key, memo=runtime.memo
            )
        except BackpropagateError as error:
            async with self:
                self.is_starting, self.blocked = False, error.message
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "campaign.start", run_id=started.run_id)
        await runtime.follower.refresh()
        async with self:
            self.is_starting, self._start_key = False, uuid.uuid4().hex
        return rx.redirect(f"/multi-run?run={started.run_id}")

    def _take(self, sources: list[str]) -> None:
        """Show the files at once; what they mean takes a while to work out."""
        self.sources = sources
        self.chosen = views.source_options(sources, self.data)

    def _show(self, result: CampaignDraft, rules: dict[str, Any], revision: int) -> None:
        errors = {
            problem.field: f"{problem.message} {page_hint(problem)}".strip()
            for problem in reversed(result.problems)
        }
        model = self.draft.get("model", str(rules["model"]))
        known = next((option for option in self.models if option.key == model), None)
        if len(self.sources) > 1:
            rules = {**rules, "num_runs": len(self.sources)}
        first = result.problems[0] if result.problems else None
        assign(
            self,
            errors=errors,
            blocked=f"{first.message} {page_hint(first)}".strip() if first else "",
            chosen=views.source_options(self.sources, self.data),
            model=known.label if known else model,
            model_note=known.note if known else "",
            fields=views.form_fields(self.draft, rules, errors, revision),
            command=views.command_twin(self.draft, self.sources),
        )
        if result.plan is not None:
            assign(self, legs=views.preview(result.plan.legs), costs=views.plan_rows(result.plan))
        elif not self.sources:
            assign(self, legs=[], costs=[])
