"""The Dataset page: the list of files, the open one, its rows, and every token of one row."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import reflex as rx

from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.states.train import TrainState
from backprop_app.views import dataset as views
from backprop_app.views import dataset_report as reports
from backprop_app.views import form
from backprop_app.views.dataset import ChatView, FileItem, MaskView, RowItem, TurnView
from backprop_app.views.dataset_report import BarView, FiguresView, LengthView
from backprop_app.views.form import Option
from backprop_core.config.presets import TUTORIAL_MODEL
from backprop_core.datasets.preview import ShownRow
from backprop_core.datasets.review import DataReview
from backprop_core.errors import BackpropagateError
from backprop_core.services import datasets
from backprop_core.services.datasets import DataChoices, FileFigures, RowsPage

_MAX_TEXT: Final = 4096
SHORTEST: Final = 8
LONGEST: Final = 1_000_000
_FILTERS: Final = frozenset(key for key, _ in views.FILTERS)


class DatasetState(rx.State):
    """What is open and what of it is shown."""

    is_loaded: bool = False
    files: list[FileItem] = []
    files_text: str = ""
    path: str = ""
    name: str = ""
    lead: str = ""
    problem: str = ""
    problem_hint: str = ""
    models: list[Option] = []
    model: str = ""
    length: str = views.DEFAULT_LENGTH
    learns_all: bool = False
    has_tokens: bool = False
    rows: list[RowItem] = []
    rows_text: str = ""
    has_rows: bool = False
    page: int = 0
    has_more: bool = False
    rows_filter: str = "all"
    selected: int = 0
    shows: str = "mask"
    mask: MaskView = MaskView()
    turns: list[TurnView] = []
    chat: list[ChatView] = []
    figures: FiguresView = FiguresView()
    bars: list[BarView] = []
    lengths: LengthView = LengthView()
    total: int = 0
    revision: int = 0
    command: str = ""
    _shown: tuple[ShownRow, ...] = ()
    _land_on: int = 0
    _unusable: tuple[int, ...] = ()
    _long: tuple[int, ...] = ()
    _repeated: tuple[int, ...] = ()
    _repeats: dict[int, int] = {}

    @rx.event(background=True)
    async def list_files(self) -> None:
        """List the files that can be opened."""
        runtime = current()
        entries = await asyncio.to_thread(datasets.list_entries, runtime.ws, runtime.memo)
        items = [views.file_item(entry) for entry in entries]
        async with self:
            assign(self, files=items, files_text=views.files_text(items), is_loaded=True)

    @rx.event
    def choose_filter(self, key: str) -> Any:
        """Show all rows, those that are left out, or those that say the same."""
        if key not in _FILTERS:
            return None
        self.rows_filter, self.page, self._land_on = key, 0, 0
        return DatasetState.read

    @rx.event
    def go_to_page(self, page: int) -> Any:
        """Show another page of rows."""
        self.page, self._land_on = max(0, int(page)), 0
        return DatasetState.read

    @rx.event
    def go_to_row(self, values: dict[str, str]) -> Any:
        """Show the page that holds a row; the form has one field."""
        digits = next(iter(values.values()), "").strip().replace(",", "")
        if not digits.isdecimal() or int(digits) < 1:
            return None
        number = min(int(digits), self.total or int(digits))
        self.rows_filter = "all"
        self.page, self._land_on = divmod(number - 1, datasets.PAGE_ROWS)
        return DatasetState.read

    @rx.event
    def choose_row(self, index: int) -> Any:
        """Put another row of the page under the microscope."""
        if 0 <= int(index) < len(self._shown):
            self.selected = int(index)
            return DatasetState.draw
        return None

    @rx.event
    def step(self, by: int) -> Any:
        """Go to the next or the previous row, over the end of a page."""
        index = self.selected + (1 if by > 0 else -1)
        if 0 <= index < len(self._shown):
            return DatasetState.choose_row(index)
        if index >= len(self._shown) and self.has_more:
            self.page, self._land_on = self.page + 1, 0
            return DatasetState.read
        if index < 0 and self.page > 0:
            self.page, self._land_on = self.page - 1, -1
            return DatasetState.read
        return None

    @rx.event
    def show(self, key: str) -> None:
        """Show the row as tokens or as a chat."""
        if key in {"mask", "chat"}:
            self.shows = key

    @rx.event
    def open_path(self, path: str) -> Any:
        """Open a file that was just stored."""
        return rx.redirect(views.dataset_href(str(path)[:_MAX_TEXT]))

    @rx.event
    def train_on_this(self) -> Any:
        """Take the file to the Train page."""
        return TrainState.train_on(self.path)

    @rx.event(background=True)
    async def read(self) -> Any:
        """Read the page of rows that is asked for."""
        runtime = current()
        async with self:
            asked = self._asked()
        try:
            page = await asyncio.to_thread(_read, runtime, asked)
        except BackpropagateError as error:
            async with self:
                if asked == self._asked():
                    assign(self, problem=error.message, problem_hint=error.hint, rows=[])
            return None
        async with self:
            if asked != self._asked():
                return None
            self._take_rows(page)
        return DatasetState.draw

    @rx.event(background=True)
    async def draw(self) -> None:
        """Lay out the tokens of the row under the microscope."""
        runtime = current()
        async with self:
            if not self._shown:
                return
            index, row, choices = self.selected, self._shown[self.selected], choices_of(self)
            has_tokens, learns_all = self.has_tokens, self.learns_all
        turns = await asyncio.to_thread(datasets.mask_turns, runtime.ws, row, choices, runtime.memo)
        view = views.mask_view(row, turns, choices.model, has_tokens=has_tokens, learns_all=learns_all)
        async with self:
            if index == self.selected:
                assign(self, mask=view, turns=views.turn_views(turns), chat=views.chat_views(row))

    def _forget(self) -> None:
        assign(self, rows=[], turns=[], chat=[], bars=[], problem="", problem_hint="", lead="", rows_text="")
        assign(self, page=0, selected=0, rows_filter="all", total=0, has_rows=False, has_more=False)
        assign(self, mask=MaskView(), figures=FiguresView(), lengths=LengthView())
        self._shown, self._land_on = (), 0
        self._unusable, self._long, self._repeated, self._repeats = (), (), (), {}
        self.revision += 1

    def _asked(self) -> _Asked:
        listed = {"unusable": self._unusable, "long": self._long, "repeated": self._repeated}
        numbers = listed.get(self.rows_filter)
        return _Asked(self.path, choices_of(self), self.page, self.rows_filter, numbers)

    def _take_rows(self, page: RowsPage) -> None:
        self._shown = page.rows
        self.selected = (
            len(page.rows) - 1 if self._land_on < 0 else min(self._land_on, max(0, len(page.rows) - 1))
        )
        assign(
            self,
            has_rows=True,
            has_more=page.has_more,
            has_tokens=page.has_tokens,
            rows=views.row_items(page.rows, self._repeats),
            lead=self.lead or views.first_lead(page),
        )
        self.rows_text = views.rows_text(page.rows, self.total, self.rows_filter)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which rows the page wants."""

    path: str
    choices: DataChoices
    page: int
    rows_filter: str
    numbers: Sequence[int] | None


def open_file(state: DatasetState, path: str, draft: Mapping[str, str]) -> None:
    """Open a file, or the list when `path` is empty.

    Args:
        draft: the choices of the Train page, which decide over the mask.
    """
    if path != state.path:
        state._forget()
    state.path, state.name = path, Path(path).name
    if draft.get("max_seq_length", "").isdecimal():
        state.length = draft["max_seq_length"]
    state.learns_all = draft.get("train_on_responses", "on") == "off"
    choose_model(state, state.model or draft.get("model", "") or TUTORIAL_MODEL)


def choose_model(state: DatasetState, model: str) -> None:
    """Show tokens and template of another model; one that is no preset becomes a choice."""
    options = form.model_options({})
    if model not in {option.key for option in options}:
        options.append(Option(model, views.model_label(model), "", ""))
    assign(state, model=model, models=options, command=views.command(state.path, model, state.length))


def choose_length(state: DatasetState, text: str) -> bool:
    """Cut rows at another length; return whether that changed anything."""
    digits = text.strip().replace(",", "")
    if not digits.isdecimal() or not SHORTEST <= int(digits) <= LONGEST or digits == state.length:
        return False
    state.length = str(int(digits))
    state.command = views.command(state.path, state.model, state.length)
    return True


def forget_figures(state: DatasetState) -> None:
    """Take the figures away that other choices gave."""
    state._land_on = state.selected
    assign(state, figures=FiguresView(), bars=[], lengths=LengthView(), problem="", problem_hint="")


def choices_of(state: DatasetState) -> DataChoices:
    """Return what decides over tokens and mask."""
    return DataChoices(state.model, int(state.length), not state.learns_all)


def show_figures(state: DatasetState, found: FileFigures, report: DataReview | None) -> None:
    """Put the figures of a file on the page, exact ones when a report was made."""
    choices = choices_of(state)
    summary, histogram = found.tokens, found.histogram
    if report is not None:
        summary, histogram = report.summary, report.histogram
        state._repeats = reports.repeats_of(report)
        state._repeated = tuple(reports.repeated_numbers(report))
        assign(state, rows=views.row_items(state._shown, state._repeats))
    facts = summary or found.facts
    state._unusable = tuple(problem.row for problem in facts.problems)
    state._long = summary.first_truncated if summary is not None else ()
    assign(
        state,
        total=facts.rows,
        lead=views.lead(facts),
        figures=reports.figures_view(found, report, choices),
        bars=reports.bar_views(histogram, choices.max_seq_length),
        lengths=reports.length_view(histogram, summary, choices.max_seq_length),
        rows_text=views.rows_text(state._shown, facts.rows, state.rows_filter),
    )


def _read(runtime: Runtime, asked: _Asked) -> RowsPage:
    path = Path(asked.path)
    if asked.numbers is not None:
        return datasets.read_numbered(runtime.ws, path, asked.numbers, asked.choices, runtime.memo)
    skip = asked.page * datasets.PAGE_ROWS
    return datasets.read_page(runtime.ws, path, asked.choices, runtime.memo, skip=skip)
