"""Forecast of the memory that a training run needs at its peak, by component, from sizes alone.

Terms follow what PyTorch keeps for the backward pass of a Llama-like decoder with PEFT adapters and
the trainer's chunked loss. It decides nothing; `fit` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backprop_core.planning.model_shape import LinearShape, ModelShape
from backprop_core.planning.records import (
    Calibration,
    DeviceKind,
    MemoryPart,
    Optimizer,
    Precision,
    Quantization,
)
from backprop_core.units import GIB

# The trainer projects and compares this many supervised tokens at a time.
LOSS_CHUNK_TOKENS: Final = 256
# Per logit of a chunk: bf16 product, fp32 copy, log-softmax and two fp32 temporaries of its size.
_BYTES_PER_LOGIT: Final = 18

# Resident memory of a worker that has imported the training libraries, before any weight.
CPU_LIBRARIES_BYTES: Final = 560_000_000
# Driver context and kernels of a CUDA process, outside of PyTorch's own counters.
CUDA_CONTEXT_BYTES: Final = int(0.6 * GIB)
# Share of the short-lived memory that allocators lose to fragmentation.
_FRAGMENTATION: Final = {"cuda": 0.05, "cpu": 0.10}

# Relative half width of the error bar until runs on this device narrow it.
_UNMEASURED_ERROR: Final = {"cuda": 0.15, "cpu": 0.25}
_INEXACT_SHAPE_ERROR: Final = 0.30

_WEIGHT_BYTES: Final[dict[Precision, int]] = {"bf16": 2, "fp16": 2, "fp32": 4}
_OPTIMIZER_BYTES: Final = {"adamw_torch": 8.0, "adamw_8bit": 2.06, "paged_adamw_8bit": 2.06}
# nf4 with double quantization: half a byte, and per block of 64 one byte and 4/256 of an fp32.
_NF4_BYTES: Final = 0.5 + (1 + 4 / 256) / 64
_INT8_BYTES: Final = 1.0


@dataclass(frozen=True, slots=True)
class TrainingLoad:
    """What is to be held in memory at once.

    Attributes:
        lora_r: rank of the adapter; None trains every weight (full mode).
        micro_batch, row_tokens: rows per micro-batch and the padded length of its longest row.
        supervised_tokens: tokens with loss in one micro-batch.
        recompute: whether only layer inputs are kept and the rest is computed again.
    """

    shape: ModelShape
    device: DeviceKind
    precision: Precision
    quantization: Quantization
    optim: Optimizer
    lora_r: int | None
    target_modules: str
    use_dora: bool
    micro_batch: int
    row_tokens: int
    supervised_tokens: int
    recompute: bool

    @property
    def tokens(self) -> int:
        """Tokens of one micro-batch, padding included."""
        return self.micro_batch * self.row_tokens


@dataclass(frozen=True, slots=True)
class Forecast:
    """The peak with its parts and its error bar."""

    parts: tuple[MemoryPart, ...]
    peak_bytes: int
    error_bytes: int
    source: str


def forecast(load: TrainingLoad, calibration: Calibration | None = None) -> Forecast:
    """Return the memory that `load` needs at its peak.

    Args:
        load: what is to be held.
        calibration: measured against forecast peaks of this device; None when no run was measured.
    """
    learning = _learning_parts(load)
    activations = round(activation_bytes(load) * _correction(calibration))
    logits = logit_bytes(load)
    workspace = _dequant_bytes(load)
    parts = (
        MemoryPart("weights", _weights_label(load), base_weight_bytes(load), "frozen"),
        *learning,
        MemoryPart("activations", "Activations", activations, "activations"),
        MemoryPart("logits", "Logits", logits, "activations"),
        MemoryPart("workspace", "Dequantizing", workspace, "spare"),
        _spare(load, activations + logits),
    )
    shown = tuple(part for part in parts if part.bytes > 0)
    peak = sum(part.bytes for part in shown)
    share, source = _error(load, calibration)
    return Forecast(shown, peak, round(peak * share), source)


def base_weight_bytes(load: TrainingLoad) -> int:
    """Return the bytes of the base as loaded; only linear layers of the blocks are quantized."""
    shape = load.shape
    width = _WEIGHT_BYTES[load.precision]
    if load.quantization == "none" or load.lora_r is None:
        return shape.total_parameters * width
    packed = _NF4_BYTES if load.quantization == "4bit" else _INT8_BYTES
    dense = shape.total_parameters - shape.linear_parameters
    return round(shape.linear_parameters * packed) + dense * width


def trainable_parameters(load: TrainingLoad) -> int:
    """Return how many parameters learn."""
    if load.lora_r is None:
        return load.shape.total_parameters
    return load.shape.adapter_parameters(load.lora_r, load.target_modules, use_dora=load.use_dora)


def activation_bytes(load: TrainingLoad) -> int:
    """Return what the forward pass keeps for the backward pass.

    With recompute: the input of each layer, and one layer in full while its turn lasts.
    """
    shape = load.shape
    per_layer = _layer_token_bytes(load)
    if load.recompute:
        width = 4 if load.precision == "fp32" else 2
        return load.tokens * (shape.layers * shape.hidden * width + per_layer)
    return load.tokens * shape.layers * per_layer


def logit_bytes(load: TrainingLoad) -> int:
    """Return the memory of one chunk of the loss, whose logits never exist all at once."""
    return min(LOSS_CHUNK_TOKENS, max(1, load.supervised_tokens)) * load.shape.vocab * _BYTES_PER_LOGIT


def calibrate(pairs: Sequence[tuple[int, int]]) -> Calibration | None:
    """Return how forecasts compared with reality; None without a pair.

    Args:
        pairs: forecast and measured peak of finished runs on one device, in bytes.
    """
    ratios = [measured / planned for planned, measured in pairs if planned > 0 and measured > 0]
    if not ratios:
        return None
    mean = sum(ratios) / len(ratios)
    return Calibration(len(ratios), mean, max(abs(ratio - mean) for ratio in ratios))


def _layer_token_bytes(load: TrainingLoad) -> int:
    """Return the bytes that one layer keeps per token, averaged over the layers."""
    shape = load.shape
    targets = {linear.name for linear in shape.targets(load.target_modules)} if load.lora_r else set()
    width = 4 if load.precision == "fp32" else 2
    queries = shape.heads * shape.head_dim
    # Two norms keep their input in fp32; attention keeps query, key, value (repeated for all
    # heads) and its output; the gated MLP keeps three vectors of its inner width.
    kept = 8 * shape.hidden + width * (4 * queries + 3 * shape.intermediate)
    learning = [linear for linear in shape.linears if linear.name in targets or load.lora_r is None]
    kept += _linear_input_bytes(learning, shape.layers, width)
    if load.lora_r is not None:
        kept += width * load.lora_r * sum(linear.count for linear in learning) // shape.layers
    if load.use_dora:
        kept += 5 * sum(linear.outputs * linear.count for linear in learning) // shape.layers
    return kept


def _linear_input_bytes(learning: Sequence[LinearShape], layers: int, width: int) -> int:
    """Return the inputs that learning layers keep per token and layer.

    Below fp32 every adapter casts its input for itself; in fp32 layers that read the same vector
    share it, told apart here by their width.
    """
    if width == 4:
        return width * sum(
            {(linear.inputs, linear.name in _ATTENTION_INPUT): linear.inputs for linear in learning}.values()
        )
    return width * sum(linear.inputs * linear.count for linear in learning) // layers


_ATTENTION_INPUT: Final = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj", "in_proj_qkv", "in_proj_z"})


def _learning_parts(load: TrainingLoad) -> tuple[MemoryPart, ...]:
    """Return adapter, gradients and optimizer; in full mode the weights themselves learn."""
    count = trainable_parameters(load)
    state = round(count * _OPTIMIZER_BYTES[load.optim])
    optimizer = MemoryPart("optimizer", _optimizer_label(load.optim), state, "optimizer")
    if load.lora_r is None:
        width = _WEIGHT_BYTES[load.precision]
        return MemoryPart("gradients", "Gradients", count * width, "gradients"), optimizer
    # The trainer holds adapters of a quantized base in bf16, others in fp32 and casts them per step.
    is_quantized = load.quantization != "none"
    width = 2 if is_quantized else 4
    cast = 0 if is_quantized or load.precision == "fp32" else 2
    return (
        MemoryPart("adapter", "Adapter", count * (width + cast), "adapter"),
        MemoryPart("gradients", "Gradients", count * width, "gradients"),
        optimizer,
    )


def _dequant_bytes(load: TrainingLoad) -> int:
    """Return the largest matrix twice in compute precision, which a quantized base unpacks to."""
    if load.quantization == "none" or load.lora_r is None:
        return 0
    largest = max(linear.inputs * linear.outputs for linear in load.shape.linears)
    return 2 * largest * _WEIGHT_BYTES[load.precision]


def _spare(load: TrainingLoad, short_lived: int) -> MemoryPart:
    lost = round(short_lived * _FRAGMENTATION[load.device])
    if load.device == "cuda":
        return MemoryPart("spare", "CUDA and spare", CUDA_CONTEXT_BYTES + lost, "spare")
    return MemoryPart("spare", "Libraries and spare", CPU_LIBRARIES_BYTES + lost, "spare")


def _correction(calibration: Calibration | None) -> float:
    return 1.0 if calibration is None else calibration.ratio


def _error(load: TrainingLoad, calibration: Calibration | None) -> tuple[float, str]:
    if calibration is not None:
        runs = f"{calibration.runs} run" + ("s" if calibration.runs != 1 else "")
        place = "card" if load.device == "cuda" else "machine"
        return max(0.03, calibration.spread), f"from {runs} on this {place}"
    if not load.shape.is_exact:
        return _INEXACT_SHAPE_ERROR, "from a similar model family, not measured here"
    return _UNMEASURED_ERROR[load.device], "not measured on this machine yet"


def _weights_label(load: TrainingLoad) -> str:
    if load.lora_r is None:
        return f"Weights, {load.precision}"
    kind = {"none": load.precision, "4bit": "4-bit", "8bit": "8-bit"}[load.quantization]
    return f"Base weights, {kind}"


def _optimizer_label(optim: str) -> str:
    return "Optimizer" if optim == "adamw_torch" else "Optimizer, 8-bit"
