"""What the Export page asks of the services: rows of types, a verdict on a request, the newest job."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_app.runtime import Runtime
from backprop_app.views import export as views
from backprop_app.views.export import ExportItem, TypeItem
from backprop_app.views.proofs import ProofView, proof_view
from backprop_core import files
from backprop_core.config.proofs import read_proof
from backprop_core.errors import BackpropagateError
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunKind
from backprop_core.services import export_checks, export_sources, exports, proofs, runs
from backprop_core.services.export_checks import ExportRequest

_LOOK_EVERY_S: Final = 0.5
_SHOWN_KINDS: Final[tuple[RunKind, ...]] = ("export", "proof", "push")
_OTHER: Final = "Choose another name, format or type."


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an export can start; `is_made` when it is blocked only because its file is there already."""

    needs: str = ""
    blocked: str = ""
    hint: str = ""
    is_made: bool = False


def verdict_on(runtime: Runtime, request: ExportRequest) -> Verdict:
    """Return whether the export that the page describes can start."""
    if not request.source:
        return Verdict()
    try:
        needed = export_checks.check_request(runtime.ws, request, face="page").needed_bytes
    except BackpropagateError as error:
        if error.code == "INPUT_OUTPUT_DIR_NOT_OURS":
            return Verdict(blocked="This file is there already.", hint=_OTHER, is_made=True)
        return Verdict(blocked=error.message, hint=_page_hint(error.hint))
    free = files.free_bytes(export_checks.exports_root(runtime.ws, "page"))
    return Verdict(needs=views.needs_text(needed, free))


def _page_hint(hint: str) -> str:
    """Return a hint without the options of the command line."""
    return hint if "--" not in hint else _OTHER


def types_of(runtime: Runtime, run_id: str) -> tuple[list[TypeItem], BackpropagateError | None]:
    """Return the rows of the table of types, and why they cannot be worked out."""
    ws = runtime.ws
    if not run_id:
        return [], None
    try:
        source = export_sources.find_source(ws, run_id, face="page")
        known = runtime.memo.get(
            ("export", str(source.folder)), lambda: exports.forecast(ws, source, views.SHOWN_TYPES)
        )
    except BackpropagateError as error:
        return views.unknown_types(), error
    made = {
        export.spec.quantization
        for export in exports.list_finished(ws)
        if export.spec.run_id == run_id and export.spec.format == "gguf"
    }
    return views.type_items(known, {key for key in made if key}) or views.unknown_types(), None


class JobFeed:
    """Tells how the newest export stands: the index names it twice a second, the follower knows the rest."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._job: RunState | None = None
        self._next_look = 0.0

    async def next(self) -> RunState | None:
        """Return the export that works or waits, else the one that ended last; None when there is none."""
        if time.monotonic() >= self._next_look:
            self._job = await asyncio.to_thread(newest_job, self._runtime)
            self._next_look = time.monotonic() + _LOOK_EVERY_S
        if self._job is None or self._job.is_terminal:
            return self._job
        live = await self._runtime.follower.get(self._job.run_id)
        return self._job if live is None or live.state.seq < self._job.seq else live.state


def newest_job(runtime: Runtime) -> RunState | None:
    """Return the export, proof or push that works or waits, else the one that ended last."""
    found = [state for kind in _SHOWN_KINDS for state in runs.list_runs(runtime.ws, kind=kind, limit=10)]
    unfinished = [state for state in found if not state.is_terminal]
    if unfinished:
        return min(unfinished, key=lambda state: state.created_at)
    return max(found, key=lambda state: state.ended_at or "", default=None)


def finished_items(runtime: Runtime) -> list[ExportItem]:
    """Return the rows of the exports that stand on the disk."""
    root = export_checks.exports_root(runtime.ws, "page")
    return [
        views.export_item(export, runtime.now(), can_download=_is_download(export.path, root))
        for export in exports.list_finished(runtime.ws, limit=20)
    ]


def proof_of(runtime: Runtime, job_id: str) -> tuple[ProofView, bool]:
    """Return the card of an export and whether a proof of it waits or works; of the newest one without an id."""
    made = [export for export in exports.list_finished(runtime.ws, limit=20) if export.spec.quantization]
    chosen = next((export for export in made if export.job_id == job_id), made[0] if made else None)
    if chosen is None:
        return ProofView(), False
    return proof_view(chosen, read_proof(chosen.path)), proofs.is_proving(runtime.ws, chosen.path)


def _is_download(path: Path, root: Path) -> bool:
    return path.is_relative_to(root) and path.is_file()
