"""The Models page: what fits and what is here, one download at a time, removals that are asked for twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.runtime import Runtime, current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views import models as views
from backprop_app.views.models import CachedItem, DownloadView, PresetItem
from backprop_core import units
from backprop_core.errors import BackpropagateError
from backprop_core.files import free_bytes
from backprop_core.runs.projection import RunState
from backprop_core.services import models, runs

_FRAME_S: Final = 0.5
_NAME_LENGTH: Final = 200


class ModelsState(rx.State):
    """Presets, caches, and the download that works or ended last."""

    is_loaded: bool = False
    presets: list[PresetItem] = []
    cached: list[CachedItem] = []
    total: str = ""
    typed: str = ""
    typed_error: str = ""
    job: DownloadView = DownloadView()
    is_starting: bool = False
    is_stopping: bool = False
    asks_remove: str = ""
    remove_text: str = ""

    @rx.event(background=True)
    async def watch(self) -> None:
        """Keep the page fresh until it is left: presets and caches change when a download begins or ends."""
        runtime = current()
        seen: tuple[str, ...] | None = None
        while True:
            jobs = await asyncio.to_thread(_jobs, runtime)
            mark = tuple(f"{job.run_id} {job.status}" for job in jobs)
            async with self:
                self._show_job(jobs)
            if mark != seen:
                await self._refresh(jobs)
            seen = mark
            await asyncio.sleep(_FRAME_S)

    async def _refresh(self, jobs: list[RunState]) -> None:
        """Look again at presets and caches."""
        runtime = current()
        coming = frozenset(job.model for job in jobs if not job.is_terminal)
        presets, cached, total = await asyncio.to_thread(_read, runtime, coming)
        async with self:
            assign(self, presets=presets, cached=cached, total=total, is_loaded=True)

    @rx.event
    def type_name(self, text: str) -> None:
        """Follow what is typed into the field of another model."""
        self.typed, self.typed_error = str(text).strip()[:_NAME_LENGTH], ""

    @rx.event
    def fetch_typed(self) -> Any:
        """Fetch the model whose name was typed."""
        return ModelsState.start(self.typed)

    @rx.event(background=True)
    async def start(self, name: str) -> Any:
        """Start fetching a model; a second click is the same job."""
        async with self:
            if self.is_starting:
                return None
            self.is_starting, self.typed_error = True, ""
        try:
            job_id = await asyncio.to_thread(
                models.start_download, current().ws, name[:_NAME_LENGTH], face="page"
            )
        except BackpropagateError as error:
            async with self:
                self.is_starting = False
                self.typed_error = f"{error.message} {error.hint}".strip()
            return None
        await audit.note(self, "model.download", run_id=job_id, model=name[:_NAME_LENGTH])
        async with self:
            self.is_starting = False
        return None

    @rx.event(background=True)
    async def cancel(self) -> Any:
        """Cancel the download that works."""
        async with self:
            job_id, self.is_stopping = self.job.job_id, True
        try:
            await asyncio.to_thread(runs.stop, current().ws, job_id)
        except BackpropagateError as error:
            async with self:
                self.is_stopping = False
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "model.cancel", run_id=job_id)
        return None

    @rx.event(background=True)
    async def repeat(self) -> Any:
        """Put the download that failed back into the queue."""
        async with self:
            job_id = self.job.job_id
        try:
            await asyncio.to_thread(runs.resume, current().ws, job_id)
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "model.download", run_id=job_id)
        return None

    @rx.event
    def ask_remove(self, name: str) -> None:
        """Ask before something of the list is removed."""
        for item in self.cached:
            if item.name and item.name == name:
                self.asks_remove, self.remove_text = item.name, f"{item.size} in {item.path}"

    @rx.event
    def keep(self) -> None:
        """Remove nothing."""
        self.asks_remove = ""

    @rx.event(background=True)
    async def remove(self) -> Any:
        """Remove what was asked about, and nothing else."""
        async with self:
            name, self.asks_remove = self.asks_remove, ""
        if not name:
            return None
        runtime = current()
        try:
            freed = await asyncio.to_thread(models.remove, runtime.ws, name)
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "model.remove", model=name)
        await self._refresh(await asyncio.to_thread(_jobs, runtime))
        return ShellState.show_toast(f"{name} was removed", f"{units.file_size(freed)} are free again.", "ok")

    def _show_job(self, jobs: list[RunState]) -> None:
        unfinished = [job for job in jobs if not job.is_terminal]
        shown = unfinished[-1] if unfinished else jobs[0] if jobs else None
        assign(self, job=views.download_view(shown) if shown else DownloadView())
        if not unfinished:
            self.is_stopping = False


def _jobs(runtime: Runtime) -> list[RunState]:
    return runs.list_runs(runtime.ws, kind="download", limit=20)


def _read(runtime: Runtime, coming: frozenset[str]) -> tuple[list[PresetItem], list[CachedItem], str]:
    ws = runtime.ws
    presets = [views.preset_item(state, coming) for state in models.preset_states(ws)]
    cached, ggufs = models.list_cached(ws), models.list_ggufs(ws)
    total = views.total_text(cached, ggufs, free_bytes(Path(ws.home)))
    return presets, views.cached_items(cached, ggufs), total
