"""The Export page: what to export, in which form, and the job that does it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

import reflex as rx

from backprop_app import audit
from backprop_app.exporting import JobFeed, Verdict, finished_items, proof_of, types_of, verdict_on
from backprop_app.runtime import current
from backprop_app.states.assign import assign
from backprop_app.states.shell import ShellState
from backprop_app.views import export as views
from backprop_app.views.export import ExportItem, JobView, OllamaView, SourceItem, TypeItem
from backprop_app.views.proofs import ProofView
from backprop_core.errors import BackpropagateError
from backprop_core.runs.projection import TERMINAL, RunState
from backprop_core.services import export_checks, export_sources, exports, ollama, proofs, pushes, runs
from backprop_core.services.export_checks import ExportRequest

_FRAME_S: Final = 0.2
_NAME_LENGTH: Final = 80
_FORMATS: Final = frozenset(key for key, _ in views.FORMATS)
_QUANTIZED: Final = frozenset({"gguf", "ollama-adapter"})


class ExportState(rx.State):
    """What the user chose, and what the machine makes of it."""

    is_loaded: bool = False
    sources: list[SourceItem] = []
    source: SourceItem = SourceItem("", "", "", "")
    format: str = "gguf"
    format_note: str = ""
    quantization: str = export_checks.DEFAULT_QUANTIZATION
    types: list[TypeItem] = []
    is_measuring: bool = False
    name: str = ""
    to_ollama: bool = False
    wants_proof: bool = True
    proof: ProofView = ProofView()
    is_proving: bool = False
    proof_job: str = ""
    ollama_name: str = ""
    server: OllamaView = OllamaView()
    needs: str = ""
    blocked: str = ""
    blocked_hint: str = ""
    is_made: bool = False
    job: JobView = JobView()
    items: list[ExportItem] = []
    items_text: str = ""
    command: str = ""
    python: str = ""
    open_picker: bool = False
    asks_cancel: bool = False
    is_starting: bool = False
    is_stopping: bool = False
    revision: int = 0
    _start_key: str = ""

    @rx.event(background=True)
    async def load(self) -> Any:
        """Look up what can be exported; the address may name the run."""
        runtime = current()
        async with self:
            wanted = str(self.router.url.query_parameters.get("run", "")) or self.source.run_id
            self._start_key = self._start_key or uuid.uuid4().hex
        states = await asyncio.to_thread(export_sources.list_sources, runtime.ws)
        sources = [views.source_item(state, runtime.now()) for state in states]
        chosen = next((item for item in sources if wanted and item.run_id.startswith(wanted)), None)
        async with self:
            assign(self, sources=sources, is_loaded=True)
            if chosen is None and sources:
                chosen = sources[0]
            if chosen is None:
                self.source = SourceItem("", "", "", "")
                return ExportState.look_at_ollama
            self._choose(chosen)
        return [ExportState.measure, ExportState.look_at_ollama]

    @rx.event
    def show_picker(self, is_open: bool) -> None:
        """Open or close the list of runs."""
        self.open_picker = bool(is_open)

    @rx.event
    def choose_run(self, run_id: str) -> Any:
        """Export another run."""
        self.open_picker = False
        for item in self.sources:
            if item.run_id == run_id:
                self._choose(item)
                return ExportState.measure
        return None

    @rx.event
    def choose_format(self, key: str) -> Any:
        """Export to another format."""
        if key in _FORMATS:
            self.format = key
            return ExportState.check
        return None

    @rx.event
    def choose_type(self, key: str) -> Any:
        """Take another GGUF type."""
        if key in views.SHOWN_TYPES:
            self.quantization = key
            return ExportState.check
        return None

    @rx.event
    def set_name(self, value: str) -> Any:
        """Change the name of file and model."""
        self.name = str(value).strip()[:_NAME_LENGTH]
        return ExportState.check

    @rx.event
    def set_ollama_name(self, value: str) -> Any:
        """Change the name in Ollama."""
        self.ollama_name = str(value).strip()[:_NAME_LENGTH]
        return ExportState.check

    @rx.event
    def toggle_ollama(self) -> Any:
        """Register with Ollama afterwards, or not."""
        self.to_ollama = not self.to_ollama
        return [ExportState.check, ExportState.look_at_ollama]

    @rx.event
    def toggle_proof(self) -> Any:
        """Compare the file with the trained model afterwards, or not."""
        self.wants_proof = not self.wants_proof
        return ExportState.check

    @rx.event(background=True)
    async def show_proof(self, job_id: str) -> None:
        """Show the proof of one export."""
        view, is_proving = await asyncio.to_thread(proof_of, current(), job_id)
        async with self:
            assign(self, proof_job=view.job_id, proof=view, is_proving=is_proving)

    @rx.event(background=True)
    async def start_proof(self) -> Any:
        """Prove the file that is shown again."""
        async with self:
            job_id = self.proof.job_id
        try:
            made = await asyncio.to_thread(proofs.start_for_export, current().ws, job_id, face="page")
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "proof.start", run_id=made)
        async with self:
            self.is_proving = True
        return None

    @rx.event(background=True)
    async def look_at_ollama(self) -> None:
        """Ask whether the server answers."""
        try:
            status = await asyncio.to_thread(ollama.status)
        except BackpropagateError as error:
            status = ollama.OllamaStatus("", "", error.message)
        async with self:
            self.server = views.ollama_view(status)

    @rx.event(background=True)
    async def measure(self) -> Any:
        """Work out size and time of every type, without holding up the page."""
        runtime = current()
        async with self:
            run_id, self.is_measuring = self.source.run_id, True
        types, problem = await asyncio.to_thread(types_of, runtime, run_id)
        async with self:
            if run_id == self.source.run_id:
                assign(self, types=types, is_measuring=False)
        if problem is not None:
            async with self:
                self._judge(Verdict(blocked=problem.message, hint=problem.hint))
            return None
        return ExportState.check

    @rx.event(background=True)
    async def check(self) -> None:
        """Tell what the export needs, or why it cannot start."""
        runtime = current()
        async with self:
            request = self._request()
            self._describe()
        verdict = await asyncio.to_thread(verdict_on, runtime, request)
        async with self:
            if request == self._request():
                self._judge(verdict)

    @rx.event(background=True)
    async def start(self) -> Any:
        """Start the export; a second click before the answer is the same job."""
        async with self:
            if self.is_starting or not self.source.run_id:
                return None
            self.is_starting = True
            request, key = self._request(), self._start_key
        runtime = current()
        try:
            job_id = await asyncio.to_thread(exports.start, runtime.ws, request, face="page", start_key=key)
        except BackpropagateError as error:
            async with self:
                self.is_starting = False
                self._judge(Verdict(blocked=error.message, hint=error.hint))
            return None
        await audit.note(self, "export.start", run_id=job_id)
        async with self:
            self.is_starting, self._start_key = False, uuid.uuid4().hex
        return None

    @rx.event
    def ask_cancel(self) -> None:
        """Ask before the export is cancelled."""
        self.asks_cancel = True

    @rx.event
    def keep(self) -> None:
        """Let the export go on."""
        self.asks_cancel = False

    @rx.event(background=True)
    async def cancel(self) -> Any:
        """Cancel the export that works."""
        async with self:
            job_id, self.asks_cancel, self.is_stopping = self.job.job_id, False, True
        try:
            await asyncio.to_thread(runs.stop, current().ws, job_id)
        except BackpropagateError as error:
            async with self:
                self.is_stopping = False
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "export.stop", run_id=job_id)
        return None

    @rx.event(background=True)
    async def repeat(self) -> Any:
        """Put the job that failed back into the queue."""
        async with self:
            job_id, repeat = self.job.job_id, pushes.again if self.job.kind == "push" else runs.resume
        try:
            await asyncio.to_thread(repeat, current().ws, job_id)
        except BackpropagateError as error:
            return ShellState.show_toast(error.message, error.hint, "danger")
        await audit.note(self, "export.start", run_id=job_id)
        return None

    @rx.event(background=True)
    async def watch(self) -> None:
        """Keep the newest job and the list of exports live until the page is left."""
        runtime = current()
        feed = JobFeed(runtime)
        seen: tuple[str, str] | None = None
        while True:
            state = await feed.next()
            mark = (state.run_id, state.status) if state else ("", "")
            items = await asyncio.to_thread(finished_items, runtime) if mark != seen else None
            async with self:
                shown = "" if _has_new_file(state, mark, seen) else self.proof_job
            proof = await asyncio.to_thread(proof_of, runtime, shown) if mark != seen else None
            async with self:
                self._show(state, items)
                if proof is not None:
                    assign(self, proof_job=proof[0].job_id, proof=proof[0], is_proving=proof[1])
            if seen is not None and mark != seen:
                await self._after_change(mark)
            seen = mark
            await asyncio.sleep(_FRAME_S)

    async def _after_change(self, mark: tuple[str, str]) -> None:
        """Look again at what an export that began or ended changes on the page."""
        async with self:
            run_id = self.source.run_id
            if mark[1] in TERMINAL:
                self.is_stopping = self.asks_cancel = False
        types, _ = await asyncio.to_thread(types_of, current(), run_id)
        async with self:
            if run_id == self.source.run_id:
                assign(self, types=types)
            request = self._request()
        verdict = await asyncio.to_thread(verdict_on, current(), request)
        async with self:
            self._judge(verdict)

    def _show(self, state: RunState | None, items: list[ExportItem] | None) -> None:
        assign(self, job=views.job_view(state) if state else JobView())
        if items is not None:
            count = f"{len(items)} {'file' if len(items) == 1 else 'files'}" if items else ""
            assign(self, items=items, items_text=count)

    def _judge(self, verdict: Verdict) -> None:
        """Show whether the export can start."""
        assign(
            self,
            needs=verdict.needs,
            blocked=verdict.blocked,
            blocked_hint=verdict.hint,
            is_made=verdict.is_made,
        )

    def _choose(self, item: SourceItem) -> None:
        """Take a run and names made from it."""
        if item.run_id != self.source.run_id:
            self.name = _default_name(item)
            self.ollama_name = export_checks.ollama_name_of(item.name)
            self.revision += 1
            assign(self, types=views.unknown_types(), needs="", blocked="", blocked_hint="")
        self.source = item
        self._describe()

    def _request(self) -> ExportRequest:
        """Return what Start would ask for."""
        wants_ollama = self.to_ollama and self.format in _QUANTIZED
        return ExportRequest(
            source=self.source.run_id,
            format=self.format,  # type: ignore[arg-type]
            quantization=self.quantization,
            name=self.name or None,
            ollama_name=self.ollama_name if wants_ollama else None,
            wants_proof=self.wants_proof,
        )

    def _describe(self) -> None:
        """Write down the note of the format and the two twins."""
        request = self._request()
        name = "" if self.name == _default_name(self.source) else self.name
        words = (self.source.short_id, self.format, self.quantization, name, request.ollama_name or "")
        assign(
            self,
            format_note=views.FORMAT_NOTES[self.format],
            command=views.command_twin(*words, wants_proof=self.wants_proof),
            python=views.python_twin(*words, wants_proof=self.wants_proof),
        )


def _has_new_file(state: RunState | None, mark: tuple[str, str], seen: tuple[str, str] | None) -> bool:
    """Return whether an export has just ended, whose proof is the one to show."""
    is_export = state is not None and state.kind == "export" and state.is_terminal
    return is_export and seen is not None and mark != seen


def _default_name(item: SourceItem) -> str:
    """Return what a file is called when nobody says otherwise; the services call it the same."""
    return f"{item.name}-{item.short_id}"
