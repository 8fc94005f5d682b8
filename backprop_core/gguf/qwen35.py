"""Qwen3.5 in GGUF: gated delta-net layers between attention layers.

Its norms are stored as offsets from one, its decay as a logarithm, and its value heads in groups by
key head, while ggml repeats key heads in tiles.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from backprop_core.errors import InputError
from backprop_core.gguf.config import ModelConfig
from backprop_core.gguf.header import Value, flag_list, i32_list, u32
from backprop_core.gguf.source import FloatArray
from backprop_core.gguf.transforms import AS_STORED, Order, Transform, row_numbers, tile_groups

_DEFAULT_SECTIONS: Final = [11, 11, 10]


def metadata(config: ModelConfig, prefix: str) -> dict[str, Value]:
    """Return the keys that only this family has."""
    value_heads, key_heads = config.count("linear_num_value_heads"), config.count("linear_num_key_heads")
    sections = _sections(config.rope.get("mrope_section") or _DEFAULT_SECTIONS)
    rotary = int(config.head_size * config.rope_number("partial_rotary_factor", 0.25))
    interval = config.count("full_attention_interval", 4)
    keys = {
        "ssm.conv_kernel": u32(config.count("linear_conv_kernel_dim")),
        "ssm.state_size": u32(config.count("linear_key_head_dim")),
        "ssm.group_count": u32(key_heads),
        "ssm.time_step_rank": u32(value_heads),
        "ssm.inner_size": u32(config.count("linear_value_head_dim") * value_heads),
        "full_attention_interval": u32(interval),
        "attention.recurrent_layers": flag_list(
            [(layer + 1) % interval != 0 for layer in range(config.layers)]
        ),
        "rope.dimension_count": u32(rotary),
        "rope.dimension_sections": i32_list(sections),
    }
    return {f"{prefix}.{key}": value for key, value in keys.items()}


def _sections(stored: Any) -> list[int]:
    """Return how the rotary pairs are shared among time, height, width and a fourth axis."""
    if not isinstance(stored, list) or not all(
        type(count) is int and 0 <= count < 1 << 16 for count in stored
    ):
        raise InputError("INPUT_VALIDATION_FAILED", f"config.json gives rope mrope_section as {stored!r}.")
    return [*stored, 0, 0, 0, 0][:4]


def check(config: ModelConfig) -> None:
    """Refuse a mix of layers that engines would not read from the interval alone."""
    interval = config.count("full_attention_interval", 4)
    stored = config.listed("layer_types")
    expected = [
        "full_attention" if (layer + 1) % interval == 0 else "linear_attention"
        for layer in range(config.layers)
    ]
    if stored is not None and stored != expected:
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"layer_types of this Qwen3.5 is not every {interval}th layer full."
        )


def transform(config: ModelConfig, name: str) -> Transform:
    """Return how a tensor changes, by its canonical name."""
    if "linear_attn." in name:
        return _delta_net(config, name.rpartition("linear_attn.")[2])
    if name.endswith("norm.weight"):
        return Transform(value=_plus_one)
    return AS_STORED


def _delta_net(config: ModelConfig, part: str) -> Transform:
    groups = config.count("linear_num_key_heads")
    per_group = config.count("linear_num_value_heads") // groups
    size = config.count("linear_value_head_dim")
    match part:
        case "in_proj_qkv.weight":
            return Transform(rows=_after_keys(config, tile_groups(groups, per_group, size)))
        case "conv1d.weight":
            return Transform(
                rows=_after_keys(config, tile_groups(groups, per_group, size)), drops_middle_axis=True
            )
        case "in_proj_z.weight":
            return Transform(rows=tile_groups(groups, per_group, size))
        case "in_proj_a.weight" | "in_proj_b.weight" | "dt_bias":
            return Transform(rows=tile_groups(groups, per_group, 1))
        case "A_log":
            return Transform(rows=tile_groups(groups, per_group, 1), value=_negative_exponential)
        case "out_proj.weight":
            return Transform(columns=tile_groups(groups, per_group, size))
    return AS_STORED


def _after_keys(config: ModelConfig, value_order: Order) -> Order:
    """Return an order that leaves query and key rows alone and reorders the value rows behind them."""
    before = 2 * config.count("linear_key_head_dim") * config.count("linear_num_key_heads")
    order: Order = np.concatenate([row_numbers(before), before + value_order])
    return order


def _plus_one(values: FloatArray) -> FloatArray:
    return values + np.float32(1)


def _negative_exponential(values: FloatArray) -> FloatArray:
    return -np.exp(values.astype(np.float64)).astype(np.float32)
