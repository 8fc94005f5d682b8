"""Our numpy merge against PEFT's own, for every form of LoRA that PEFT saves."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from backprop_core.gguf.export import open_checkpoint
from backprop_core.gguf.source import open_model
from tests.support.tiny_models import build_model, write_model

FORMS = {
    "plain": {},
    "rank and alpha patterns": {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {r"layers\.1\..*q_proj": 24}},
    "rslora": {"use_rslora": True},
    "rslora with patterns": {"use_rslora": True, "rank_pattern": {"down_proj": 3}},
    "dora": {"use_dora": True},
    "pissa as saved": {"init_lora_weights": "pissa"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "saved output matrix": {"modules_to_save": ["lm_head"]},
    "saved embedding and output": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "adapted embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "fan_in_fan_out, which linear layers ignore": {"fan_in_fan_out": True},
    "trained biases": {"bias": "all", "_model": "qwen2"},
}


def _disturb(model) -> None:
    """Move every trained value away from its start, as training does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                scale = 0.3 if "lora_B" in name or "magnitude" in name else 0.05
                weight.data.add_(torch.randn_like(weight) * scale)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_merged_rows_equal_those_of_peft(form, tmp_path):
    torch.set_num_threads(1)
    options = {"target_modules": ["q_proj", "k_proj", "v_proj", "down_proj"], **FORMS[form]}
    family = options.pop("_model", "llama")
    base = write_model(tmp_path / "base", family)
    trained = get_peft_model(base, LoraConfig(r=4, lora_alpha=16, task_type="CAUSAL_LM", **options))
    _disturb(trained)
    trained.save_pretrained(tmp_path / "adapter")

    merged = (
        PeftModel.from_pretrained(build_model(family), tmp_path / "adapter").merge_and_unload().state_dict()
    )
    source = open_checkpoint(tmp_path / "base", tmp_path / "adapter").source
    before = open_model(tmp_path / "base")
    changed = 0
    for name in source.names():
        rows = torch.from_numpy(source.rows(name, slice(None)))
        torch.testing.assert_close(rows, merged[name], rtol=1e-4, atol=2e-5)
        changed += not torch.equal(rows, torch.from_numpy(before.rows(name, slice(None))))
    assert changed >= 2


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_converted_pissa_is_a_plain_adapter(tmp_path):
    torch.set_num_threads(1)
    base = write_model(tmp_path / "base", "llama")
    config = LoraConfig(
        r=4, lora_alpha=4, task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights="pissa"
    )
    trained = get_peft_model(base, config)
    trained.save_pretrained(tmp_path / "start" / "start")
    _disturb(trained)
    logits = trained(torch.tensor([[5, 6, 7]])).logits.detach()
    trained.save_pretrained(
        tmp_path / "adapter", path_initial_model_for_weight_conversion=str(tmp_path / "start" / "start")
    )
    source = open_checkpoint(tmp_path / "base", tmp_path / "adapter").source
    merged = build_model("llama")
    weights = {name: torch.from_numpy(source.rows(name, slice(None))) for name in source.names()}
    merged.load_state_dict(weights)
    torch.testing.assert_close(merged(torch.tensor([[5, 6, 7]])).logits, logits, rtol=1e-3, atol=1e-3)
