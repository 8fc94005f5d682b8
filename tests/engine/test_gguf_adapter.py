"""A base GGUF with an adapter GGUF beside it answers as PEFT does."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from backprop_core.gguf import export_adapter_gguf, export_gguf
from tests.support.gguf_engine import next_token_logprobs
from tests.support.tiny_models import write_model

TOKENS = [5, 100, 7, 42, 200, 33, 250, 9]
FAMILIES = {
    "llama": ["q_proj", "k_proj", "down_proj"],
    "phi3": ["qkv_proj", "gate_up_proj"],
    "qwen35": ["in_proj_qkv", "in_proj_z", "in_proj_a", "out_proj", "q_proj"],
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True}, {"alpha_pattern": {r"layers\.1\..*proj.*": 2}}], ids=str
)
def test_adapter_beside_its_base_answers_as_in_training(family, options, tmp_path):
    base = write_model(tmp_path / "base", family)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=FAMILIES[family], task_type="CAUSAL_LM", **options)
    trained = get_peft_model(base, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for name, weight in trained.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(std=0.05)
    trained.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        expected = torch.log_softmax(trained(torch.tensor([TOKENS])).logits[0, -1].double(), -1)
        with trained.disable_adapter():
            untrained = torch.log_softmax(trained(torch.tensor([TOKENS])).logits[0, -1].double(), -1)

    export_gguf(tmp_path / "base", tmp_path / "base.gguf", "f32")
    export_adapter_gguf(tmp_path / "adapter", tmp_path / "base", tmp_path / "adapter.gguf")
    found = next_token_logprobs(tmp_path / "base.gguf", TOKENS, 300, lora=tmp_path / "adapter.gguf")

    assert max(abs(expected[token].item() - value) for token, value in found.items()) < 0.02
    assert (expected - untrained).abs().max() > 0.1
