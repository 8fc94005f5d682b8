from __future__ import annotations

import pytest

from backprop_core.errors import InputError
from backprop_core.planning.model_shape import ModelShape
from tests.support import configs

SMALL = ModelShape.from_config(configs.SMOLLM2_135M)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (configs.SMOLLM2_135M, 134_515_008),
        (configs.LLAMA_32_1B, 1_235_814_400),
        (configs.MISTRAL_7B, 7_248_023_552),
        (configs.QWEN25_7B, 7_615_616_512),
        (configs.PHI4_MINI, 3_836_021_760),
        (configs.SMOLLM3_3B, 3_075_098_624),
    ],
    ids=["smollm2", "llama", "mistral", "qwen2", "phi3", "smollm3"],
)
def test_parameters_equal_the_published_counts(config, parameters):
    assert ModelShape.from_config(config).total_parameters == parameters


def test_parts_add_up_to_the_whole():
    shape = ModelShape.from_config(configs.QWEN25_7B)
    assert shape.embedding_parameters == shape.head_parameters == 544_997_376
    assert shape.linear_parameters == 6_525_288_448
    assert shape.bias_parameters == 129_024
    assert shape.small_parameters == 204_288


def test_a_tied_head_has_no_weights_of_its_own():
    assert SMALL.head_parameters == 0


def test_adapter_counts_rank_times_inputs_plus_outputs():
    assert SMALL.adapter_parameters(16) == 4_884_480
    # 30 layers, rank 16: q is 576 -> 576, v is 576 -> 192.
    assert SMALL.adapter_parameters(16, "q_proj,v_proj") == 30 * 16 * (1152 + 768)


def test_hybrid_counts_attention_in_every_fourth_layer():
    shape = ModelShape.from_config(configs.QWEN35_HYBRID)
    counts = {linear.name: linear.count for linear in shape.linears}
    assert (counts["q_proj"], counts["in_proj_qkv"], counts["gate_proj"]) == (8, 24, 32)


def test_text_part_of_a_model_with_several_parts_is_read():
    assert ModelShape.from_config(configs.QWEN35_HYBRID).hidden == 2560


def test_names_choose_layers():
    assert [linear.name for linear in SMALL.targets("q_proj, v_proj")] == ["q_proj", "v_proj"]


def test_a_name_may_carry_its_block():
    assert [linear.name for linear in SMALL.targets("mlp.up_proj")] == ["up_proj"]
    assert SMALL.targets("self_attn.up_proj") == ()


def test_a_part_of_a_name_is_no_name():
    assert SMALL.targets("proj") == ()


def test_a_pattern_is_counted_over_the_layers():
    chosen = SMALL.targets(r"model\.layers\.[0-4]\.self_attn\.(q|v)_proj")
    assert [(linear.name, linear.count) for linear in chosen] == [("q_proj", 5), ("v_proj", 5)]


def test_a_broken_pattern_matches_nothing():
    assert SMALL.targets("(q_proj") == ()


def test_fused_layers_stand_for_their_parts():
    phi = ModelShape.from_config(configs.PHI4_MINI)
    assert phi.target_names("q_proj,v_proj") == ["qkv_proj"]
    assert [linear.name for linear in phi.targets("q_proj,gate_proj")] == ["qkv_proj", "gate_up_proj"]


def test_names_of_other_families_stay_as_they_are():
    assert SMALL.target_names("q_proj,v_proj") == ["q_proj", "v_proj"]
    assert SMALL.target_names("all-linear") == "all-linear"


def test_an_unknown_dense_family_is_read_like_a_llama_and_marked():
    shape = ModelShape.from_config({**configs.SMOLLM2_135M, "model_type": "granite"})
    assert (shape.is_exact, shape.family, shape.total_parameters) == (False, "granite", 134_515_008)


def test_a_mixture_of_experts_is_refused():
    with pytest.raises(InputError, match="mixture of experts"):
        ModelShape.from_config({**configs.MISTRAL_7B, "model_type": "mixtral", "num_local_experts": 8})


@pytest.mark.parametrize("value", [None, 0, -1, "576", 1.5, True])
def test_a_size_that_is_no_size_is_named(value):
    with pytest.raises(InputError, match="hidden_size"):
        ModelShape.from_config({**configs.SMOLLM2_135M, "hidden_size": value})
