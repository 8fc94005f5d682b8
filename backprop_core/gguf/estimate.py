"""What an export will cost before it starts: exact size, and time from a moment of real work.

The size comes from the plan. For the time, a few rows of the model's own largest matrix are read,
merged and packed once per storage type.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Final

from backprop_core.gguf.export import Checkpoint, open_checkpoint, plan_checkpoint, quantization_of
from backprop_core.gguf.header import padded
from backprop_core.gguf.plan import PlannedTensor, plan_tensors
from backprop_core.gguf.quantize import Packer, load_packer
from backprop_core.gguf.types import QUANTIZATIONS, Quantization, TensorType
from backprop_core.gguf.writer import pack_rows

_SAMPLE_ELEMENTS: Final = 1 << 18
# A plain disk, and the digests of what is written; a fast disk hides behind the packing.
_WRITE_BYTES_PER_S: Final = 300e6


@dataclass(frozen=True, slots=True)
class GgufForecast:
    """One choice of the export page.

    Attributes:
        quantization: its key.
        size_bytes: the exact size of the file.
        seconds: how long the export will take on this machine.
        quality: what to expect, in a few words.
    """

    quantization: str
    size_bytes: int
    seconds: float
    quality: str


def forecast_gguf(
    model_dir: Path,
    *,
    adapter_dir: Path | None = None,
    quantizations: Collection[str] = tuple(QUANTIZATIONS),
    threads: int | None = None,
) -> list[GgufForecast]:
    """Return size, time and quality of each quantization, in well under a second per type.

    Raises:
        InputError: the folder, adapter or a quantization cannot be used.
        RunError: RUNTIME_MERGE_EXPORT_FAILED, the adapter cannot be merged into this base.
    """
    chosen = [quantization_of(key) for key in quantizations]
    checkpoint = open_checkpoint(model_dir, adapter_dir)
    plans = [
        plan_tensors(checkpoint.config, checkpoint.architecture, checkpoint.source, entry) for entry in chosen
    ]
    # The head has the same length whatever the types, and is slow to make for a large vocabulary.
    head_bytes = len(plan_checkpoint(checkpoint, chosen[0].key, None).header)
    packer = load_packer()
    kinds = {tensor.entry.kind for tensors in plans for tensor in tensors}
    rates = {kind: _elements_per_second(checkpoint, plans[0], kind, packer) for kind in kinds}
    cores = threads or os.cpu_count() or 1
    return [
        _forecast(entry, tensors, head_bytes, rates, cores)
        for entry, tensors in zip(chosen, plans, strict=True)
    ]


def _forecast(
    chosen: Quantization,
    tensors: Sequence[PlannedTensor],
    head_bytes: int,
    rates: Mapping[TensorType, float],
    cores: int,
) -> GgufForecast:
    elements: Counter[TensorType] = Counter()
    size_bytes = head_bytes
    for tensor in tensors:
        elements[tensor.entry.kind] += prod(tensor.entry.shape)
        size_bytes += padded(tensor.entry.size_bytes)
    packing = sum(count / rates[kind] for kind, count in elements.items()) / cores
    seconds = max(packing, size_bytes / _WRITE_BYTES_PER_S)
    return GgufForecast(chosen.key, size_bytes, seconds, chosen.quality)


def _elements_per_second(
    checkpoint: Checkpoint, tensors: Sequence[PlannedTensor], kind: TensorType, packer: Packer
) -> float:
    """Return how many weights one core reads, merges and packs per second, tried on a real matrix."""
    tensor = _sample_tensor(checkpoint, tensors, kind)
    columns = tensor.entry.shape[-1]
    rows = max(1, min(tensor.entry.shape[0], _SAMPLE_ELEMENTS // columns))
    sample = replace(tensor, entry=replace(tensor.entry, kind=kind))
    pack_rows(sample, checkpoint.source, packer, 0, 1)
    began = time.perf_counter()
    pack_rows(sample, checkpoint.source, packer, 0, rows)
    return rows * columns / (time.perf_counter() - began)


def _sample_tensor(
    checkpoint: Checkpoint, tensors: Sequence[PlannedTensor], kind: TensorType
) -> PlannedTensor:
    """Return the largest matrix that the type fits, one that the adapter changes if there is any."""
    adapted = checkpoint.adapter.modules if checkpoint.adapter else {}
    fitting = [
        tensor
        for tensor in tensors
        if len(tensor.entry.shape) == 2 and tensor.source and tensor.entry.shape[-1] % kind.block == 0
    ]
    return max(fitting, key=lambda tensor: (tensor.source in adapted, prod(tensor.entry.shape)))
