from __future__ import annotations

import dataclasses

import pytest

from backprop_core.config.presets import MODEL_PRESETS, TUTORIAL_MODEL, find_preset


def test_the_nine_presets_and_their_hub_ids():
    assert {preset.key: preset.hub_id for preset in MODEL_PRESETS} == {
        "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
        "qwen3.5-4b": "Qwen/Qwen3.5-4B",
        "phi-4-mini-3.8b": "microsoft/Phi-4-mini-instruct",
        "smollm3-3b": "HuggingFaceTB/SmolLM3-3B",
        "qwen2.5-3b": "Qwen/Qwen2.5-3B-Instruct",
        "llama-3.2-3b": "meta-llama/Llama-3.2-3B-Instruct",
        "llama-3.2-1b": "meta-llama/Llama-3.2-1B-Instruct",
        "mistral-7b": "mistralai/Mistral-7B-Instruct-v0.3",
        "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    }


def test_a_preset_is_found_by_key_in_any_case():
    assert find_preset("SmolLM2-135M").key == "smollm2-135m"


def test_a_preset_is_found_by_hub_id_in_any_case():
    assert find_preset("qwen/qwen2.5-7b-instruct").key == "qwen2.5-7b"


def test_an_unknown_name_is_no_preset():
    assert find_preset("qwen2.5") is None


def test_only_the_llama_presets_are_gated():
    assert [preset.key for preset in MODEL_PRESETS if preset.is_gated] == ["llama-3.2-3b", "llama-3.2-1b"]


def test_the_research_licence_carries_a_warning():
    assert "commercial" in find_preset("qwen2.5-3b").licence_note


def test_the_tutorial_model_is_a_preset_that_needs_no_card():
    assert find_preset(TUTORIAL_MODEL).vram_gb == 0


def test_a_preset_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODEL_PRESETS[0].key = "other"
