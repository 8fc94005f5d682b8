"""The base models of this installation: presets and what they need here, what lies in the caches, downloads.

Removes only what is named, and nothing that unfinished work needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from backprop_core.config.downloads import DownloadSpec
from backprop_core.config.exports import report_path
from backprop_core.config.presets import MODEL_PRESETS, ModelPreset, find_preset
from backprop_core.config.resolve import Layer
from backprop_core.errors import BackpropagateError, InputError, StateError
from backprop_core.hub import cache
from backprop_core.hub.names import understand
from backprop_core.hub.records import CachedModel
from backprop_core.jobs import queue
from backprop_core.planning.estimate import MemoryEstimate
from backprop_core.runs.index import first_state
from backprop_core.runs.projection import ACTIVE, RunState
from backprop_core.runs.store import RunInfo, RunKind, RunSource, create_job, new_run_id
from backprop_core.services.estimates import estimate
from backprop_core.version import __version__
from backprop_core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PresetState:
    """A preset on this machine.

    Attributes:
        cached: the model when it is here.
        forecast: memory of a fine-tune as this machine's settings have it, with the smallest rank when
            that of the settings does not fit; None when it cannot be told.
        problem: why it cannot be told; empty when it can.
    """

    preset: ModelPreset
    cached: CachedModel | None
    forecast: MemoryEstimate | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CachedGguf:
    """The GGUF file of a base model, kept for adapter exports."""

    path: Path
    size_bytes: int


def preset_states(ws: Workspace) -> list[PresetState]:
    """Return every preset with what it needs here and whether it is here."""
    here = {model.id: model for model in reversed(list_cached(ws))}
    return [_preset_state(ws, preset, here.get(preset.hub_id)) for preset in MODEL_PRESETS]


def list_cached(ws: Workspace) -> list[CachedModel]:
    """Return every whole model on this machine: our own first, then those Hugging Face tools share."""
    return cache.cached_models(ws.settings.cache_dir)


def list_ggufs(ws: Workspace) -> list[CachedGguf]:
    """Return the GGUF files of base models that adapter exports have made, by name."""
    found = sorted((ws.home / "cache" / "gguf").glob("*.gguf"))
    return [
        CachedGguf(path, path.stat().st_size)
        for path in found
        if path.is_file() and not path.is_symlink() and report_path(path).is_file()
    ]


def remove(ws: Workspace, name: str) -> int:
    """Delete the model, or the GGUF file of a base model, that `name` is exactly, and return its bytes.

    Args:
        name: preset key, hub id, folder name of a model made from a GGUF file, or the name of a file of
            `list_ggufs`.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND when our caches have none of that name.
        StateError: STATE_RUN_LOCKED while unfinished work needs it.
    """
    for gguf in list_ggufs(ws):
        if gguf.path.name == name:
            return _remove_gguf(ws, gguf)
    preset = find_preset(name)
    names = {name.casefold()} | ({preset.key, preset.hub_id.casefold()} if preset is not None else set())
    _require_unused(name, (run for run in _unfinished(ws, None) if run.model.casefold() in names))
    return cache.remove(name, ws.settings.cache_dir)


def start_download(ws: Workspace, name: str, *, face: RunSource) -> str:
    """Put the fetching of a model into the queue and return the id of the job.

    The job that fetches the same model already is returned instead of a second one.

    Args:
        name: preset key or hub id.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND when it can be none; INPUT_VALIDATION_FAILED when it is here.
    """
    meant = understand(name)
    if meant.kind != "hub":
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{name[:200]!r} is no preset and no hub id.")
    found = cache.find_cached(meant.value, ws.settings.cache_dir)
    if found is not None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{meant.value} is on this machine already.",
            hint=f"It lies in {found.path}.",
        )
    for job in _unfinished(ws, "download"):
        if job.model == meant.value:
            return job.run_id
    info = RunInfo(
        run_id=new_run_id(),
        kind="download",
        name=meant.value,
        source=face,
        created_at=ws.now(),
        launch_id=new_run_id(),
        is_detached=True,
        version=__version__,
    )
    folder = create_job(ws.home / "jobs", DownloadSpec(model=meant.value), info)
    return queue.submit(ws, first_state(folder))


def _preset_state(ws: Workspace, preset: ModelPreset, cached: CachedModel | None) -> PresetState:
    try:
        found = estimate(ws, [Layer("explicit", {"model": preset.hub_id})])
        if not found.fits:
            smaller = estimate(ws, [Layer("explicit", {"model": preset.hub_id, "lora_r": 16})])
            found = smaller if smaller.fits else found
    except BackpropagateError as error:
        return PresetState(preset, cached, None, error.message)
    return PresetState(preset, cached, found)


def _remove_gguf(ws: Workspace, gguf: CachedGguf) -> int:
    _require_unused(gguf.path.name, _unfinished(ws, "export"))
    report = report_path(gguf.path)
    # Without its report the file counts as unfinished, so that no export takes half of it.
    report.unlink(missing_ok=True)
    gguf.path.unlink(missing_ok=True)
    return gguf.size_bytes


def _require_unused(name: str, jobs: Iterable[RunState]) -> None:
    """Refuse to take away what work that has not ended needs.

    Raises:
        StateError: STATE_RUN_LOCKED naming the run.
    """
    for job in jobs:
        raise StateError(
            "STATE_RUN_LOCKED",
            f"{name} is needed by {job.name} ({job.short_id}), which is {job.status}.",
            hint="Wait until it has ended, or stop it, then remove the model.",
        )


def _unfinished(ws: Workspace, kind: RunKind | None) -> list[RunState]:
    queue.refresh_active(ws)
    rows = ws.database.list(statuses=("queued", *sorted(ACTIVE)), kind=kind, limit=1000)
    return [row.state for row in rows]
