"""Whether an export can be made: format, type, source, place and room, each with its code. Creates nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from backprop_core import files
from backprop_core.config.exports import ExportFormat
from backprop_core.errors import InputError, StateError
from backprop_core.gguf import QUANTIZATIONS, plan_gguf
from backprop_core.ollama import require_name
from backprop_core.planning.disk import reserve_bytes
from backprop_core.runs.projection import ACTIVE
from backprop_core.runs.store import RunFolder, RunSource
from backprop_core.services.export_sources import ExportSource, base_folder, find_source, why_not_alone
from backprop_core.services.room import require_room
from backprop_core.workspace import Workspace

FORMATS: Final[tuple[ExportFormat, ...]] = get_args(ExportFormat)
QUANTIZED_FORMATS: Final[frozenset[ExportFormat]] = frozenset({"gguf", "ollama-adapter"})
DEFAULT_QUANTIZATION: Final = "q4_k_m"

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_STEM_LENGTH: Final = 80
_NAME_LENGTH: Final = 100
_OLLAMA_NAME_LENGTH: Final = 60


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What somebody wants exported.

    Attributes:
        source: a run id or its prefix, an adapter folder, or a model folder.
        output: the final file or folder; for `gguf` also a folder that receives the file.
        folder: receives the export under a derived name when `output` is None; `<exports>/<format>` by default.
        name: of the model, for the file and inside it; that of the source when None.
        ollama_name: register the export with Ollama afterwards.
        wants_proof: compare a GGUF export with the trained model afterwards.
        wants_card: write a model card beside it.
    """

    source: str
    format: ExportFormat = "gguf"
    quantization: str = DEFAULT_QUANTIZATION
    output: Path | None = None
    folder: Path | None = None
    name: str | None = None
    ollama_name: str | None = None
    wants_proof: bool = True
    wants_card: bool = True


@dataclass(frozen=True, slots=True)
class CheckedExport:
    """A request that can be carried out."""

    source: ExportSource
    name: str
    target: Path
    needed_bytes: int


def check_request(ws: Workspace, request: ExportRequest, *, face: RunSource) -> CheckedExport:
    """Return what a request comes to after everything about it was checked; nothing is created.

    Raises:
        InputError: format, type, name or source cannot be used, or the target exists already.
        RunError: RUNTIME_DISK_FULL, or the adapter does not belong to the base.
        StateError: the page may not read or write there.
    """
    _check_choices(request)
    source = find_source(ws, request.source, face=face)
    name = (request.name or source.name).strip()[:_NAME_LENGTH] or "model"
    target = _target(ws, request, name, face)
    _check_source(source, request.format)
    needed = needed_bytes(ws, source, request.format, request.quantization, name=name)
    if face == "page":
        require_room(ws, needed, "The export")
    else:
        files.require_free(target.parent, needed + reserve_bytes(None), "The export")
    return CheckedExport(source, name, target, needed)


def needed_bytes(
    ws: Workspace, source: ExportSource, format: ExportFormat, quantization: str, *, name: str | None = None
) -> int:
    """Return the bytes that an export adds to the disk; 0 when the base model is not here yet.

    Args:
        name: of the model inside the file, which counts to the byte.
    """
    if format == "lora":
        return files.size_of_tree(source.folder)
    base = base_folder(ws, source)
    if base is None:
        return 0
    if format == "merged":
        return sum(path.stat().st_size for path in base.glob("*.safetensors"))
    adapter = source.folder if format == "gguf" and source.base_model is not None else None
    size = plan_gguf(base, quantization, adapter_dir=adapter, name=name).size_bytes
    return size + (files.size_of_tree(source.folder) if format == "ollama-adapter" else 0)


def file_name(name: str, format: ExportFormat, quantization: str) -> str:
    """Return what the file or folder of an export is called: `my-model-q4_k_m.gguf`, `my-model`."""
    stem = _UNSAFE.sub("-", name).strip("-._")[:_STEM_LENGTH] or "model"
    if format not in QUANTIZED_FORMATS:
        return stem
    return f"{stem}-{quantization}" + (".gguf" if format == "gguf" else "")


def ollama_name_of(name: str) -> str:
    """Return a name that Ollama takes, made from any name."""
    return _UNSAFE.sub("-", name).strip("-._")[:_OLLAMA_NAME_LENGTH].lower().strip("-._") or "model"


def exports_root(ws: Workspace, face: RunSource) -> Path:
    """Return the folder that receives the exports of a face: `./output/exports`, the page's own below its
    folder.
    """
    return ws.settings.sandbox_root / "exports" if face == "page" else Path("output/exports").absolute()


def _check_choices(request: ExportRequest) -> None:
    if request.format not in FORMATS:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{request.format!r} is no format.",
            hint=f"Choose {', '.join(FORMATS)}.",
        )
    if request.format in QUANTIZED_FORMATS and request.quantization not in QUANTIZATIONS:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"The quantization {request.quantization!r} is unknown.",
            hint=f"Choose one of {', '.join(QUANTIZATIONS)}.",
        )
    if request.ollama_name is not None:
        require_name(request.ollama_name)
    if request.ollama_name is not None and request.format not in QUANTIZED_FORMATS:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"Ollama takes GGUF files; the format {request.format} is none.",
            hint="Use `--format gguf` or `--format ollama-adapter`.",
        )


def _check_source(source: ExportSource, format: ExportFormat) -> None:
    if format == "lora" and source.base_model is None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{source.folder} is a whole model and has no adapter of its own.",
            hint="Export it with `--format gguf` or `--format merged`.",
        )
    if format == "ollama-adapter" and (reason := why_not_alone(source)) is not None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"This cannot be an adapter of its own in Ollama: {reason}.",
            hint="Export it merged, with `--format gguf`.",
        )


def _target(ws: Workspace, request: ExportRequest, name: str, face: RunSource) -> Path:
    """Return the final file or folder, which must not exist yet.

    Raises:
        InputError: INPUT_OUTPUT_DIR_NOT_OURS.
        StateError: SANDBOX_PATH_OUTSIDE, the page would write outside of its folder.
    """
    derived = file_name(name, request.format, request.quantization)
    folder = request.folder or exports_root(ws, face) / request.format
    target = (request.output or folder / derived).expanduser().absolute()
    if request.format == "gguf" and target.suffix != ".gguf":
        target = target / derived
    if face == "page":
        _prepare_place(ws, target)
    _require_unclaimed(ws, target)
    if target.exists():
        raise InputError(
            "INPUT_OUTPUT_DIR_NOT_OURS",
            f"{target} exists already and is not replaced.",
            hint="Choose another name with `--output`, or move it away.",
        )
    return target


def _prepare_place(ws: Workspace, target: Path) -> None:
    """Make the folder of an export of the page, below the app's own and reached without a link."""
    if not target.is_relative_to(ws.sandbox.root):
        raise StateError("SANDBOX_PATH_OUTSIDE", f"{target.name} would lie outside of the app's folder.")
    parts = target.relative_to(ws.sandbox.root).parts
    ws.sandbox.path(*parts)
    ws.sandbox.prepare()
    ws.sandbox.make_folders(*parts[:-1])
    ws.sandbox.require_no_twin(*parts)


def _require_unclaimed(ws: Workspace, target: Path) -> None:
    """Refuse a target that a job in the queue is going to make or makes now."""
    rows = ws.database.list(statuses=("queued", *sorted(ACTIVE)), kind="export", limit=100)
    for state in (row.state for row in rows):
        if RunFolder(Path(state.folder)).export_spec().output == str(target):
            raise StateError(
                "STATE_RUN_LOCKED",
                f"{target.name} is being made by export {state.short_id}.",
                hint="Wait for it, or choose another name.",
            )
