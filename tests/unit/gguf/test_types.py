"""The type table against values worked out by hand from llama.cpp's rules."""

from __future__ import annotations

import gguf
import pytest

from backprop_core.gguf.types import QUANTIZATIONS, ModelShape, TensorType, choose_types

LAYERS = 16
WIDE = ModelShape(layers=LAYERS, heads_per_kv_head=4)

# Per quantization: embedding (own output matrix), output, and one letter per layer for attn_v and ffn_down,
# attn_output, everything else. 2..6 are Q2_K..Q6_K, 8 is Q8_0, 0 is Q4_0.
GOLDEN = {
    "q8_0": ("8", "8", "8" * 16, "8" * 16, "8", "8"),
    "q6_k": ("6", "6", "6" * 16, "6" * 16, "6", "6"),
    "q5_k_m": ("5", "6", "6655655655655666", "6655655655655666", "5", "5"),
    "q5_k_s": ("5", "6", "5" * 16, "5" * 16, "5", "5"),
    "q4_k_m": ("4", "6", "6644644644644666", "6644644644644666", "4", "4"),
    "q4_k_s": ("4", "6", "5555444444444444", "5544444444444444", "4", "4"),
    "q4_0": ("0", "6", "0" * 16, "0" * 16, "0", "0"),
    "q3_k_m": ("3", "6", "5544444444444444", "5444444444444444", "4", "3"),
    "q2_k": ("2", "6", "4" * 16, "3" * 16, "3", "2"),
}
LETTERS = {
    TensorType.Q2_K: "2",
    TensorType.Q3_K: "3",
    TensorType.Q4_K: "4",
    TensorType.Q5_K: "5",
    TensorType.Q6_K: "6",
    TensorType.Q8_0: "8",
    TensorType.Q4_0: "0",
}


def shapes(columns: int = 512, *, is_tied: bool = False) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (1000, columns),
        "output_norm.weight": (columns,),
    }
    if not is_tied:
        found["output.weight"] = (1000, columns)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            found[f"blk.{layer}.{name}.weight"] = (columns, columns)
        found[f"blk.{layer}.attn_norm.weight"] = (columns,)
        found[f"blk.{layer}.attn_q.bias"] = (columns,)
    return found


@pytest.mark.parametrize("key", GOLDEN)
def test_types_of_a_wide_model_are_those_of_llama_cpp(key):
    types = choose_types(QUANTIZATIONS[key], shapes(), WIDE)

    def per_layer(name: str) -> str:
        return "".join(LETTERS[types[f"blk.{layer}.{name}.weight"]] for layer in range(LAYERS))

    embedding, output, values, downs, attention, other = GOLDEN[key]
    assert LETTERS[types["token_embd.weight"]] == embedding
    assert LETTERS[types["output.weight"]] == output
    assert per_layer("attn_v") == values
    assert per_layer("ffn_down") == downs
    assert per_layer("attn_output") == attention * 16
    assert (
        per_layer("attn_q")
        == per_layer("attn_k")
        == per_layer("ffn_gate")
        == per_layer("ffn_up")
        == other * 16
    )


@pytest.mark.parametrize("key", ["f32", "f16", "bf16"])
def test_plain_types_apply_to_every_matrix(key):
    types = choose_types(QUANTIZATIONS[key], shapes(), WIDE)
    assert {kind for name, kind in types.items() if "norm" not in name and "bias" not in name} == {
        TensorType[key.upper()]
    }


@pytest.mark.parametrize("key", QUANTIZATIONS)
def test_norms_and_biases_stay_float32(key):
    types = choose_types(QUANTIZATIONS[key], shapes(), WIDE)
    assert {kind for name, kind in types.items() if "norm" in name or "bias" in name} == {TensorType.F32}


def test_tied_embedding_gets_the_type_of_an_output_matrix():
    types = choose_types(QUANTIZATIONS["q4_k_m"], shapes(is_tied=True), WIDE)
    assert types["token_embd.weight"] is TensorType.Q6_K


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("q4_k_m", TensorType.Q5_0),
        ("q5_k_m", TensorType.Q5_1),
        ("q6_k", TensorType.Q8_0),
        ("q2_k", TensorType.Q4_0),
    ],
)
def test_rows_that_do_not_fill_a_block_of_256_fall_back(key, expected):
    types = choose_types(QUANTIZATIONS[key], shapes(columns=576), WIDE)
    assert types["blk.3.attn_q.weight"] is expected


def test_output_matrix_of_such_a_model_is_q8_0():
    assert (
        choose_types(QUANTIZATIONS["q4_k_m"], shapes(columns=576), WIDE)["output.weight"] is TensorType.Q8_0
    )


def test_rows_that_do_not_fill_a_block_of_32_become_f16():
    types = choose_types(QUANTIZATIONS["q4_k_m"], shapes(columns=72), WIDE)
    assert types["blk.3.attn_q.weight"] is TensorType.F16


def test_q2_k_values_without_shared_heads_are_q3_k():
    types = choose_types(QUANTIZATIONS["q2_k"], shapes(), ModelShape(LAYERS, heads_per_kv_head=1))
    assert types["blk.0.attn_v.weight"] is TensorType.Q3_K


def test_fused_matrices_follow_the_rule_of_values():
    fused = {f"blk.{layer}.attn_qkv.weight": (512, 512) for layer in range(LAYERS)}
    types = choose_types(QUANTIZATIONS["q4_k_m"], fused, WIDE)
    assert "".join(LETTERS[types[name]] for name in fused) == "6644644644644666"


def test_convolutions_of_delta_nets_stay_float32():
    types = choose_types(QUANTIZATIONS["q4_k_m"], {"blk.0.ssm_conv1d.weight": (256, 4)}, WIDE)
    assert types["blk.0.ssm_conv1d.weight"] is TensorType.F32


@pytest.mark.parametrize("kind", TensorType)
def test_ids_and_block_sizes_are_those_of_the_format(kind):
    stored = gguf.GGMLQuantizationType[kind.name]
    assert (kind.id, kind.block, kind.row_bytes(kind.block)) == (int(stored), *gguf.GGML_QUANT_SIZES[stored])


@pytest.mark.parametrize("key", QUANTIZATIONS)
def test_file_types_are_those_of_the_format(key):
    name = {"f32": "ALL_F32"}.get(key, f"MOSTLY_{key.upper()}")
    assert QUANTIZATIONS[key].file_type == int(gguf.LlamaFileType[name])
