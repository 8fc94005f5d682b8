"""An export handed to Ollama: its files checked first, its Modelfile, the line that repeats it.

Puts the GGUF reader and the Ollama client together, for the export job and for the services.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from backprop_core import files
from backprop_core.config.exports import gguf_parts, report_path
from backprop_core.config.proofs import read_proof
from backprop_core.errors import DependencyError, InputError, RunError
from backprop_core.gguf import GgufStructure, Progress, ShouldCancel, check_gguf
from backprop_core.ollama import OllamaClient, Registration, modelfile, plan_recipe, register


@dataclass(frozen=True, slots=True)
class Training:
    """What Ollama is told about the training.

    Attributes:
        system: the system prompt that every row shared, if there is one.
        tokens: the longest row that was trained on; None when not known.
    """

    system: str | None = None
    tokens: int | None = None


def register_export(
    path: Path,
    name: str,
    *,
    progress: Progress | None = None,
    should_cancel: ShouldCancel | None = None,
    force: bool = False,
) -> Registration:
    """Register a GGUF file, or a folder of base and adapter, with Ollama and hear it answer.

    Args:
        path: the export; what its report tells of the training is told to Ollama.
        name: of the model in Ollama; an older model of that name is replaced.
        progress: receives done bytes, total bytes and the phase.
        should_cancel: asked between chunks.
        force: register a file whose proof is red, too.

    Raises:
        InputError: the files are no sound GGUF, or the name cannot be used; Ollama was not called.
        DependencyError: DEP_OLLAMA_REGISTRATION_FAILED with the line that repeats it; the files are kept.
        RunError: RUNTIME_EXPORT_CANCELLED, or RUNTIME_EXPORT_PROOF_FAILED when the proof beside the file is red.
    """
    model, adapter = _checked(path)
    if not force:
        _require_not_red(path)
    training = training_of(path)
    with OllamaClient() as client:
        try:
            return register(
                model,
                name,
                client,
                adapter=adapter,
                system=training.system,
                trained_tokens=training.tokens,
                progress=progress,
                should_cancel=should_cancel,
            )
        except DependencyError as error:
            raise DependencyError(
                error.code, error.message, hint=f"{path} is kept. Repeat with: {retry_line(path, name)}"
            ) from error


def retry_line(path: Path, name: str) -> str:
    """Return the command that registers an export again."""
    return f"backprop ollama register {shlex.quote(str(path))} --name {name}"


def modelfile_of(path: Path, training: Training) -> str:
    """Return the text of the Modelfile of an export, fit for old servers too.

    Raises:
        InputError: a file name or the system prompt cannot stand in a Modelfile.
    """
    model, adapter = _checked(path)
    recipe = plan_recipe(model, system=training.system, trained_tokens=training.tokens)
    return modelfile(model.path.name, recipe, None if adapter is None else adapter.path.name)


def training_of(path: Path) -> Training:
    """Return what the report beside an export tells of its training; nothing when there is none."""
    try:
        report = files.read_json(report_path(path))
        system, tokens = report.get("system"), report.get("trained_tokens")
    except (OSError, ValueError, AttributeError):
        return Training()
    return Training(system if isinstance(system, str) else None, tokens if type(tokens) is int else None)


def _require_not_red(path: Path) -> None:
    proof = read_proof(path)
    if proof is not None and proof.is_red:
        raise RunError(
            "RUNTIME_EXPORT_PROOF_FAILED",
            f"{path.name} does not answer as the trained model did. {proof.cause}",
            hint="Export it again, or register it as it is with `--force`.",
        )


def _checked(path: Path) -> tuple[GgufStructure, GgufStructure | None]:
    model_path, adapter_path = gguf_parts(path)
    model = check_gguf(model_path)
    if model.is_adapter:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{path.name} is an adapter without its base; Ollama cannot run it alone.",
            hint="Name the folder that `--format ollama-adapter` made, with base and adapter.",
        )
    return model, None if adapter_path is None else check_gguf(adapter_path)
