from __future__ import annotations

import json

import numpy as np
import pytest

from backprop_core.errors import InputError
from backprop_core.hub.gguf_folder import unpack_gguf
from backprop_core.hub.gguf_rope import half_split_rows, llama3_factors, llama3_scaling
from backprop_core.hub.tensors import to_bfloat16
from tests.support.small_gguf import interleaved, weights, write_small_gguf


def _unpack(tmp_path, **variation):
    folder = tmp_path / "model"
    folder.mkdir()
    unpack_gguf(write_small_gguf(tmp_path / "m.gguf", **variation), folder, lambda done, total: None)
    return folder


def _stored(folder):
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    data = raw[8 + length :]
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__")
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], dtype=np.uint16).reshape(entry["shape"])
        for name, entry in header.items()
    }


def test_every_tensor_comes_back_under_its_name_in_hugging_face_order(tmp_path):
    stored = _stored(_unpack(tmp_path))
    expected = weights()
    assert stored.keys() == expected.keys()
    for name, values in expected.items():
        assert (stored[name] == to_bfloat16(values)).all(), name


def test_config_holds_the_values_of_the_file(tmp_path):
    config = json.loads((_unpack(tmp_path) / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]) == (32, 64, 1)
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]) == (4, 2, 8)
    assert (config["rope_theta"], config["rms_norm_eps"], config["rope_scaling"]) == (100_000.0, 1e-5, None)
    assert (config["vocab_size"], config["max_position_embeddings"]) == (8, 128)
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 2)
    assert config["tie_word_embeddings"] is True


def test_an_output_matrix_of_its_own_unties_the_embeddings(tmp_path):
    folder = _unpack(tmp_path, extra={"output.weight": np.ones((8, 32), dtype=np.float32)})
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False
    assert "lm_head.weight" in _stored(folder)


def test_llama_3_rotary_factors_become_a_scaling_rule(tmp_path):
    factors = np.array(llama3_factors(32.0, 100_000.0, 8), dtype=np.float32)
    folder = _unpack(tmp_path, extra={"rope_freqs.weight": factors})
    assert json.loads((folder / "config.json").read_text())["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    assert "rope_freqs.weight" not in _stored(folder)


def test_llama_3_factors_are_one_for_short_waves_and_the_factor_for_long_ones():
    factors = llama3_factors(8.0, 500_000.0, 128)
    assert factors[0] == 1.0
    assert factors[-1] == 8.0
    assert factors == sorted(factors)


def test_other_rotary_factors_have_no_scaling_rule():
    assert llama3_scaling(np.array([1, 2, 3, 4], dtype=np.float32), 100_000.0, 8) is None


def test_rows_come_back_from_interleaved_order():
    weight = np.arange(16, dtype=np.float32).reshape(8, 2)
    assert interleaved(weight, 2)[:, 0].tolist() == [0, 4, 2, 6, 8, 12, 10, 14]
    assert (half_split_rows(interleaved(weight, 2), 2) == weight).all()


@pytest.mark.parametrize(
    ("variation", "reason"),
    [
        ({"architecture": "qwen2"}, "'qwen2'"),
        ({"vocabulary": "llama"}, "'llama', not byte-level BPE"),
        ({"words": "tekken"}, "'tekken'"),
        ({"token_kinds": [1, 1]}, "contradicts itself"),
        ({"extra": {"blk.0.attn_q.bias": np.ones(32, dtype=np.float32)}}, "'blk.0.attn_q.bias'"),
        ({"extra": {"rope_freqs.weight": np.full(4, 3, dtype=np.float32)}}, "unknown rule"),
    ],
)
def test_a_file_that_cannot_be_rebuilt_exactly_is_refused_with_the_reason(tmp_path, variation, reason):
    with pytest.raises(InputError, match=reason) as caught:
        _unpack(tmp_path, **variation)
    assert caught.value.code == "INPUT_MODEL_NOT_FOUND"
    assert "preset key" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model" * 50])
def test_something_else_than_gguf_is_refused(tmp_path, content):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(InputError, match="damaged or not GGUF"):
        unpack_gguf(tmp_path / "m.gguf", tmp_path, lambda done, total: None)


def test_a_file_cut_short_is_refused(tmp_path):
    whole = write_small_gguf(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged or not GGUF"):
        unpack_gguf(tmp_path / "m.gguf", tmp_path, lambda done, total: None)


def test_digits_are_split_one_by_one_and_control_tokens_are_special(tmp_path):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_unpack(tmp_path) / "tokenizer.json"))
    assert tokenizer.pre_tokenizer.pre_tokenize_str("ab11") == [("ab", (0, 2)), ("1", (2, 3)), ("1", (3, 4))]
    assert tokenizer.encode("<|im_start|>ab").ids == [1, 6]
    assert tokenizer.decode([1, 6], skip_special_tokens=True) == "ab"


def test_llama_3_words_keep_up_to_three_digits_together(tmp_path):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_unpack(tmp_path, words="llama-bpe") / "tokenizer.json"))
    pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("ab 12345")]
    assert pieces == ["ab", "Ġ", "123", "45"]


def test_a_begin_token_is_added_only_when_the_file_says_so(tmp_path):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_unpack(tmp_path, adds_bos=True) / "tokenizer.json"))
    assert tokenizer.encode("ab").ids == [1, 6]


def test_roles_and_chat_template_are_written(tmp_path):
    folder = _unpack(tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert (config["bos_token"], config["eos_token"], config["pad_token"], config["unk_token"]) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
        "<|endoftext|>",
    )
    assert (
        (folder / "chat_template.jinja").read_text()
        == config["chat_template"]
        == "{{ messages[0]['content'] }}"
    )
