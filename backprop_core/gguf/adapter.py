"""A LoRA adapter as a GGUF file of its own, loaded beside a base GGUF: seconds instead of minutes.

Engines know only W + s·B·A. What an adapter holds beyond that is refused with the reason; such an
adapter is shipped merged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from backprop_core.errors import InputError
from backprop_core.gguf.architectures import Architecture
from backprop_core.gguf.config import ModelConfig
from backprop_core.gguf.export import adapter_digest, open_checkpoint, provenance, title_of
from backprop_core.gguf.header import TensorEntry, f32, text
from backprop_core.gguf.lora import EMBEDDING, OUTPUT
from backprop_core.gguf.names import canonical, gguf_name
from backprop_core.gguf.peft_adapter import Adapter, LoraModule, read_adapter
from backprop_core.gguf.plan import GgufPlan, PlannedTensor, safe_name
from backprop_core.gguf.quantize import load_packer
from backprop_core.gguf.source import FloatArray
from backprop_core.gguf.types import TensorType
from backprop_core.gguf.writer import GgufReport, Progress, ShouldCancel, write_gguf

_WHOLE = slice(None)


def export_adapter_gguf(
    adapter_dir: Path,
    base_dir: Path,
    out_path: Path,
    *,
    progress: Progress | None = None,
    should_cancel: ShouldCancel | None = None,
    name: str | None = None,
) -> GgufReport:
    """Write a LoRA adapter as GGUF, in f16.

    Args:
        adapter_dir: a PEFT LoRA adapter.
        base_dir: its base model; configuration and tensor shapes are read, no weights.
        out_path: the final name; an existing file is replaced in one step.
        progress: receives done bytes, total bytes and the phase.
        should_cancel: asked between tensors.
        name: the adapter's name in the file.

    Raises:
        InputError: a folder cannot be used, or the adapter can only be merged; the message says why.
        RunError: RUNTIME_MERGE_EXPORT_FAILED, the adapter is of another base; or the file could not be
            written, and nothing is left under the final name.
    """
    adapter = read_adapter(adapter_dir, canonical)
    if (reason := why_merge_only(adapter)) is not None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"This adapter cannot stand alone as GGUF: {reason}.",
            hint="Export it merged, with the format gguf.",
        )
    checkpoint = open_checkpoint(base_dir, adapter_dir)
    metadata = {
        "general.architecture": text(checkpoint.architecture.name),
        "general.type": text("adapter"),
        "general.name": text(safe_name(title_of(checkpoint, name))),
        "adapter.type": text("lora"),
        "adapter.lora.alpha": f32(_file_alpha(adapter)),
        **provenance(checkpoint, adapter_digest(checkpoint)),
    }
    tensors = tuple(_tensors(adapter, checkpoint.config, checkpoint.architecture))
    plan = GgufPlan(checkpoint.architecture.name, "adapter", metadata, tensors)
    return write_gguf(
        plan, adapter.source, out_path, load_packer(), progress=progress, should_cancel=should_cancel
    )


def why_merge_only(adapter: Adapter) -> str | None:
    """Return why an adapter cannot be its own GGUF file, or None when it can."""
    if adapter.uses_dora:
        return "DoRA rescales whole matrices, which engines cannot do at load time"
    if adapter.takes_principal_part:
        return "PiSSA moved part of the base into the adapter and was saved without its start"
    if adapter.replaced:
        return f"it replaces {min(adapter.replaced)} as a whole"
    for target in (EMBEDDING, OUTPUT):
        if target in adapter.modules:
            return f"it adapts {target}, which engines take from the base alone"
    return None


def _tensors(adapter: Adapter, config: ModelConfig, architecture: Architecture) -> Iterator[PlannedTensor]:
    for target, module in sorted(adapter.modules.items()):
        name = gguf_name(target, architecture.layer_names)
        if name is None:
            raise InputError(
                "INPUT_VALIDATION_FAILED", f"{target!r} has no place in a {architecture.name} file."
            )
        b, a = _factors(adapter, module)
        change = architecture.transform(config, target)
        b = b if change.rows is None else b[change.rows]
        a = a if change.columns is None else a[:, change.columns]
        for suffix, values in (("lora_a", a), ("lora_b", b)):
            entry = TensorEntry(f"{name}.{suffix}", values.shape, TensorType.F16)
            yield PlannedTensor(entry, constant=np.ascontiguousarray(values))


def _factors(adapter: Adapter, module: LoraModule) -> tuple[FloatArray, FloatArray]:
    """Return `(out, rank)` and `(rank, in)`; a scale of its own is folded into the first.

    Engines scale every pair by the file's alpha over the pair's rank.
    """
    own = module.scale * module.rank / _file_alpha(adapter)
    b = adapter.source.rows(module.b, _WHOLE) * np.float32(own)
    return b, adapter.source.rows(module.a, _WHOLE)


def _file_alpha(adapter: Adapter) -> float:
    return adapter.alpha or 1.0
