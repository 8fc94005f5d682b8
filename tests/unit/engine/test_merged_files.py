"""A merged model folder against the same arithmetic in numpy."""

from __future__ import annotations

import json

import numpy as np
import pytest

from backprop_core.engine.merged_files import merged_bytes, write_merged
from backprop_core.errors import RunError
from backprop_core.files import read_json, sha256_of
from backprop_core.gguf.export import open_checkpoint
from backprop_core.gguf.floats import round_to
from backprop_core.gguf.source import open_model
from tests.support.checkpoints import (
    HIDDEN,
    VOCABULARY,
    llama_arrays,
    lora_arrays,
    write_adapter,
    write_checkpoint,
    write_safetensors,
)

QUERY = "model.layers.0.self_attn.q_proj"
EVERYTHING = slice(None)


def merge(base, adapter, target):
    target.mkdir()
    written = write_merged(open_checkpoint(base, adapter), target, lambda count: None)
    return {file.name: file for file in written}


@pytest.fixture
def base(tmp_path):
    return write_checkpoint(tmp_path / "base")


def test_an_adapted_matrix_is_merged_and_rounded_once(base, tmp_path):
    factors = lora_arrays(QUERY, HIDDEN, HIDDEN)
    adapter = write_adapter(tmp_path / "adapter", factors)
    merge(base, adapter, tmp_path / "merged")
    a, b = (factors[f"base_model.model.{QUERY}.lora_{part}.weight"] for part in "AB")
    before = open_model(base).rows(f"{QUERY}.weight", EVERYTHING)
    expected = round_to("BF16", before + (2 * b) @ a)
    assert np.array_equal(open_model(tmp_path / "merged").rows(f"{QUERY}.weight", EVERYTHING), expected)


def test_every_other_tensor_is_bit_for_bit_that_of_the_base(base, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", lora_arrays(QUERY, HIDDEN, HIDDEN))
    merge(base, adapter, tmp_path / "merged")
    before, after = open_model(base), open_model(tmp_path / "merged")
    assert list(after.names()) == list(before.names())
    for name in before.names():
        same = np.array_equal(before.rows(name, EVERYTHING), after.rows(name, EVERYTHING))
        assert same == (name != f"{QUERY}.weight")


def test_a_model_without_an_adapter_is_copied_with_its_tokenizer(base, tmp_path):
    written = merge(base, None, tmp_path / "merged")
    assert sorted(written) == [
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert written["tokenizer.json"].sha256 == sha256_of(base / "tokenizer.json")


def test_shards_stay_shards_and_the_index_names_them(base, tmp_path):
    arrays = llama_arrays()
    names = sorted(arrays)
    shards = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for shard, inside in shards.items():
        write_safetensors(base / shard, {name: arrays[name] for name in inside})
    index = {name: shard for shard, inside in shards.items() for name in inside}
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (base / "model.safetensors").unlink()
    adapter = write_adapter(tmp_path / "adapter", lora_arrays(QUERY, HIDDEN, HIDDEN))
    merge(base, adapter, tmp_path / "merged")
    made = read_json(tmp_path / "merged" / "model.safetensors.index.json")
    assert made["weight_map"] == index
    assert made["metadata"]["total_size"] == merged_bytes(open_checkpoint(base, adapter))
    assert set(open_model(tmp_path / "merged").names()) == set(names)


def test_an_adapted_output_matrix_is_untied_and_the_configuration_says_so(base, tmp_path):
    adapter = write_adapter(tmp_path / "adapter", lora_arrays("lm_head", VOCABULARY, HIDDEN))
    merge(base, adapter, tmp_path / "merged")
    merged = open_model(tmp_path / "merged")
    assert merged.shape("lm_head.weight") == (VOCABULARY, HIDDEN)
    assert read_json(tmp_path / "merged" / "config.json")["tie_word_embeddings"] is False
    before = open_model(base).rows("model.embed_tokens.weight", EVERYTHING)
    assert np.array_equal(merged.rows("model.embed_tokens.weight", EVERYTHING), before)


def test_a_grown_vocabulary_stands_in_the_configuration(base, tmp_path):
    grown = np.ones((VOCABULARY + 8, HIDDEN), np.float32)
    factors = lora_arrays(QUERY, HIDDEN, HIDDEN)
    factors["base_model.model.model.embed_tokens.weight"] = grown
    factors["base_model.model.lm_head.weight"] = grown
    adapter = write_adapter(tmp_path / "adapter", factors, modules_to_save=["embed_tokens", "lm_head"])
    merge(base, adapter, tmp_path / "merged")
    assert read_json(tmp_path / "merged" / "config.json")["vocab_size"] == VOCABULARY + 8
    assert open_model(tmp_path / "merged").shape("model.embed_tokens.weight") == (VOCABULARY + 8, HIDDEN)


def test_a_value_that_is_no_number_is_refused_by_name(base, tmp_path):
    factors = lora_arrays(QUERY, HIDDEN, HIDDEN)
    factors[f"base_model.model.{QUERY}.lora_A.weight"][0, 0] = np.nan
    adapter = write_adapter(tmp_path / "adapter", factors)
    with pytest.raises(RunError, match="q_proj") as caught:
        merge(base, adapter, tmp_path / "merged")
    assert caught.value.code == "RUNTIME_MERGE_EXPORT_FAILED"


def test_what_the_progress_raises_ends_the_work(base, tmp_path):
    def refuse(count):
        raise InterruptedError

    (tmp_path / "merged").mkdir()
    with pytest.raises(InterruptedError):
        write_merged(open_checkpoint(base, None), tmp_path / "merged", refuse)
