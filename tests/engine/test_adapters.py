"""Which layers carry an adapter, by family."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from backprop_core.config.specs import TrainSpec
from backprop_core.engine.adapters import add_adapter
from backprop_core.errors import InputError
from tests.support import configs

SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


def _adapted(config: dict, target_modules: str) -> PeftModel:
    options = {
        key: value for key, value in {**config, **SIZES}.items() if key not in {"model_type", "head_dim"}
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **options))
    model.name_or_path = "/cache/models/m"
    spec = TrainSpec(target_modules=target_modules)
    return add_adapter(model, spec, r=4, alpha=8, base_reference="owner/m")


def _adapted_names(config: dict, target_modules: str) -> set[str]:
    adapted = _adapted(config, target_modules)
    names = (name for name, parameter in adapted.named_parameters() if parameter.requires_grad)
    return {name.split(".lora_")[0].rpartition(".")[2] for name in names}


def test_an_adapter_names_its_base_by_id_and_no_library_warns_of_the_folder():
    adapted = _adapted(configs.SMOLLM2_135M, "all-linear")
    assert adapted.peft_config["default"].base_model_name_or_path == "owner/m"


def test_the_fast_preset_adapts_q_and_v():
    assert _adapted_names(configs.SMOLLM2_135M, "q_proj,v_proj") == {"q_proj", "v_proj"}


def test_the_fast_preset_adapts_the_fused_layer_where_q_and_v_are_one():
    assert _adapted_names(configs.PHI4_MINI, "q_proj,v_proj") == {"qkv_proj"}


def test_a_pattern_goes_through_as_it_is():
    assert _adapted_names(configs.SMOLLM2_135M, r".*mlp\.(up|down)_proj") == {"up_proj", "down_proj"}


def test_layers_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="fits no layer"):
        _adapted_names(configs.SMOLLM2_135M, "c_attn")
