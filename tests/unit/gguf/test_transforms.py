"""Reordering of rows and values, tried on small arrays with known results."""

from __future__ import annotations

import numpy as np
import pytest

from backprop_core.gguf.architectures import llama3_rope_factors, longrope_attention_factor
from backprop_core.gguf.config import parse_config
from backprop_core.gguf.qwen35 import transform
from backprop_core.gguf.transforms import Transform, interleave_halves, tile_groups


def test_rotary_halves_become_neighbours_within_each_head():
    assert interleave_halves(2, 4).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_rotary_order_can_be_undone():
    order = interleave_halves(3, 8)
    rows = np.arange(24)
    restored = np.empty_like(rows)
    restored[order] = rows[order]
    assert restored.tolist() == rows.tolist()
    assert sorted(order.tolist()) == list(range(24))


def test_value_heads_are_tiled_over_key_heads():
    # Two key heads with three value heads each, two rows per value head.
    assert tile_groups(2, 3, 2).tolist() == [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]


def test_tiling_back_restores_the_groups():
    there, back = tile_groups(2, 3, 2), tile_groups(3, 2, 2)
    assert there[back].tolist() == list(range(12))


def test_chunks_of_a_reordered_tensor_join_to_the_whole():
    order = interleave_halves(2, 8)
    stored = np.arange(32, dtype=np.float32).reshape(16, 2)
    change = Transform(rows=order)
    chunks = [change.apply(stored[change.stored_rows(start, start + 5)]) for start in range(0, 16, 5)]
    assert np.concatenate(chunks).tolist() == stored[order].tolist()


QWEN = parse_config(
    {
        "architectures": ["Qwen3_5ForCausalLM"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 1,
        "linear_value_head_dim": 1,
    }
)


def test_only_value_rows_of_a_fused_projection_move():
    change = transform(QWEN, "model.layers.0.linear_attn.in_proj_qkv.weight")
    assert change.rows.tolist() == [0, 1, 2, 3, 4, 6, 5, 7]


def test_output_projection_moves_columns():
    change = transform(QWEN, "model.layers.0.linear_attn.out_proj.weight")
    assert change.apply(np.array([[0, 1, 2, 3]], np.float32)).tolist() == [[0, 2, 1, 3]]


def test_decay_becomes_its_negative_exponential():
    change = transform(QWEN, "model.layers.0.linear_attn.A_log")
    assert change.apply(np.zeros(4, np.float32)).tolist() == [-1, -1, -1, -1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("model.norm.weight", 1.5), ("model.layers.0.self_attn.q_norm.weight", 1.5)],
)
def test_norms_are_stored_as_offsets_from_one(name, expected):
    assert transform(QWEN, name).apply(np.array([0.5], np.float32))[0] == expected


def test_gated_norm_is_stored_whole():
    assert transform(QWEN, "model.layers.0.linear_attn.norm.weight").value is None


def test_convolution_loses_its_middle_axis():
    change = transform(QWEN, "model.layers.0.linear_attn.conv1d.weight")
    assert change.shape((8, 1, 4)) == (8, 4)


def test_llama3_factors_keep_short_waves_and_stretch_long_ones():
    config = parse_config(
        {
            "architectures": ["LlamaForCausalLM"],
            "head_dim": 8,
            "num_attention_heads": 1,
            "hidden_size": 8,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        }
    )
    # Wave lengths 6.28, 167, 4443, 118143; kept below 2048, stretched above 8192, blended between.
    # 4443: smooth = (8192/4443 - 1) / 3 = 0.2813, factor = 1 / ((1 - 0.2813)/32 + 0.2813) = 3.293.
    assert llama3_rope_factors(config) == pytest.approx([1, 1, 3.293, 32], rel=1e-3)


def test_longrope_scales_attention_by_the_stretch_of_the_context():
    config = parse_config(
        {
            "architectures": ["Phi3ForCausalLM"],
            "max_position_embeddings": 131072,
            "original_max_position_embeddings": 4096,
        }
    )
    # sqrt(1 + ln 32 / ln 4096) = sqrt(1 + 5/12)
    assert longrope_attention_factor(config) == pytest.approx(1.190238, abs=1e-6)
