"""How long a run takes: from a speed measured here, else a rough and labelled estimate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from backprop_core.planning.load import TrainingLoad
from backprop_core.planning.records import DeviceKind, MeasuredSpeed
from backprop_core.planning.vram import base_weight_bytes
from backprop_core.units import count

# Imports, reading the weights at this speed, and writing the adapter.
_START_S: Final = 12.0
_LOAD_BYTES_PER_S: Final = 1.0e9

# Multiply-adds per second of one processor core, from SmolLM2-135M on a Xeon with and without bf16
# units; and the fixed cost of each layer in each micro-batch.
_CORE_FLOPS: Final = {"bf16": 170e9, "fp32": 100e9}
_LAYER_S: Final = 0.012
# More cores help less than their number: two threads gave 1.6 times the speed of one.
_CORE_EXPONENT: Final = 0.7

# Dense bf16 tensor throughput from the makers' data sheets, in TFLOP/s, and the share of it that a
# fine-tune of this kind is assumed to reach.
_CARD_TFLOPS: Final[tuple[tuple[str, float], ...]] = (
    (r"H[12]00", 989),
    (r"A100", 312),
    (r"L40", 181),
    (r"L4\b", 60),
    (r"RTX.*5090", 210),
    (r"RTX.*5080", 113),
    (r"RTX.*5070 Ti", 88),
    (r"RTX.*5070", 62),
    (r"RTX.*4090", 165),
    (r"RTX.*4080", 98),
    (r"RTX.*4070 Ti", 82),
    (r"RTX.*4070", 58),
    (r"RTX.*4060", 30),
    (r"RTX.*3090", 71),
    (r"RTX.*3080", 60),
    (r"RTX.*3070", 41),
    (r"RTX.*3060", 25),
)
_CARD_SHARE: Final = 0.35
# DoRA normalises whole weight matrices in every step.
_DORA_FACTOR: Final = 1.6


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Seconds with their origin; None when there is no ground for a figure."""

    seconds: float | None
    source: str


def estimate_time(
    load: TrainingLoad,
    *,
    tokens: int | None,
    steps: int,
    device_name: str,
    cpu_cores: int,
    speed: MeasuredSpeed | None,
) -> TimeEstimate:
    """Return the duration of a run.

    Args:
        load: one micro-batch of it.
        tokens: real tokens over the whole run; None when unknown.
        steps: over the whole run.
        device_name: the card's name, for its data sheet.
        cpu_cores: physical cores.
        speed: of an earlier run of this model on this machine.
    """
    if tokens is None:
        return TimeEstimate(None, "known once the data is read")
    start = _START_S + base_weight_bytes(load) / _LOAD_BYTES_PER_S
    if speed is not None and speed.tokens_per_s > 0:
        rate = f"at {count(speed.tokens_per_s)} tokens/s, {speed.source}"
        return TimeEstimate(start + tokens / speed.tokens_per_s, rate)
    flops = tokens * flops_per_token(load)
    if load.device == "cpu":
        work = flops / (_CORE_FLOPS[load.precision] * max(1, cpu_cores) ** _CORE_EXPONENT)
        overhead = max(steps, tokens / load.tokens) * load.shape.layers * _LAYER_S
        return TimeEstimate(start + work + overhead, "rough, from the number of cores")
    peak = _card_flops(load.device, device_name)
    if peak is None:
        return TimeEstimate(None, "known after the first steps")
    return TimeEstimate(start + flops / (peak * _CARD_SHARE), "rough, from the card's data sheet")


def flops_per_token(load: TrainingLoad) -> float:
    """Return the floating-point operations that one token costs in training.

    Frozen weights take 2 per weight forward and 2 backward, learning ones 6, and 2 more per
    weight when activations are computed again (Kaplan et al. 2020, without the frozen gradient).
    """
    shape = load.shape
    passed = shape.linear_parameters + shape.vocab * shape.hidden
    attention = 6 * load.row_tokens * shape.heads * shape.head_dim * shape.layers
    again = 2 * shape.linear_parameters if load.recompute else 0
    if load.lora_r is None:
        return float(6 * passed + attention + again)
    cost = 4 * passed + 6 * load.trainable_parameters + attention + again
    return cost * (_DORA_FACTOR if load.use_dora else 1.0)


def _card_flops(device: DeviceKind, name: str) -> float | None:
    if device == "cpu":
        return None
    for pattern, tflops in _CARD_TFLOPS:
        if re.search(pattern, name, re.IGNORECASE):
            return tflops * 1e12
    return None
