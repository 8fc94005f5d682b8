"""What can be talked to: the adapter or model of a run, an export, a folder, a GGUF file; and its base beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backprop_core import files
from backprop_core.config.chats import ChatSpec, Side
from backprop_core.config.exports import ADAPTER_FILE, BASE_FILE, gguf_parts, report_path
from backprop_core.errors import BackpropagateError, InputError, StateError
from backprop_core.hub.names import understand
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder, RunSource
from backprop_core.services import exports, runs
from backprop_core.services.data_files import check_readable
from backprop_core.services.export_sources import ExportSource, base_folder, find_source
from backprop_core.services.facts import model_folder
from backprop_core.workspace import Workspace

_GGUF: Final = ".gguf"
_MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class ChatSource:
    """A model that can be talked to.

    Attributes:
        key: what finds it again: a run's id, or the path.
        name: for people.
        kind: how it is held, for people: adapter, model or a GGUF type.
        tuned: what the worker of the tuned side holds.
        base: what the worker of the base side holds, the same one where it can do both; None when the
            base is not known or not on this machine.
        base_name: of the model it was trained from, empty when not known.
        base_kind: how the base is held.
        made_at: ISO time when the index knows it, else empty.
    """

    key: str
    name: str
    kind: str
    tuned: ChatSpec
    base: ChatSpec | None
    base_name: str = ""
    base_kind: str = ""
    made_at: str = ""

    def spec(self, side: Side) -> ChatSpec:
        """Return what answers for a side.

        Raises:
            InputError: INPUT_MODEL_NOT_FOUND, there is no base to ask.
        """
        wanted = self.tuned if side == "tuned" else self.base
        if wanted is None:
            raise InputError(
                "INPUT_MODEL_NOT_FOUND",
                f"The base model of {self.name} is not known or not on this machine.",
                hint=f"Fetch it with `backprop models download {self.base_name}`."
                if self.base_name
                else None,
            )
        return wanted


def find_chat(ws: Workspace, wanted: str, *, face: RunSource) -> ChatSource:
    """Return what a run id, a folder or a GGUF file stands for.

    Args:
        face: the page takes what the index knows and folders that it may read.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND, INPUT_MODEL_NOT_FOUND or INPUT_VALIDATION_FAILED.
        StateError: SANDBOX_PATH_OUTSIDE, the page may not read there.
    """
    path = Path(wanted).expanduser()
    is_path = any(mark in wanted for mark in "/\\~.")
    if is_path or path.exists():
        if face == "page":
            check_readable(ws, path)
        return _from_path(ws, path.absolute(), wanted, face)
    state = runs.get_run(ws, wanted)
    if state.kind == "export":
        return _from_export(ws, state)
    return _from_run(ws, state)


def list_chats(ws: Workspace, limit: int = 50) -> Sequence[ChatSource]:
    """Return what the index knows and can be talked to now: runs, then GGUF exports, newest first."""
    ended = runs.list_runs(ws, statuses=("completed", "stopped"), limit=limit)
    made = [runs.get_run(ws, export.job_id) for export in exports.list_finished(ws, limit)]
    found = []
    for state in [*ended, *made]:
        try:
            source = _from_export(ws, state) if state.kind == "export" else _from_run(ws, state)
        except BackpropagateError:
            # Without an adapter, or its base is gone: nothing to talk to.
            continue
        found.append(dataclasses.replace(source, made_at=state.ended_at or ""))
    return found


def _from_run(ws: Workspace, state: RunState) -> ChatSource:
    folder = RunFolder(Path(state.folder))
    if state.kind == "train" and state.artifact == _MODEL and (folder.path / _MODEL).is_dir():
        source = ExportSource(folder.path / _MODEL, None, state.run_id, state.name)
        return _whole(ws, source, state.run_id, state.model)
    return _adapted(ws, find_source(ws, state.run_id, face="cli"), state.run_id, state.name)


def _from_export(ws: Workspace, state: RunState) -> ChatSource:
    made = exports.finished(state)
    if made is None:
        raise InputError("INPUT_RUN_NOT_FOUND", f"The export {state.short_id} made no file, or it is gone.")
    if made.spec.format in {"gguf", "ollama-adapter"}:
        return _gguf(ws, made.path, state.run_id)
    return _from_folder(ws, made.path, state.run_id)


def _from_path(ws: Workspace, path: Path, key: str, face: RunSource) -> ChatSource:
    if path.suffix.lower() == _GGUF:
        if not path.is_file():
            raise InputError("INPUT_MODEL_NOT_FOUND", f"{path} does not exist.")
        return _gguf(ws, path, key, face)
    if (path / BASE_FILE).is_file() and (path / ADAPTER_FILE).is_file():
        return _gguf(ws, path, key, face)
    # The service looks at the base that an adapter names as it looks at the adapter itself.
    return _of_source(ws, find_source(ws, str(path), face=face), key)


def _from_folder(ws: Workspace, path: Path, key: str) -> ChatSource:
    return _of_source(ws, find_source(ws, str(path), face="cli"), key)


def _of_source(ws: Workspace, source: ExportSource, key: str) -> ChatSource:
    if source.base_model is None:
        return _whole(ws, source, key, "")
    return _adapted(ws, source, key, source.name)


def _adapted(ws: Workspace, source: ExportSource, key: str, name: str) -> ChatSource:
    base = base_folder(ws, source)
    if base is None:
        raise InputError(
            "INPUT_MODEL_NOT_FOUND",
            f"The base model {source.base_model!r} of {name} is not on this machine.",
            hint=f"Fetch it with `backprop models download {source.base_model}`.",
        )
    spec = ChatSpec(engine="torch", model=str(base), adapter=str(source.folder))
    base_name = Path(source.base_model or "").name
    return ChatSource(key, name, "adapter", spec, spec, base_name, "without the adapter")


def _whole(ws: Workspace, source: ExportSource, key: str, base_name: str) -> ChatSource:
    spec = ChatSpec(engine="torch", model=str(source.folder))
    return ChatSource(key, source.name, "whole model", spec, *_base_beside(ws, base_name))


def _gguf(ws: Workspace, path: Path, key: str, face: RunSource = "cli") -> ChatSource:
    model, adapter = gguf_parts(path)
    if face == "page":
        for part in (model, adapter):
            if part is not None:
                check_readable(ws, part)
    report = _report_of(path)
    kind = str(report.get("quantization") or "GGUF")
    name = path.name.removesuffix(_GGUF)
    spec = ChatSpec(engine="gguf", model=str(model), adapter=str(adapter) if adapter else None)
    base_name = str(report.get("base_model") or "")
    if adapter is not None:
        return ChatSource(key, name, kind, spec, spec, Path(base_name).name, "without the adapter")
    return ChatSource(key, name, kind, spec, *_base_beside(ws, base_name, face))


def _base_beside(ws: Workspace, base_name: str, face: RunSource = "cli") -> tuple[ChatSpec | None, str, str]:
    """Return spec, name and kind of a base that is held by a worker of its own."""
    if not base_name:
        return None, "", ""
    try:
        if face == "page" and understand(base_name).kind != "hub":
            check_readable(ws, Path(base_name).expanduser())
        folder = model_folder(ws, base_name)
    except (InputError, StateError):
        folder = None
    spec = None if folder is None else ChatSpec(engine="torch", model=str(folder))
    return spec, Path(base_name).name, "as published"


def _report_of(path: Path) -> dict[str, Any]:
    try:
        report = files.read_json(report_path(path))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}
