"""What is done with the open data file: the report, new versions, pasted rows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.runtime import current
from backprop_app.states.assign import assign
from backprop_app.states.dataset import (
    DatasetState,
    choices_of,
    choose_length,
    choose_model,
    forget_figures,
    open_file,
    show_figures,
)
from backprop_app.states.shell import ShellState
from backprop_app.states.train import TrainState
from backprop_app.views import dataset as views
from backprop_app.views import dataset_report as reports
from backprop_app.views.dataset import NOTHING
from backprop_app.views.dataset_report import ReasonView, VerdictView, VersionItem
from backprop_app.views.form import Option
from backprop_core.datasets.detect import Layout
from backprop_core.datasets.operations import OPERATIONS, Convert
from backprop_core.datasets.review import DataReview
from backprop_core.errors import BackpropagateError
from backprop_core.services import data_changes, data_files, datasets
from backprop_core.services.datasets import FileFigures, ReviewJob

_FRAME_S: Final = 0.3
_MAX_TEXT: Final = 4096
# A report on a file up to this size takes a moment, so nobody has to ask for it.
_AT_ONCE_BYTES: Final = 1 << 20


class DatasetWorkState(rx.State):
    """The report on the open file, its versions, and what makes new ones."""

    verdict: VerdictView = VerdictView()
    reasons: list[ReasonView] = []
    is_reporting: bool = False
    report_done: str = ""
    report_problem: str = ""
    heldout: str = ""
    heldouts: list[Option] = []
    operation: str = "filter"
    operation_error: str = ""
    is_making: bool = False
    versions: list[VersionItem] = []
    has_versions: bool = False
    version_text: str = ""
    shows_paste: bool = False
    paste_error: str = ""
    columns: list[str] = []
    remembered: dict[str, str] = {}
    html_href: str = ""
    json_href: str = ""
    _job: Any = None
    _looked_at: str = ""

    @rx.event
    async def load(self) -> Any:
        """Open the file that the address names, or the list of files."""
        data, train = await self.get_state(DatasetState), await self.get_state(TrainState)
        open_file(data, str(self.router.url.query_parameters.get("file", ""))[:_MAX_TEXT], train.draft)
        assign(self, columns=[], remembered=dict.fromkeys(data_changes.COLUMN_FIELDS, ""))
        if not data.path:
            return DatasetState.list_files
        return [DatasetState.read, DatasetWorkState.count, DatasetWorkState.read_columns]

    @rx.event(background=True)
    async def read_columns(self) -> None:
        """Find the columns that can be named by hand."""
        runtime = current()
        async with self:
            path = (await self.get_state(DatasetState)).path
        try:
            found = await asyncio.to_thread(data_changes.columns_of, runtime.ws, Path(path))
        except BackpropagateError:
            # What is wrong with the file stands on the page already.
            return
        async with self:
            if path == (await self.get_state(DatasetState)).path:
                assign(self, columns=list(found.names), remembered=self.remembered | dict(found.remembered))

    @rx.event
    async def choose_model(self, key: str) -> Any:
        """Look with tokens and template of another model."""
        data = await self.get_state(DatasetState)
        choose_model(data, str(key)[:_MAX_TEXT])
        forget_figures(data)
        return [DatasetState.read, DatasetWorkState.count]

    @rx.event
    async def set_length(self, text: str) -> Any:
        """Cut rows at another length; what is no length changes nothing."""
        data = await self.get_state(DatasetState)
        if not choose_length(data, str(text)):
            return None
        forget_figures(data)
        return [DatasetState.read, DatasetWorkState.count]

    @rx.event(background=True)
    async def count(self) -> Any:
        """Check every row and count tokens, while the first rows are looked at."""
        runtime = current()
        async with self:
            data = await self.get_state(DatasetState)
            path, choices = data.path, choices_of(data)
            if self._job is not None:
                self._job.cancel()
        if not path:
            return None
        try:
            found = await asyncio.to_thread(datasets.figures, runtime.ws, Path(path), choices, runtime.memo)
        except BackpropagateError as error:
            async with self:
                data = await self.get_state(DatasetState)
                if path == data.path:
                    assign(data, problem=error.message, problem_hint=error.hint)
                    if error.details.get("layout") == Layout.UNKNOWN:
                        self.operation = Convert.name
            return None
        async with self:
            data = await self.get_state(DatasetState)
            if path != data.path or choices != choices_of(data):
                return None
            show_figures(data, found, None)
        return DatasetWorkState.look

    @rx.event(background=True)
    async def look(self) -> Any:
        """Find the versions of the open file and the report that was made of it before."""
        runtime = current()
        async with self:
            data = await self.get_state(DatasetState)
            path, choices = Path(data.path), choices_of(data)
            if self._looked_at != data.path:
                assign(self, heldout="", operation_error="")
            self._looked_at = data.path
            assign(self, verdict=VerdictView(), reasons=[], report_problem="", version_text="")
            heldout = Path(self.heldout) if self.heldout else None
        try:
            versions = await asyncio.to_thread(data_changes.versions_of, runtime.ws, path)
            report = datasets.known_review(runtime.ws, path, choices, runtime.memo, heldout=heldout)
            size = path.stat().st_size
        except (BackpropagateError, OSError) as error:
            async with self:
                self.report_problem = str(error)
            return None
        others = [file for file in data_files.list_data_files(runtime.ws) if file != path]
        async with self:
            data = await self.get_state(DatasetState)
            if str(path) != data.path:
                return None
            assign(
                self,
                versions=reports.version_items(versions, path),
                has_versions=len(versions) > 1,
                version_text=reports.version_text(versions, path),
                heldouts=[Option(str(file), file.name, "", "") for file in others],
            )
            if report is not None:
                self._show(data, report)
                return None
            starts = data.figures.tokens != NOTHING and size <= _AT_ONCE_BYTES
        return DatasetWorkState.start_report if starts else None

    @rx.event(background=True)
    async def start_report(self) -> None:
        """Count every token and judge the file, telling how far it is."""
        runtime = current()
        async with self:
            data = await self.get_state(DatasetState)
            if not data.path or data.figures.tokens == NOTHING:
                return
            if self._job is not None:
                self._job.cancel()
            job = self._job = ReviewJob()
            path, choices, total = Path(data.path), choices_of(data), data.total
            heldout = Path(self.heldout) if self.heldout else None
            assign(self, is_reporting=True, report_done="0 rows", report_problem="")
        work = asyncio.create_task(
            asyncio.to_thread(
                datasets.full_review, runtime.ws, path, choices, runtime.memo, job, heldout=heldout
            )
        )
        while not (await asyncio.wait({work}, timeout=_FRAME_S))[0]:
            async with self:
                if self._job is job:
                    self.report_done = f"{job.done_rows:,} of {total:,} rows"
        async with self:
            data = await self.get_state(DatasetState)
            if self._job is not job:
                return
            self.is_reporting, self._job = False, None
            try:
                report = work.result()
            except BackpropagateError as error:
                self.report_problem = f"{error.message} {error.hint}".strip()
                return
            if report is not None and str(path) == data.path and choices == choices_of(data):
                self._show(data, report)

    @rx.event
    def cancel_report(self) -> None:
        """Give the report up; nothing else changes."""
        if self._job is not None:
            self._job.cancel()

    @rx.event
    def choose_heldout(self, path: str) -> Any:
        """Compare with another held-out file, or with none."""
        self.heldout = str(path)[:_MAX_TEXT]
        return DatasetWorkState.start_report

    @rx.event
    async def choose_operation(self, key: str) -> None:
        """Show the fields of another operation, and its command."""
        if key in OPERATIONS:
            self.operation, self.operation_error = key, ""
            data = await self.get_state(DatasetState)
            data.command = views.operation_command(data.path, key)

    @rx.event(background=True)
    async def make(self, values: dict[str, str]) -> Any:
        """Make a new version of the open file and open it."""
        runtime = current()
        async with self:
            if self.is_making:
                return None
            data = await self.get_state(DatasetState)
            path, name = Path(data.path), self.operation
            assign(self, is_making=True, operation_error="")
        try:
            operation = data_changes.operation_of(name, values)
            made = await asyncio.to_thread(data_changes.make_versions, runtime.ws, path, operation)
        except BackpropagateError as error:
            async with self:
                assign(
                    self, is_making=False, operation_error=f"{error.message} {_page_hint(error.hint)}".strip()
                )
            return None
        async with self:
            self.is_making = False
        told = ", ".join(f"{item.path.name} with {item.recipe.rows:,} rows" for item in made if item.recipe)
        runtime.add_note("Dataset", f" {told}")
        await audit.note(self, "data.make", file=made[0].path.name)
        return [
            ShellState.show_toast("New version", told, "ok"),
            rx.redirect(views.dataset_href(made[0].path)),
        ]

    @rx.event
    def toggle_paste(self) -> None:
        """Show or hide the field for pasted rows."""
        self.shows_paste, self.paste_error = not self.shows_paste, ""

    @rx.event(background=True)
    async def paste(self, values: dict[str, str]) -> Any:
        """Keep pasted rows as a new file and open it."""
        runtime = current()
        name, text = str(values.get("name", "")), str(values.get("rows", ""))
        try:
            path = await asyncio.to_thread(data_changes.save_pasted, runtime.ws, name, text)
        except BackpropagateError as error:
            async with self:
                self.paste_error = f"{error.message} {error.hint}".strip()
            return None
        await audit.note(self, "data.paste", file=path.name)
        async with self:
            assign(self, shows_paste=False, paste_error="")
        return rx.redirect(views.dataset_href(path))

    def _show(self, data: DatasetState, report: DataReview) -> None:
        assign(self, verdict=reports.verdict_view(report), reasons=reports.reason_views(report))
        asked = (data.path, data.model, data.length, self.heldout)
        self.html_href = views.report_href(*asked, learns_all=data.learns_all, kind="html")
        self.json_href = views.report_href(*asked, learns_all=data.learns_all, kind="json")
        show_figures(data, FileFigures(report.summary, report.histogram), report)


def _page_hint(hint: str) -> str:
    """Return a hint without what only the command line has."""
    return "" if "--help" in hint else hint
