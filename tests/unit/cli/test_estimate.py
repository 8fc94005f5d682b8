from __future__ import annotations

import json

import pytest

from backprop_core.errors import DependencyError
from backpropagate import Trainer


def test_a_preset_is_estimated_without_being_here(backprop):
    code, out, _ = backprop("estimate-vram", "qwen2.5-7b", "--lora-r", "16")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "Model     qwen2.5-7b, 7.62 B parameters".replace("7.62 B", "7.62\u00a0B")
    assert any(line.startswith("Base weights") for line in lines)
    assert any(line.startswith("8 GiB") and "4-bit" in line for line in lines)


def test_the_estimate_as_json_has_components_fit_and_largest_batch(backprop):
    code, out, err = backprop("estimate-vram", "smollm2-135m", "--device", "cpu", "--json")
    document = json.loads(out)
    found = document["estimate"]
    assert (code, document["schema_version"], err) == (0, 1, "")
    assert sum(part["bytes"] for part in found["components"]) == found["peak_bytes"]
    assert (found["fits"], found["largest_batch"], found["cards"]) == (True, 1024, [])


def test_a_folder_is_estimated_from_its_config_alone(backprop, tmp_path):
    sizes = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 1000,
        "tie_word_embeddings": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    code, out, _ = backprop("estimate-vram", str(tmp_path), "--lora-r", "8", "--json")
    assert code == 0
    assert json.loads(out)["estimate"]["parameters"] == 1000 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 128) + 5 * 64


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (["somebody/unknown-model"], "DEP_MODEL_LOAD_FAILED", 2),
        (["no-such-model"], "INPUT_MODEL_NOT_FOUND", 1),
        (["smollm2-135m", "--lora-r", "0"], "INPUT_VALIDATION_FAILED", 1),
        (["smollm2-135m", "--target-modules", "foo"], "INPUT_VALIDATION_FAILED", 1),
        ([], "INPUT_VALIDATION_FAILED", 1),
    ],
)
def test_what_cannot_be_estimated_is_an_error(backprop, words, code, exit_code):
    found, out, err = backprop("estimate-vram", *words)
    assert (found, out) == (exit_code, "")
    assert err.startswith(f"[{code}]")


def test_a_trainer_estimates_with_its_own_keywords(backprop):
    small = Trainer("smollm2-135m", lora_r=16, device="cpu").estimate_vram()
    large = Trainer("smollm2-135m", lora_r=256, device="cpu").estimate_vram()
    assert (small.lora_r, large.lora_r) == (16, 256)
    assert small.peak_bytes < large.peak_bytes


def test_a_trainer_of_a_model_that_is_not_known_says_so():
    with pytest.raises(DependencyError) as caught:
        Trainer("somebody/unknown-model").estimate_vram()
    assert caught.value.code == "DEP_MODEL_LOAD_FAILED"
