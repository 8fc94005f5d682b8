"""The bytes that autograd keeps for the backward pass, against the planner's count from sizes alone."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from backprop_core.engine import attention
from backprop_core.planning.activations import layer_token_bytes
from backprop_core.planning.load import TrainingLoad
from backprop_core.planning.model_shape import ModelShape
from tests.support import configs

TOKENS = 199
SIZES = {
    "vocab_size": 320,
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": {**configs.SMOLLM2_135M, **SIZES, "head_dim": 32},
    "qwen2": {**configs.QWEN25_7B, **SIZES},
    "qwen3": {**configs.QWEN3_06B, **SIZES, "head_dim": 32},
    "phi3": {**configs.PHI4_MINI, **SIZES},
}


def _kept_bytes(config: dict, *, layers: int, dtype: torch.dtype, targets: str, use_dora: bool) -> int:
    """Return the bytes of distinct storages that the forward pass saves, parameters not counted."""
    options = {key: value for key, value in config.items() if key != "model_type"}
    full = AutoConfig.for_model(config["model_type"], **{**options, "num_hidden_layers": layers})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(full, attn_implementation="sdpa").to(dtype)
    lora = LoraConfig(
        r=16,
        target_modules=ModelShape.from_config(config).target_names(targets),
        task_type="CAUSAL_LM",
        use_dora=use_dora,
    )
    model = get_peft_model(model, lora)
    attention.use_documents(model.get_base_model())
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        # Casts of weights do not grow with the tokens.
        if TOKENS in tensor.shape:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        states = model.get_base_model().get_decoder()(
            input_ids=torch.ones(1, TOKENS, dtype=torch.long),
            position_ids=torch.arange(TOKENS)[None],
            use_cache=False,
            document_lengths=(TOKENS,),
        )
    assert states.last_hidden_state.requires_grad
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in parameters)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    ("targets", "use_dora"), [("all-linear", False), ("q_proj,v_proj", False), ("all-linear", True)]
)
def test_bytes_per_layer_and_token_are_those_that_autograd_keeps(family, precision, targets, use_dora):
    config = FAMILIES[family]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    few, many = (
        _kept_bytes(config, layers=layers, dtype=dtype, targets=targets, use_dora=use_dora)
        for layers in (2, 4)
    )
    load = TrainingLoad(
        shape=ModelShape.from_config(config),
        device="cpu",
        precision=precision,
        quantization="none",
        optim="adamw_torch",
        lora_r=16,
        target_modules=targets,
        use_dora=use_dora,
        tokens=TOKENS,
        row_tokens=TOKENS,
        supervised_tokens=TOKENS,
        recompute=False,
    )
    assert layer_token_bytes(load) == pytest.approx((many - few) / 2 / TOKENS, rel=0.02)
