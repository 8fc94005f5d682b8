"""Parameter counts from a config alone, against the models that transformers and PEFT build."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from backprop_core.planning.model_shape import ModelShape
from tests.support import configs

FAMILIES = {
    "llama tied": configs.SMOLLM2_135M,
    "llama with biases": {**configs.SMOLLM2_135M, "attention_bias": True, "mlp_bias": True},
    "llama without optional keys": {
        key: value
        for key, value in configs.SMOLLM2_135M.items()
        if key not in {"num_key_value_heads", "head_dim", "tie_word_embeddings"}
    },
    "mistral": configs.MISTRAL_7B,
    "qwen2": configs.QWEN25_7B,
    "qwen3": configs.QWEN3_06B,
    "qwen3 with biases": {**configs.QWEN3_06B, "attention_bias": True},
    "qwen3.5 hybrid": configs.QWEN35_HYBRID,
    "phi3 fused": configs.PHI4_MINI,
    "smollm3": configs.SMOLLM3_3B,
}


def _empty_model(config: dict) -> PreTrainedModel:
    options = {key: value for key, value in config.items() if key != "model_type"}
    full = AutoConfig.for_model(config["model_type"], **options)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(full)


@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_total_equals_the_count_of_the_built_model(config):
    shape = ModelShape.from_config(config)
    assert shape.is_exact
    assert shape.total_parameters == _empty_model(config).num_parameters()


@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_linear_weights_equal_those_of_the_built_blocks(config):
    blocks = _empty_model(config).get_decoder().layers
    linears = [module for module in blocks.modules() if isinstance(module, torch.nn.Linear)]
    shape = ModelShape.from_config(config)
    assert shape.linear_parameters == sum(linear.weight.numel() for linear in linears)
    assert sum(linear.count for linear in shape.linears) == len(linears)


@pytest.mark.parametrize("use_dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_adapter_equals_pefts_count_on_all_linear_layers(config, use_dora):
    lora = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM", use_dora=use_dora)
    with torch.device("meta"):
        model = get_peft_model(_empty_model(config), lora)
    trainable, _ = model.get_nb_trainable_parameters()
    assert ModelShape.from_config(config).adapter_parameters(16, use_dora=use_dora) == trainable


def test_adapter_equals_pefts_count_on_named_layers():
    lora = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    with torch.device("meta"):
        model = get_peft_model(_empty_model(configs.SMOLLM2_135M), lora)
    trainable, _ = model.get_nb_trainable_parameters()
    assert ModelShape.from_config(configs.SMOLLM2_135M).adapter_parameters(8, "q_proj,v_proj") == trainable
