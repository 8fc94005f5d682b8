"""Forecast of the memory that a training run needs at its peak, by component, from sizes alone.

It decides nothing; `fit` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from backprop_core.planning.activations import (
    activation_bytes,
    layer_token_bytes,
    logit_bytes,
    workspace_bytes,
)
from backprop_core.planning.load import TrainingLoad
from backprop_core.planning.records import Calibration, MemoryPart
from backprop_core.units import GIB

# Resident memory of a worker that has imported the training libraries, before any weight.
CPU_LIBRARIES_BYTES: Final = 620_000_000
# Driver context and kernels of a CUDA process, outside of PyTorch's own counters.
CUDA_CONTEXT_BYTES: Final = int(0.6 * GIB)
# Share of its buffers that PyTorch's CUDA allocator loses to fragmentation.
_CUDA_LOST: Final = 0.05
# What a processor's heap loses, as a share of the activations of all layers, recomputed or not: the
# holes between aligned buffers are too small for the next layer's. Measured with glibc 2.36.
_CPU_LOST: Final = 0.5

# Relative half width of the error bar until runs on this device narrow it.
_UNMEASURED_ERROR: Final = {"cuda": 0.15, "cpu": 0.25}
_INEXACT_SHAPE_ERROR: Final = 0.30
_LEAST_ERROR: Final = 0.03

# Parts that measured runs correct; weights, adapter and optimizer are known to the byte.
_UNCERTAIN: Final = frozenset({"activations", "logits", "spare"})
_LEAST_FACTOR: Final = 0.2

# Both states of an 8-bit optimizer with their scales, per weight.
_STATE_8BIT_BYTES: Final = 2.06
# nf4 with double quantization: half a byte, and per block of 64 one byte and 4/256 of an fp32.
_NF4_BYTES: Final = 0.5 + (1 + 4 / 256) / 64
_INT8_BYTES: Final = 1.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """The peak with its parts and its error bar.

    Attributes:
        comparable_bytes: what the run's own memory figure would be if sizes alone decided: without
            correction by earlier runs, and on CUDA without the context, which PyTorch does not count.
    """

    parts: tuple[MemoryPart, ...]
    peak_bytes: int
    error_bytes: int
    source: str
    comparable_bytes: int


def forecast(load: TrainingLoad, calibration: Calibration | None = None) -> Forecast:
    """Return the memory that `load` needs at its peak.

    Args:
        load: what is to be held.
        calibration: measured against forecast peaks of this device; None when no run was measured.
    """
    activations, logits = activation_bytes(load), logit_bytes(load)
    parts = (
        MemoryPart("weights", _weights_label(load), base_weight_bytes(load), "frozen"),
        *_learning_parts(load),
        MemoryPart("activations", "Activations", activations, "activations"),
        MemoryPart("logits", "Logits", logits, "activations"),
        MemoryPart("workspace", "Workspace", workspace_bytes(load), "spare"),
        _spare(load, activations + logits),
    )
    comparable = sum(part.bytes for part in parts)
    if load.device == "cuda":
        comparable -= CUDA_CONTEXT_BYTES
    if calibration is not None:
        parts = _corrected(parts, round((calibration.ratio - 1) * comparable))
    shown = tuple(part for part in parts if part.bytes > 0)
    peak = sum(part.bytes for part in shown)
    share, source = _error(load, calibration)
    return Forecast(shown, peak, round(peak * share), source, comparable)


def base_weight_bytes(load: TrainingLoad) -> int:
    """Return the bytes of the base as loaded; only linear layers of the blocks are quantized."""
    shape = load.shape
    if load.lora_r is None:
        return shape.total_parameters * (load.learning_width + load.cast_width)
    if load.quantization == "none":
        return shape.total_parameters * load.width
    packed = _NF4_BYTES if load.quantization == "4bit" else _INT8_BYTES
    dense = shape.total_parameters - shape.linear_parameters
    return round(shape.linear_parameters * packed) + dense * load.width


def calibrate(pairs: Sequence[tuple[int, int]]) -> Calibration | None:
    """Return how forecasts compared with reality; None without a pair.

    Args:
        pairs: `Forecast.comparable_bytes` and measured peak of finished runs on one device.
    """
    ratios = [measured / planned for planned, measured in pairs if planned > 0 and measured > 0]
    if not ratios:
        return None
    mean = sum(ratios) / len(ratios)
    return Calibration(len(ratios), mean, max(abs(ratio - mean) for ratio in ratios))


def _learning_parts(load: TrainingLoad) -> tuple[MemoryPart, ...]:
    """Return adapter, gradients and optimizer; in full mode the weights themselves learn."""
    count = load.trainable_parameters
    # AdamW keeps two states in the precision of the weight.
    state = 2 * load.learning_width if load.optim == "adamw_torch" else _STATE_8BIT_BYTES
    parts = (
        MemoryPart("gradients", "Gradients", count * load.learning_width, "gradients"),
        MemoryPart("optimizer", _optimizer_label(load.optim), round(count * state), "optimizer"),
    )
    if load.lora_r is None:
        return parts
    adapter = count * (load.learning_width + load.cast_width)
    return (MemoryPart("adapter", "Adapter", adapter, "adapter"), *parts)


def _spare(load: TrainingLoad, short_lived: int) -> MemoryPart:
    if load.device == "cuda":
        lost = round(short_lived * _CUDA_LOST)
        return MemoryPart("spare", "CUDA and spare", CUDA_CONTEXT_BYTES + lost, "spare")
    lost = round(load.tokens * load.shape.layers * layer_token_bytes(load) * _CPU_LOST)
    return MemoryPart("spare", "Libraries and spare", CPU_LIBRARIES_BYTES + lost, "spare")


def _corrected(parts: tuple[MemoryPart, ...], difference: int) -> tuple[MemoryPart, ...]:
    """Return the parts with `difference` given to those whose size is not known exactly."""
    uncertain = sum(part.bytes for part in parts if part.name in _UNCERTAIN)
    factor = max(_LEAST_FACTOR, 1 + difference / uncertain)
    return tuple(
        replace(part, bytes=round(part.bytes * factor)) if part.name in _UNCERTAIN else part for part in parts
    )


def _error(load: TrainingLoad, calibration: Calibration | None) -> tuple[float, str]:
    """Return the error bar as a share of the peak, and where it comes from."""
    shape = load.shape
    is_guess = not shape.is_exact or shape.recurrent_channels > 0
    unmeasured = _INEXACT_SHAPE_ERROR if is_guess else _UNMEASURED_ERROR[load.device]
    if calibration is not None:
        runs = f"{calibration.runs} run" + ("s" if calibration.runs != 1 else "")
        place = "card" if load.device == "cuda" else "machine"
        share = max(_LEAST_ERROR, calibration.spread, unmeasured / (calibration.runs + 1))
        return share, f"from {runs} on this {place}"
    if is_guess:
        return unmeasured, "from a similar model family, not measured here"
    return unmeasured, f"not measured on this {'card' if load.device == 'cuda' else 'machine'} yet"


def _weights_label(load: TrainingLoad) -> str:
    if load.lora_r is None:
        return f"Weights, {'fp32' if load.learning_width == 4 else load.precision}"
    kind = {"none": load.precision, "4bit": "4-bit", "8bit": "8-bit"}[load.quantization]
    return f"Base weights, {kind}"


def _optimizer_label(optim: str) -> str:
    return "Optimizer" if optim == "adamw_torch" else "Optimizer, 8-bit"
