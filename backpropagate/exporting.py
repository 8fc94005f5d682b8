"""Exports and Ollama for Python programs: the work is done in the calling process, with the journal of a job.

Needs neither torch nor a second program.
"""

from __future__ import annotations

from pathlib import Path

from backprop_core import files
from backprop_core.config.exports import report_path
from backprop_core.config.proofs import read_proof
from backprop_core.errors import RunError
from backprop_core.ollama import OllamaModel, Registration
from backprop_core.services import exports, ollama
from backprop_core.services.export_checks import ExportRequest
from backprop_core.services.opening import open_workspace
from backprop_core.workspace import Workspace
from backpropagate.inprocess import work_here
from backpropagate.results import ExportResult


def export_gguf(
    source: str | Path,
    quantization: str = "q4_k_m",
    output_dir: str | Path | None = None,
    *,
    name: str | None = None,
    ollama_name: str | None = None,
    proof: bool = True,
    model_card: bool = True,
) -> ExportResult:
    """Write one GGUF file for llama.cpp and Ollama, an adapter merged on the way.

    Args:
        source: a run's id, an adapter folder or a model folder.
        quantization: the GGUF type, for example `q4_k_m` or `f16`.
        output_dir: folder that receives the file; `./output/exports/gguf` by default.
        name: of the model, for the file and inside it.
        ollama_name: register the file with Ollama under this name.
        proof: compare the file with the trained model.
        model_card: write a model card beside it.

    Raises:
        BackpropagateError: what stands in the way, or why it failed; no half file is left.
    """
    request = ExportRequest(
        str(source),
        "gguf",
        quantization,
        folder=_folder(output_dir),
        name=name,
        ollama_name=ollama_name,
        wants_proof=proof,
        wants_card=model_card,
    )
    return export_here(request)


def export_lora(
    source: str | Path, output_dir: str | Path | None = None, *, name: str | None = None
) -> ExportResult:
    """Copy an adapter, with its tokenizer, to a folder of its own.

    Args:
        source: a run's id or an adapter folder.
        output_dir: receives the folder; `./output/exports/lora` by default.
        name: of the folder.

    Raises:
        BackpropagateError: what stands in the way, or why it failed; no half folder is left.
    """
    return export_here(ExportRequest(str(source), "lora", folder=_folder(output_dir), name=name))


def export_merged(
    source: str | Path, output_dir: str | Path | None = None, *, name: str | None = None
) -> ExportResult:
    """Write the base model with the adapter merged in, as a safetensors folder.

    Args:
        source: a run's id or an adapter folder.
        output_dir: receives the folder; `./output/exports/merged` by default.
        name: of the folder.

    Raises:
        BackpropagateError: what stands in the way, or why it failed; no half folder is left.
    """
    return export_here(ExportRequest(str(source), "merged", folder=_folder(output_dir), name=name))


def write_model_card(path: str | Path) -> Path:
    """Write the model card of an export, or of an adapter or model folder, and return its path.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND, there is nothing at `path`.
    """
    ws = open_workspace()
    try:
        return exports.write_model_card(ws, Path(path))
    finally:
        ws.close()


def register_with_ollama(path: str | Path, name: str, *, force: bool = False) -> Registration:
    """Register a GGUF file, or a folder of base and adapter, with Ollama and hear it answer.

    Args:
        force: also a file whose proof is red.

    Raises:
        RunError: RUNTIME_EXPORT_PROOF_FAILED, the proof beside it is red.
        InputError: the files are no sound GGUF, or the name cannot be used.
        DependencyError: DEP_OLLAMA_REGISTRATION_FAILED; the file is kept.
    """
    return ollama.register(Path(path), name, force=force)


def list_ollama_models() -> list[OllamaModel]:
    """Return the models that Ollama holds.

    Raises:
        DependencyError: DEP_OLLAMA_REGISTRATION_FAILED, the server does not answer.
    """
    return ollama.list_models()


def remove_ollama_model(name: str) -> None:
    """Remove a model from Ollama; exported files stay.

    Raises:
        InputError: this can be no model's name.
        DependencyError: DEP_OLLAMA_REGISTRATION_FAILED.
    """
    ollama.remove(name)


def export_here(request: ExportRequest) -> ExportResult:
    """Do an export in this process; Ctrl-C cancels it.

    Raises:
        BackpropagateError: what stands in the way, or why it failed.
        RunError: RUNTIME_EXPORT_CANCELLED.
    """
    ws = open_workspace()
    try:
        return _work(ws, request)
    finally:
        ws.close()


def _work(ws: Workspace, request: ExportRequest) -> ExportResult:
    state = work_here(ws, exports.prepare(ws, request, face="python", is_detached=False))
    made = exports.finished(state)
    if state.status != "completed" or made is None:
        raise RunError("RUNTIME_EXPORT_CANCELLED", f"The export {state.name} was cancelled.")
    warnings = tuple(files.read_json(report_path(made.path))["warnings"])
    return ExportResult(made.path, made.size_bytes, made.seconds, read_proof(made.path), warnings)


def _folder(output_dir: str | Path | None) -> Path | None:
    return None if output_dir is None else Path(output_dir)
