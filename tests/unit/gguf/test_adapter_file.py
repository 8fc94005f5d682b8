"""Adapters as GGUF of their own: names, order, scale; and the reason when only a merge will do."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from backprop_core.errors import BackpropagateError, InputError
from backprop_core.gguf import export_adapter_gguf
from backprop_core.gguf.transforms import interleave_halves
from tests.support.checkpoints import HEADS, HIDDEN, lora_arrays, write_adapter, write_checkpoint

MODULE = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def base(tmp_path):
    return write_checkpoint(tmp_path / "base")


def export(tmp_path, base, arrays, **config):
    adapter = write_adapter(tmp_path / "adapter", arrays, **config)
    export_adapter_gguf(adapter, base, tmp_path / "a.gguf")
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    keys = {key: field.contents() for key, field in reader.fields.items()}
    return {tensor.name: tensor.data.astype(np.float32) for tensor in reader.tensors}, keys


def test_pairs_carry_the_names_and_keys_that_engines_look_for(tmp_path, base):
    values, keys = export(tmp_path, base, lora_arrays(MODULE, HIDDEN, HIDDEN))
    assert set(values) == {"blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"}
    expected = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
    }
    assert {key: keys[key] for key in expected} == expected


def test_second_factor_follows_the_rotary_order_of_the_base(tmp_path, base):
    arrays = lora_arrays(MODULE, HIDDEN, HIDDEN)
    a, b = arrays.values()
    values, _ = export(tmp_path, base, arrays)
    order = interleave_halves(HEADS, HIDDEN // HEADS)
    np.testing.assert_allclose(values["blk.0.attn_q.weight.lora_b"], b[order], rtol=1e-3)
    np.testing.assert_allclose(values["blk.0.attn_q.weight.lora_a"], a, rtol=1e-3)


def engine_scale(keys, rank: int) -> float:
    return keys["adapter.lora.alpha"] / rank


def test_rslora_is_written_as_the_alpha_that_gives_the_same_scale(tmp_path, base):
    _, keys = export(tmp_path, base, lora_arrays(MODULE, HIDDEN, HIDDEN), r=4, lora_alpha=8, use_rslora=True)
    assert engine_scale(keys, rank=4) == 4.0


def test_scale_of_a_pattern_is_folded_into_its_pair(tmp_path, base):
    arrays = lora_arrays(MODULE, HIDDEN, HIDDEN, rank=2)
    _, b = arrays.values()
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 6}}
    values, keys = export(tmp_path, base, arrays, r=4, lora_alpha=8, **patterns)
    order = interleave_halves(HEADS, HIDDEN // HEADS)
    stored = values["blk.0.attn_q.weight.lora_b"] * engine_scale(keys, rank=2)
    np.testing.assert_allclose(stored, 3 * b[order], rtol=1e-3)


@pytest.mark.parametrize(
    ("arrays", "config", "reason"),
    [
        (
            lora_arrays(MODULE, HIDDEN, HIDDEN)
            | {f"base_model.model.{MODULE}.lora_magnitude_vector": np.ones(HIDDEN)},
            {"use_dora": True},
            "DoRA rescales",
        ),
        (
            {"base_model.model.lm_head.weight": np.ones((300, HIDDEN))},
            {},
            "replaces lm_head.weight as a whole",
        ),
        (lora_arrays("lm_head", 300, HIDDEN), {}, "adapts lm_head.weight"),
        (lora_arrays(MODULE, HIDDEN, HIDDEN), {"init_lora_weights": "pissa"}, "saved without its start"),
    ],
)
def test_adapters_that_engines_cannot_add_say_why(arrays, config, reason, tmp_path, base):
    adapter = write_adapter(tmp_path / "adapter", arrays, **config)
    with pytest.raises(InputError, match=reason) as caught:
        export_adapter_gguf(adapter, base, tmp_path / "a.gguf")
    assert caught.value.hint == "Export it merged, with the format gguf."
    assert not (tmp_path / "a.gguf").exists()


def test_adapter_of_another_base_is_refused(tmp_path, base):
    adapter = write_adapter(tmp_path / "adapter", lora_arrays(MODULE, HIDDEN, HIDDEN + 64))
    with pytest.raises(BackpropagateError) as caught:
        export_adapter_gguf(adapter, base, tmp_path / "a.gguf")
    assert caught.value.code == "RUNTIME_MERGE_EXPORT_FAILED"
