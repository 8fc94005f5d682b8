"""Configurations from elsewhere: whatever stands in them, the answer is a file or an error with a code."""

from __future__ import annotations

import json

import pytest

from backprop_core.errors import BackpropagateError, InputError
from backprop_core.gguf import plan_gguf
from backprop_core.gguf.config import parse_config, read_config
from tests.support.checkpoints import LLAMA_CONFIG, write_checkpoint

STRANGE = [None, "x", -1, 0, 1.5, 1e308, True, [], [1], {}, {"a": 1}, 1 << 60]
ROPE_KEYS = [
    "rope_type",
    "rope_theta",
    "factor",
    "low_freq_factor",
    "original_max_position_embeddings",
    "long_factor",
]


def planned_or_refused(folder, config) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    try:
        assert plan_gguf(folder, "q4_k_m").header.startswith(b"GGUF")
    except BackpropagateError as error:
        assert error.code == "INPUT_VALIDATION_FAILED"


@pytest.mark.parametrize("key", [*LLAMA_CONFIG, "head_dim", "rope_scaling", "rope_parameters", "text_config"])
def test_strange_value_is_refused_with_a_code(key, tmp_path):
    folder = write_checkpoint(tmp_path / "m")
    for value in STRANGE:
        planned_or_refused(folder, LLAMA_CONFIG | {key: value})


@pytest.mark.parametrize("kind", ["llama3", "yarn", "linear", "longrope"])
def test_strange_rope_setting_is_refused_with_a_code(kind, tmp_path):
    folder = write_checkpoint(tmp_path / "m")
    for key in ROPE_KEYS:
        for value in STRANGE:
            planned_or_refused(folder, LLAMA_CONFIG | {"rope_scaling": {"rope_type": kind, key: value}})


def test_heads_that_would_fill_the_memory_are_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "m", config=LLAMA_CONFIG | {"head_dim": 1 << 23})
    with pytest.raises(InputError, match="add up to"):
        plan_gguf(folder, "f16")


def test_configuration_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        read_config(tmp_path)


def test_code_that_a_folder_names_is_ignored():
    config = parse_config(LLAMA_CONFIG | {"auto_map": {"AutoModel": "evil.Model"}})
    assert config.architecture == "LlamaForCausalLM"
