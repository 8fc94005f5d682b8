"""Names of tensors on their way from a checkpoint into a file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from backprop_core.gguf import export_gguf, plan_gguf
from backprop_core.gguf.names import DENSE, FUSED, HYBRID, canonical, gguf_name
from tests.support.checkpoints import llama_arrays, write_checkpoint, write_safetensors


@pytest.mark.parametrize(
    ("name", "layer_names", "expected"),
    [
        ("model.embed_tokens.weight", DENSE, "token_embd.weight"),
        ("lm_head.weight", DENSE, "output.weight"),
        ("model.layers.12.self_attn.q_proj.bias", DENSE, "blk.12.attn_q.bias"),
        ("model.layers.0.post_attention_layernorm.weight", DENSE, "blk.0.ffn_norm.weight"),
        ("model.layers.0.post_attention_layernorm.weight", HYBRID, "blk.0.post_attention_norm.weight"),
        ("model.layers.0.linear_attn.A_log", HYBRID, "blk.0.ssm_a"),
        ("model.layers.0.linear_attn.dt_bias", HYBRID, "blk.0.ssm_dt.bias"),
        ("model.layers.0.mlp.gate_up_proj.weight", FUSED, "blk.0.ffn_up.weight"),
        ("model.layers.0.mlp.gate_up_proj.weight", DENSE, None),
        ("model.layers.0.mlp.experts.0.weight", DENSE, None),
    ],
)
def test_checkpoint_name_has_its_name_in_the_file(name, layer_names, expected):
    assert gguf_name(name, layer_names) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.language_model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ("model.visual.blocks.0.weight", None),
        ("mtp.layers.0.mlp.up_proj.weight", None),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", None),
    ],
)
def test_wrapper_is_taken_off_and_other_parts_are_dropped(name, expected):
    assert canonical(name) == expected


def test_report_says_what_parts_were_left_out(tmp_path):
    extra = {"model.visual.patch.weight": np.ones((2, 2)), "mtp.fc.weight": np.ones((2, 2))}
    model = write_checkpoint(tmp_path / "m", arrays=llama_arrays() | extra)
    report = export_gguf(model, tmp_path / "m.gguf", "f16")
    assert report.warnings == ("Text only: the draft layers and the vision tower were left out.",)


def test_report_says_when_there_is_no_chat_template(tmp_path):
    model = write_checkpoint(tmp_path / "m")
    (model / "chat_template.jinja").unlink()
    assert plan_gguf(model, "f16").warnings == (
        "The model has no chat template; chat programs will guess one.",
    )


def test_stored_copy_of_a_tied_output_matrix_is_not_written(tmp_path):
    arrays = llama_arrays()
    arrays["lm_head.weight"] = arrays["model.embed_tokens.weight"]
    plan = plan_gguf(write_checkpoint(tmp_path / "m", arrays=arrays), "f16")
    assert "output.weight" not in {tensor.entry.name for tensor in plan.tensors}


def test_sharded_model_gives_the_file_of_the_whole_one(tmp_path):
    whole = export_gguf(write_checkpoint(tmp_path / "m"), tmp_path / "a.gguf", "q8_0", name="m")
    arrays = llama_arrays()
    shards: dict[str, dict[str, np.ndarray]] = {"x.safetensors": {}, "y.safetensors": {}}
    for number, (name, array) in enumerate(arrays.items()):
        shards[sorted(shards)[number % 2]][name] = array
    (tmp_path / "m" / "model.safetensors").unlink()
    for file_name, part in shards.items():
        write_safetensors(tmp_path / "m" / file_name, part)
    index = {"weight_map": {name: file_name for file_name, part in shards.items() for name in part}}
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert export_gguf(tmp_path / "m", tmp_path / "b.gguf", "q8_0", name="m").sha256 == whole.sha256
