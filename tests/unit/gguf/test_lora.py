"""Merge arithmetic on matrices small enough to compute by hand or in one numpy line."""

from __future__ import annotations

import numpy as np
import pytest

from backprop_core.errors import BackpropagateError, RunError
from backprop_core.gguf.lora import MergedSource
from backprop_core.gguf.peft_adapter import read_adapter
from backprop_core.gguf.source import open_model
from tests.support.checkpoints import lora_arrays, write_adapter, write_safetensors

MODULE = "model.layers.0.self_attn.q_proj"
TARGET = f"{MODULE}.weight"
ROWS, COLUMNS = 6, 8
WHOLE = slice(None)


def base_weight() -> np.ndarray:
    return np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS) / 8


def merged(tmp_path, arrays, *, is_tied=False, base=None, **config) -> MergedSource:
    write_safetensors(tmp_path / "model.safetensors", base or {TARGET: base_weight()}, "F32")
    adapter = read_adapter(write_adapter(tmp_path / "adapter", arrays, **config))
    return MergedSource(open_model(tmp_path), adapter, is_tied=is_tied)


def factors(arrays) -> tuple[np.ndarray, np.ndarray]:
    a, b = arrays.values()
    return b, a


def test_update_is_added_times_alpha_over_rank(tmp_path):
    arrays = lora_arrays(MODULE, ROWS, COLUMNS)
    b, a = factors(arrays)
    rows = merged(tmp_path, arrays, r=4, lora_alpha=8).rows(TARGET, WHOLE)
    np.testing.assert_allclose(rows, base_weight() + 2 * (b @ a), rtol=1e-5)


def test_rslora_divides_by_the_root_of_the_rank(tmp_path):
    arrays = lora_arrays(MODULE, ROWS, COLUMNS)
    b, a = factors(arrays)
    rows = merged(tmp_path, arrays, r=4, lora_alpha=8, use_rslora=True).rows(TARGET, WHOLE)
    np.testing.assert_allclose(rows, base_weight() + 4 * (b @ a), rtol=1e-5)


def test_patterns_override_rank_and_alpha(tmp_path):
    arrays = lora_arrays(MODULE, ROWS, COLUMNS, rank=2)
    b, a = factors(arrays)
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {r"layers\.0\..*q_proj": 6}}
    rows = merged(tmp_path, arrays, r=4, lora_alpha=8, **patterns).rows(TARGET, WHOLE)
    np.testing.assert_allclose(rows, base_weight() + 3 * (b @ a), rtol=1e-5)


def test_dora_keeps_the_stored_length_of_each_row(tmp_path):
    lengths = np.arange(1, ROWS + 1, dtype=np.float32)
    arrays = lora_arrays(MODULE, ROWS, COLUMNS)
    b, a = factors(arrays)
    arrays = arrays | {f"base_model.model.{MODULE}.lora_magnitude_vector": lengths}
    rows = merged(tmp_path, arrays, use_dora=True).rows(TARGET, WHOLE)
    direction = base_weight() + 2 * (b @ a)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), lengths, rtol=1e-5)
    expected = direction / np.linalg.norm(direction, axis=1, keepdims=True) * lengths[:, None]
    np.testing.assert_allclose(rows, expected, rtol=1e-4)


def test_unconverted_pissa_replaces_the_principal_part(tmp_path):
    weight = np.diag([8.0, 4.0, 2.0, 1.0, 0.5, 0.25]).astype(np.float32)
    arrays = lora_arrays(MODULE, 6, 6, rank=2)
    b, a = factors(arrays)
    source = merged(tmp_path, arrays, base={TARGET: weight}, r=2, lora_alpha=2, init_lora_weights="pissa")
    residual = np.diag([0, 0, 2.0, 1.0, 0.5, 0.25])
    np.testing.assert_allclose(source.rows(TARGET, WHOLE), residual + b @ a, atol=1e-5)


def test_chosen_rows_equal_those_of_the_whole(tmp_path):
    source = merged(tmp_path, lora_arrays(MODULE, ROWS, COLUMNS))
    order = np.array([4, 0, 3])
    np.testing.assert_allclose(source.rows(TARGET, order), source.rows(TARGET, WHOLE)[order], rtol=1e-6)


def test_other_tensors_pass_through(tmp_path):
    other = np.ones((2, 2), np.float32)
    base = {TARGET: base_weight(), "model.norm.weight": other}
    source = merged(tmp_path, lora_arrays(MODULE, ROWS, COLUMNS), base=base)
    assert source.rows("model.norm.weight", WHOLE).tolist() == other.tolist()


def test_adapted_embedding_stores_its_factors_transposed(tmp_path):
    weight = np.zeros((5, 3), np.float32)
    a, b = np.full((2, 5), 2.0, np.float32), np.arange(6, dtype=np.float32).reshape(3, 2)
    arrays = {
        "base_model.model.model.embed_tokens.lora_embedding_A": a,
        "base_model.model.model.embed_tokens.lora_embedding_B": b,
    }
    base = {"model.embed_tokens.weight": weight, "lm_head.weight": weight}
    source = merged(tmp_path, arrays, base=base, r=2, lora_alpha=2)
    np.testing.assert_allclose(source.rows("model.embed_tokens.weight", WHOLE), (b @ a).T)


def test_saved_and_adapted_matrix_is_the_saved_one_plus_its_update(tmp_path):
    arrays = lora_arrays(MODULE, ROWS, COLUMNS)
    b, a = factors(arrays)
    saved = {f"base_model.model.{MODULE}.base_layer.weight": base_weight() + 1}
    rows = merged(tmp_path, arrays | saved).rows(TARGET, WHOLE)
    np.testing.assert_allclose(rows, base_weight() + 1 + 2 * (b @ a), rtol=1e-5)


def embedding_replacement(rows: int = 5) -> dict[str, np.ndarray]:
    return {"base_model.model.model.embed_tokens.weight": np.full((rows, 3), 7.0, np.float32)}


def tied_base() -> dict[str, np.ndarray]:
    return {"model.embed_tokens.weight": np.ones((5, 3), np.float32)}


def test_saved_module_stands_in_for_the_base(tmp_path):
    source = merged(tmp_path, embedding_replacement(), base=tied_base())
    assert source.rows("model.embed_tokens.weight", WHOLE).tolist() == [[7.0] * 3] * 5


def test_changing_only_the_embedding_leaves_a_tied_output_as_it_was(tmp_path):
    source = merged(tmp_path, embedding_replacement(), base=tied_base(), is_tied=True)
    assert source.rows("lm_head.weight", WHOLE).tolist() == [[1.0] * 3] * 5


def test_adapter_that_keeps_tying_adds_no_output_matrix(tmp_path):
    source = merged(
        tmp_path, embedding_replacement(), base=tied_base(), is_tied=True, ensure_weight_tying=True
    )
    assert "lm_head.weight" not in source.names()


def test_extended_vocabulary_takes_the_saved_rows(tmp_path):
    source = merged(tmp_path, embedding_replacement(rows=9), base=tied_base())
    assert source.shape("model.embed_tokens.weight") == (9, 3)


def refused(tmp_path, arrays, match, **config) -> BackpropagateError:
    with pytest.raises(RunError, match=match) as caught:
        merged(tmp_path, arrays, **config)
    assert caught.value.code == "RUNTIME_MERGE_EXPORT_FAILED"
    return caught.value


def test_adapter_of_another_shape_names_the_tensor(tmp_path):
    refused(tmp_path, lora_arrays(MODULE, ROWS, COLUMNS + 8), r"q_proj\.weight' is \(6, 8\) in the base")


def test_adapter_of_another_model_names_the_missing_tensor(tmp_path):
    refused(
        tmp_path, lora_arrays("model.layers.9.self_attn.q_proj", ROWS, COLUMNS), "base has no 'model.layers.9"
    )


def test_adapter_of_another_rank_than_its_config_is_refused(tmp_path):
    refused(tmp_path, lora_arrays(MODULE, ROWS, COLUMNS, rank=2), "should have rank 4")


def test_half_a_pair_is_refused(tmp_path):
    arrays = lora_arrays(MODULE, ROWS, COLUMNS)
    refused(tmp_path, dict(list(arrays.items())[:1]), "only one of its two factors")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"peft_type": "IA3"}, "method is 'IA3'"),
        ({"use_qalora": True}, "uses use_qalora"),
        ({"alora_invocation_tokens": [1]}, "uses alora_invocation_tokens"),
        ({"init_lora_weights": "olora"}, "started as 'olora'"),
        ({"init_lora_weights": "pissa_niter_4"}, "started as 'pissa_niter_4'"),
        ({"lora_alpha": "8"}, "lora_alpha is '8'"),
        ({"rank_pattern": {"(a+)+": 4}}, "repeats a group"),
    ],
)
def test_forms_that_cannot_be_merged_say_why(config, reason, tmp_path):
    refused(tmp_path, lora_arrays(MODULE, ROWS, COLUMNS), reason, **config)


def test_config_that_is_no_json_is_refused(tmp_path):
    folder = write_adapter(tmp_path / "adapter", lora_arrays(MODULE, ROWS, COLUMNS))
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(BackpropagateError, match="is not JSON"):
        read_adapter(folder)
