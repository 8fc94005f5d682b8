"""A model folder, with or without an adapter, turned into one GGUF file.

Composes the parts of this package; holds no format knowledge of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core import files
from backprop_core.errors import InputError
from backprop_core.gguf.architectures import Architecture, architecture_of
from backprop_core.gguf.config import ModelConfig, read_config
from backprop_core.gguf.header import Value, text
from backprop_core.gguf.lora import OUTPUT, MergedSource
from backprop_core.gguf.names import canonical, left_out_part
from backprop_core.gguf.peft_adapter import Adapter, read_adapter
from backprop_core.gguf.plan import GgufPlan, model_metadata, plan_tensors, vocabulary_size
from backprop_core.gguf.quantize import load_packer
from backprop_core.gguf.source import TensorSource, open_model
from backprop_core.gguf.types import QUANTIZATIONS, Quantization
from backprop_core.gguf.vocab import read_tokenizer, tokenizer_metadata
from backprop_core.gguf.writer import GgufReport, Progress, ShouldCancel, write_gguf
from backprop_core.redact import redact

_UNKNOWN_DIGEST: Final = "0" * 64


@dataclass(frozen=True)
class Checkpoint:
    """What is exported: a model, its tensors as trained, and where its tokenizer lies.

    Attributes:
        folder: of the base model.
        config: its configuration.
        architecture: its family.
        source: its tensors, the adapter merged in.
        adapter: the adapter, if any.
        tokenizer_folder: of the adapter when that brings a tokenizer, else of the base.
        warnings: what the user should know, as sentences.
    """

    folder: Path
    config: ModelConfig
    architecture: Architecture
    source: TensorSource
    adapter: Adapter | None
    tokenizer_folder: Path
    warnings: tuple[str, ...]


def export_gguf(
    model_dir: Path,
    out_path: Path,
    quantization: str,
    *,
    adapter_dir: Path | None = None,
    source: TensorSource | None = None,
    progress: Progress | None = None,
    should_cancel: ShouldCancel | None = None,
    name: str | None = None,
    threads: int | None = None,
) -> GgufReport:
    """Write a GGUF file in one pass, without an intermediate copy of the model.

    Args:
        model_dir: the original 16- or 32-bit base model, or a full fine-tuned one.
        out_path: the final name; an existing file is replaced in one step.
        quantization: a key of `QUANTIZATIONS`.
        adapter_dir: a PEFT LoRA adapter to merge on the way.
        source: tensors, adapter merged, to use in place of this package's own numpy merge.
        progress: receives done bytes, total bytes and the phase (`writing`, `saving`).
        should_cancel: asked many times a second.
        name: the model's name in the file.
        threads: packing threads; all cores when not given.

    Raises:
        InputError: the folder, adapter or quantization cannot be used.
        RunError: RUNTIME_MERGE_EXPORT_FAILED, RUNTIME_DISK_FULL, RUNTIME_EXPORT_CANCELLED or
            RUNTIME_GGUF_EXPORT_FAILED; nothing is left under the final name.
    """
    checkpoint = open_checkpoint(model_dir, adapter_dir, source)
    plan = plan_checkpoint(checkpoint, quantization, name, adapter_sha256=adapter_digest(checkpoint))
    return write_gguf(
        plan,
        checkpoint.source,
        out_path,
        load_packer(),
        threads=threads,
        progress=progress,
        should_cancel=should_cancel,
    )


def plan_gguf(
    model_dir: Path, quantization: str, *, adapter_dir: Path | None = None, name: str | None = None
) -> GgufPlan:
    """Return the file that `export_gguf` would write, with its exact size; reads no weights.

    Raises:
        InputError: the folder, adapter or quantization cannot be used.
        RunError: RUNTIME_MERGE_EXPORT_FAILED, the adapter cannot be merged into this base.
    """
    return plan_checkpoint(open_checkpoint(model_dir, adapter_dir), quantization, name)


def open_checkpoint(
    model_dir: Path, adapter_dir: Path | None, source: TensorSource | None = None
) -> Checkpoint:
    """Open a base model and its adapter and check that they belong together.

    Raises:
        InputError: a folder cannot be used.
        RunError: RUNTIME_MERGE_EXPORT_FAILED, the adapter cannot be merged into this base.
    """
    config = read_config(model_dir)
    architecture = architecture_of(config)
    base, warnings = _open_base(model_dir, config)
    adapter = None if adapter_dir is None else read_adapter(adapter_dir, canonical)
    tokenizer_folder = model_dir
    if adapter is not None:
        if (adapter.folder / "tokenizer.json").is_file():
            tokenizer_folder = adapter.folder
        if adapter.takes_principal_part:
            warnings.append(
                "The PiSSA adapter was saved without its start; a decomposition per matrix is repeated."
            )
        source = source or MergedSource(base, adapter, is_tied=config.is_tied)
    return Checkpoint(
        model_dir, config, architecture, source or base, adapter, tokenizer_folder, tuple(warnings)
    )


def plan_checkpoint(
    checkpoint: Checkpoint, quantization: str, name: str | None, *, adapter_sha256: str = _UNKNOWN_DIGEST
) -> GgufPlan:
    """Return the file for an opened checkpoint; without the adapter's digest, one of the same size.

    Raises:
        InputError: the quantization is unknown, or weights and tokenizer do not fit together.
    """
    chosen = quantization_of(quantization)
    config, source = checkpoint.config, checkpoint.source
    rows = vocabulary_size(config, source)
    tokenizer = read_tokenizer(checkpoint.tokenizer_folder, checkpoint.folder)
    warnings = list(checkpoint.warnings)
    if tokenizer.chat_template is None:
        warnings.append("The model has no chat template; chat programs will guess one.")
    metadata = (
        model_metadata(config, checkpoint.architecture, chosen, title_of(checkpoint, name), rows)
        | tokenizer_metadata(tokenizer, config.values, rows)
        | provenance(checkpoint, adapter_sha256)
    )
    tensors = plan_tensors(config, checkpoint.architecture, source, chosen)
    return GgufPlan(checkpoint.architecture.name, chosen.key, metadata, tensors, tuple(warnings))


def quantization_of(key: str) -> Quantization:
    """Return the quantization of a key, in any case.

    Raises:
        InputError: there is none.
    """
    chosen = QUANTIZATIONS.get(key.lower())
    if chosen is None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"The quantization {key!r} is unknown.",
            hint=f"Choose one of {', '.join(QUANTIZATIONS)}.",
        )
    return chosen


def title_of(checkpoint: Checkpoint, name: str | None) -> str:
    """Return what the file calls itself: the given name, else that of the adapter's or model's folder."""
    return redact(name or (checkpoint.adapter.folder if checkpoint.adapter else checkpoint.folder).name)


def _open_base(folder: Path, config: ModelConfig) -> tuple[TensorSource, list[str]]:
    """Open the tensors of a base model by their canonical names; say what parts are not exported."""
    left_out: set[str] = set()

    def wanted(name: str) -> str | None:
        if (part := left_out_part(name)) is not None:
            left_out.add(part)
        # A stored copy of a tied output matrix would only be ignored.
        return None if config.is_tied and name == OUTPUT else canonical(name)

    base = open_model(folder, wanted)
    return base, [f"Text only: {' and '.join(sorted(left_out))} were left out."] if left_out else []


def adapter_digest(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 of the adapter's weights; a placeholder when there is no adapter."""
    if checkpoint.adapter is None:
        return _UNKNOWN_DIGEST
    return files.sha256_of(checkpoint.adapter.folder / "adapter_model.safetensors")


def provenance(checkpoint: Checkpoint, adapter_sha256: str) -> dict[str, Value]:
    """Return where the weights come from, so that a file found later can be traced."""
    adapter = checkpoint.adapter
    base = (adapter.base_model if adapter else "") or checkpoint.folder.name
    keys = {"backpropagate.base_model": redact(base)}
    if adapter is not None:
        keys["backpropagate.adapter_sha256"] = adapter_sha256
        run_id = adapter.folder / "run_id"
        if run_id.is_file():
            keys["backpropagate.run_id"] = run_id.read_text(encoding="utf-8").strip()[:64]
    return {key: text(value) for key, value in keys.items()}
