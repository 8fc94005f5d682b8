"""How checkpoints name their tensors and how GGUF names the same ones.

Pure. A tensor without an entry here is an error at export, never a silent loss; what is left out on
purpose (vision tower, draft layers) is listed as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_LAYER: Final = re.compile(r"model\.layers\.(\d+)\.(.+)")
_DROPPED: Final = re.compile(r"(?:model\.)?(mtp|visual)\..+|.+\.rotary_emb\.inv_freq")
_PARTS: Final = {"mtp": "the draft layers", "visual": "the vision tower"}

_WHOLE: Final = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}

DENSE: Final = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.o_proj.weight": "attn_output.weight",
    "self_attn.o_proj.bias": "attn_output.bias",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.gate_proj.bias": "ffn_gate.bias",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.up_proj.bias": "ffn_up.bias",
    "mlp.down_proj.weight": "ffn_down.weight",
    "mlp.down_proj.bias": "ffn_down.bias",
}

FUSED: Final = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.qkv_proj.weight": "attn_qkv.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}

HYBRID: Final = DENSE | {
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "linear_attn.in_proj_qkv.weight": "attn_qkv.weight",
    "linear_attn.in_proj_z.weight": "attn_gate.weight",
    "linear_attn.in_proj_a.weight": "ssm_alpha.weight",
    "linear_attn.in_proj_b.weight": "ssm_beta.weight",
    "linear_attn.conv1d.weight": "ssm_conv1d.weight",
    "linear_attn.A_log": "ssm_a",
    "linear_attn.dt_bias": "ssm_dt.bias",
    "linear_attn.norm.weight": "ssm_norm.weight",
    "linear_attn.out_proj.weight": "ssm_out.weight",
}


def canonical(name: str) -> str | None:
    """Return a checkpoint's tensor name without the wrapper of multimodal checkpoints; None drops it."""
    name = name.replace("model.language_model.", "model.", 1)
    return None if _DROPPED.fullmatch(name) else name


def left_out_part(name: str) -> str | None:
    """Return what part of a model a dropped tensor belongs to; None for one that is kept or means nothing."""
    match = _DROPPED.fullmatch(name)
    return None if match is None else _PARTS.get(match[1])


def gguf_name(name: str, layer_names: Mapping[str, str]) -> str | None:
    """Return the GGUF name of a canonical tensor name, or None when it has none.

    Args:
        name: for example `model.layers.3.self_attn.q_proj.weight`.
        layer_names: `DENSE`, `FUSED` or `HYBRID`.
    """
    match = _LAYER.fullmatch(name)
    if match is None:
        return _WHOLE.get(name)
    inner = layer_names.get(match[2])
    return None if inner is None else f"blk.{int(match[1])}.{inner}"
