"""Plans, starts and lists exports: how large a file becomes, how long it takes, where it goes.

Everything that can be wrong is found here, with a code, before anything is created.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backprop_core import files
from backprop_core.config.exports import ExportSpec, report_path
from backprop_core.errors import InputError
from backprop_core.gguf import QUANTIZATIONS, GgufForecast, forecast_gguf
from backprop_core.model_card import gather, write_card
from backprop_core.runs.projection import TERMINAL, RunState
from backprop_core.runs.store import RunFolder, RunSource
from backprop_core.services import jobs, runs
from backprop_core.services.evaluations import newest_evaluation
from backprop_core.services.export_checks import (
    QUANTIZED_FORMATS,
    ExportRequest,
    check_request,
    ollama_name_of,
)
from backprop_core.services.export_sources import ExportSource, base_folder, find_source, training_facts
from backprop_core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class FinishedExport:
    """An export that stands on the disk.

    Attributes:
        is_registered: whether the job also handed it to Ollama.
    """

    job_id: str
    path: Path
    spec: ExportSpec
    size_bytes: int
    seconds: float
    ended_at: str
    is_registered: bool

    def as_json(self) -> dict[str, object]:
        """Return the export as plain values."""
        return {
            "run_id": self.job_id,
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "seconds": self.seconds,
            "ended_at": self.ended_at,
            "is_registered": self.is_registered,
            "spec": self.spec.model_dump(),
        }


def forecast(
    ws: Workspace, source: ExportSource, quantizations: Sequence[str] = tuple(QUANTIZATIONS)
) -> list[GgufForecast]:
    """Return size, time and quality of each GGUF type; empty when the base model is not here yet.

    Raises:
        InputError, RunError: base and adapter do not fit together, or a type is unknown.
    """
    base = base_folder(ws, source)
    if base is None:
        return []
    adapter = None if source.base_model is None else source.folder
    return forecast_gguf(base, adapter_dir=adapter, quantizations=quantizations)


def with_ollama_name(ws: Workspace, request: ExportRequest, *, face: RunSource) -> ExportRequest:
    """Return a request that registers with Ollama under a name made from that of the model.

    Raises:
        InputError: the source cannot be found.
    """
    name = request.name or find_source(ws, request.source, face=face).name
    return dataclasses.replace(request, ollama_name=ollama_name_of(name))


def prepare(ws: Workspace, request: ExportRequest, *, face: RunSource, is_detached: bool) -> RunFolder:
    """Create the folder of an export job; nothing is started.

    Raises:
        InputError: format, type or source cannot be used, or the target exists already.
        RunError: RUNTIME_DISK_FULL, or the adapter does not belong to the base.
        StateError: the page may not read or write there.
    """
    spec = _spec(ws, request, face)
    return jobs.create(ws, "export", Path(spec.output).name, spec, face=face, is_detached=is_detached)


def start(ws: Workspace, request: ExportRequest, *, face: RunSource, start_key: str | None = None) -> str:
    """Create an export job, put it into the queue and return its id.

    Args:
        start_key: chosen once per intention; the same key gives the same job again.

    Raises:
        BackpropagateError: see `prepare`; nothing was created.
    """
    if start_key is not None and (known := ws.database.run_for_key(start_key)) is not None:
        return known
    folder = prepare(ws, request, face=face, is_detached=True)
    return jobs.submit(ws, folder, start_key)


def list_finished(ws: Workspace, limit: int = 50) -> list[FinishedExport]:
    """Return the exports that still stand where they were made, newest first.

    A job that ended in its last phase, with Ollama, has made its files too.
    """
    ended = runs.list_runs(ws, statuses=sorted(TERMINAL), kind="export", limit=4 * limit)
    found = (finished(state) for state in ended)
    return [export for export in found if export is not None][:limit]


def write_model_card(ws: Workspace, path: Path) -> Path:
    """Write the model card of an export, or of an adapter or model folder, in place of an older one.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND, there is nothing at `path`.
    """
    path = path.expanduser().absolute()
    if not path.exists():
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{path} does not exist.")
    run_id = gather(path, ws.settings.cache_dir).run_id
    job = newest_evaluation(ws, run_id) if run_id else None
    return write_card(path, ws.settings.cache_dir, Path(job.folder) if job is not None else None)


def finished(state: RunState) -> FinishedExport | None:
    """Return what an export job has made; None when it made nothing or it is gone."""
    if state.kind != "export":
        return None
    spec = RunFolder(Path(state.folder)).export_spec()
    path = Path(spec.output)
    try:
        report = files.read_json(report_path(path))
        is_ours = report["job_id"] == state.run_id and path.exists()
        if not is_ours:
            return None
        return FinishedExport(
            job_id=state.run_id,
            path=path,
            spec=spec,
            size_bytes=int(report["size_bytes"]),
            seconds=float(report["seconds"]),
            ended_at=state.ended_at or "",
            is_registered=spec.ollama_name is not None and state.status == "completed",
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _evaluation_of(ws: Workspace, run_id: str | None) -> str | None:
    job = newest_evaluation(ws, run_id) if run_id is not None else None
    return job.folder if job is not None else None


def _spec(ws: Workspace, request: ExportRequest, face: RunSource) -> ExportSpec:
    """Return the spec of a request after everything about it was checked."""
    checked = check_request(ws, request, face=face)
    source, training = checked.source, training_facts(ws, checked.source)
    return ExportSpec(
        format=request.format,
        source=str(source.folder),
        base_model=source.base_model,
        output=str(checked.target),
        name=checked.name,
        quantization=request.quantization if request.format in QUANTIZED_FORMATS else None,
        ollama_name=request.ollama_name,
        run_id=source.run_id,
        system=training.system,
        trained_tokens=training.tokens,
        wants_proof=request.wants_proof,
        wants_card=request.wants_card,
        evaluation=_evaluation_of(ws, source.run_id),
    )
