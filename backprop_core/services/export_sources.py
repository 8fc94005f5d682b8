"""What can be exported: the adapter of a run, an adapter folder, a model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backprop_core import files
from backprop_core.datasets.convert import convert
from backprop_core.datasets.readers import RowReader
from backprop_core.datasets.rows import Conversation
from backprop_core.errors import BackpropagateError, InputError
from backprop_core.gguf import read_adapter, why_merge_only
from backprop_core.gguf.names import canonical
from backprop_core.hub.names import understand
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RUN_ID_FILE, RunFolder, RunSource
from backprop_core.services import runs
from backprop_core.services.data_files import check_readable
from backprop_core.services.facts import model_folder
from backprop_core.shipping import Training
from backprop_core.workspace import Workspace

_ADAPTER_CONFIG: Final = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class ExportSource:
    """Something that can be exported.

    Attributes:
        folder: of the adapter, or of a whole model when `base_model` is None.
        run_id: of the run that trained the adapter, when it is known.
        name: what the file will be called.
    """

    folder: Path
    base_model: str | None
    run_id: str | None
    name: str


def find_source(ws: Workspace, wanted: str, *, face: RunSource) -> ExportSource:
    """Return what a run id, an adapter folder or a model folder stands for.

    Args:
        face: the page takes runs of the index and folders that it may read.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND, INPUT_MODEL_NOT_FOUND, or INPUT_VALIDATION_FAILED.
        StateError: SANDBOX_PATH_OUTSIDE, the page may not read this folder.
    """
    path = Path(wanted).expanduser()
    if not _looks_like_path(wanted) and not path.is_dir():
        return _from_run(runs.get_run(ws, wanted))
    if face == "page":
        check_readable(ws, path)
    if not path.is_dir():
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{wanted[:200]!r} is not a folder.")
    source = _from_folder(path.absolute())
    if face == "page" and source.base_model is not None and understand(source.base_model).kind != "hub":
        check_readable(ws, Path(source.base_model).expanduser())
    return source


def list_sources(ws: Workspace, limit: int = 50) -> list[RunState]:
    """Return the runs that have an adapter to export, newest first."""
    ended = runs.list_runs(ws, statuses=("completed", "stopped"), limit=4 * limit)
    found = [state for state in ended if _adapter_of(state).is_dir()]
    return found[:limit]


def base_folder(ws: Workspace, source: ExportSource) -> Path | None:
    """Return the folder of the model under an adapter, or the model itself; None when it is not here yet.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND, a folder that is gone or a name that can be no model.
    """
    if source.base_model is None:
        return source.folder
    try:
        return model_folder(ws, source.base_model)
    except InputError as error:
        raise InputError(
            error.code,
            f"The base model of this adapter is gone: {error.message}",
            hint="Put it back; the adapter alone can still be exported with `--format lora`.",
        ) from error


def training_facts(ws: Workspace, source: ExportSource) -> Training:
    """Return what a run knows of its training: the longest row, and the system prompt that all rows share.

    The prompt is read from the data as it was trained on; when the file has changed since, there is none.
    """
    row = ws.database.get(source.run_id) if source.run_id is not None else None
    if row is None or not row.state.is_training:
        return Training()
    folder = RunFolder(Path(row.state.folder))
    try:
        spec, wanted = folder.spec(), folder.info().dataset_hash
        return Training(shared_system(Path(spec.dataset), wanted), spec.max_seq_length)
    except BackpropagateError:
        return Training()


def shared_system(path: Path, wanted_sha256: str | None) -> str | None:
    """Return the system prompt of a data file when every usable row has the same one, None otherwise.

    Raises:
        InputError: the file is gone or cannot be read.
    """
    reader = RowReader(path)
    shared: str | None = None
    for batch in reader.batches():
        for number, value in batch.rows:
            conversation = convert(value, number)
            if not isinstance(conversation, Conversation):
                continue
            first = next(iter(conversation.messages), None)
            if first is None or first.role != "system" or shared not in (None, first.content):
                return None
            shared = first.content
    return shared if reader.counter.sha256 == wanted_sha256 else None


def why_not_alone(source: ExportSource) -> str | None:
    """Return why a source cannot be exported as `ollama-adapter`, None when it can."""
    if source.base_model is None:
        return "it is a whole model"
    try:
        return why_merge_only(read_adapter(source.folder, canonical))
    except BackpropagateError as error:
        return error.message


def _from_run(state: RunState) -> ExportSource:
    adapter = _adapter_of(state)
    if not state.is_training or not adapter.is_dir():
        raise InputError(
            "INPUT_MODEL_NOT_FOUND",
            f"Run {state.short_id} is {state.status} and has no adapter.",
            hint="Choose a run that completed or was stopped after its first step.",
        )
    return ExportSource(adapter, state.model, state.run_id, f"{state.name}-{state.short_id}")


def _from_folder(path: Path) -> ExportSource:
    if (path / _ADAPTER_CONFIG).is_file():
        run_id = path / RUN_ID_FILE
        return ExportSource(
            folder=path,
            base_model=_base_named_by(path / _ADAPTER_CONFIG),
            run_id=run_id.read_text(encoding="utf-8").strip()[:36] if run_id.is_file() else None,
            name=path.name,
        )
    if (path / "config.json").is_file():
        return ExportSource(folder=path, base_model=None, run_id=None, name=path.name)
    if (path / "adapter" / _ADAPTER_CONFIG).is_file():
        return _from_folder(path / "adapter")
    raise InputError(
        "INPUT_MODEL_NOT_FOUND",
        f"{path} holds neither an adapter nor a model.",
        hint=f"Name a run id, a folder with {_ADAPTER_CONFIG}, or a model folder with config.json.",
    )


def _base_named_by(config: Path) -> str:
    try:
        values: Any = files.read_json(config)
        base = values.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError("INPUT_VALIDATION_FAILED", f"{config} is not JSON.") from error
    if not isinstance(base, str) or not base:
        raise InputError("INPUT_VALIDATION_FAILED", f"{config} does not name its base model.")
    return base


def _adapter_of(state: RunState) -> Path:
    return RunFolder(Path(state.folder)).adapter


def _looks_like_path(wanted: str) -> bool:
    return any(mark in wanted for mark in "/\\~.")
