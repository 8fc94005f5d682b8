"""A tiny model exported and read back with the format's own reader; faults leave nothing behind."""

from __future__ import annotations

import hashlib

import gguf
import numpy as np
import pytest

from backprop_core import files
from backprop_core.errors import BackpropagateError
from backprop_core.gguf import export_gguf, plan_gguf
from backprop_core.gguf.quantize import NumpyPacker
from backprop_core.gguf.transforms import interleave_halves
from backprop_core.platform import FileLock
from tests.support.checkpoints import (
    HEADS,
    HIDDEN,
    LLAMA_CONFIG,
    byte_tokenizer,
    llama_arrays,
    lora_arrays,
    write_adapter,
    write_checkpoint,
)


@pytest.fixture
def model(tmp_path):
    return write_checkpoint(tmp_path / "tiny-llama", dtype="F32")


def read(path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    reader = gguf.GGUFReader(path)
    values = {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors
    }
    return values, {key: field.contents() for key, field in reader.fields.items()}


def test_f32_file_holds_the_weights_in_rotary_order(model, tmp_path):
    export_gguf(model, tmp_path / "m.gguf", "f32")
    values, _ = read(tmp_path / "m.gguf")
    arrays = llama_arrays()
    q_proj = arrays["model.layers.1.self_attn.q_proj.weight"]
    np.testing.assert_array_equal(
        values["blk.1.attn_q.weight"], q_proj[interleave_halves(HEADS, HIDDEN // HEADS)]
    )
    np.testing.assert_array_equal(
        values["blk.1.ffn_down.weight"], arrays["model.layers.1.mlp.down_proj.weight"]
    )
    assert len(values) == len(arrays)


def test_metadata_describes_the_model(model, tmp_path):
    export_gguf(model, tmp_path / "m.gguf", "q8_0", name="My model")
    _, keys = read(tmp_path / "m.gguf")
    expected = {
        "general.architecture": "llama",
        "general.name": "My model",
        "general.file_type": 7,
        "llama.block_count": 2,
        "llama.context_length": 512,
        "llama.attention.head_count_kv": 2,
        "llama.vocab_size": 300,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{{ messages[0]['content'] }}",
        "backpropagate.base_model": "tiny-llama",
    }
    assert {key: keys[key] for key in expected} == expected


@pytest.mark.parametrize("quantization", ["f32", "f16", "bf16", "q8_0", "q4_k_m", "q2_k"])
def test_planned_size_is_the_size_of_the_file(quantization, model, tmp_path):
    planned = plan_gguf(model, quantization).size_bytes
    report = export_gguf(model, tmp_path / "m.gguf", quantization)
    assert planned == report.size_bytes == (tmp_path / "m.gguf").stat().st_size


def test_digests_are_those_of_the_written_bytes(model, tmp_path):
    report = export_gguf(model, tmp_path / "m.gguf", "q8_0")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    stored = {tensor.name: hashlib.sha256(tensor.data.tobytes()).hexdigest() for tensor in reader.tensors}
    assert {tensor.name: tensor.sha256 for tensor in report.tensors} == stored
    assert report.sha256 == files.sha256_of(tmp_path / "m.gguf")


def test_result_does_not_depend_on_the_number_of_threads(model, tmp_path):
    reports = [
        export_gguf(model, tmp_path / f"{count}.gguf", "q4_k_m", threads=count, name="m") for count in (1, 5)
    ]
    assert reports[0].sha256 == reports[1].sha256


def test_numpy_and_ggml_pack_the_same_bytes(model, tmp_path, monkeypatch):
    with_ggml = export_gguf(model, tmp_path / "a.gguf", "q4_0", name="m")
    monkeypatch.setattr("backprop_core.gguf.export.load_packer", NumpyPacker)
    assert export_gguf(model, tmp_path / "b.gguf", "q4_0", name="m").sha256 == with_ggml.sha256


def test_k_types_without_kernels_name_the_missing_package(model, tmp_path, monkeypatch):
    wide = LLAMA_CONFIG | {"hidden_size": 256, "head_dim": 16}
    arrays = {name: np.ones((*array.shape[:-1], 256), np.float32) for name, array in llama_arrays().items()}
    write_checkpoint(model, arrays=arrays, config=wide)
    monkeypatch.setattr("backprop_core.gguf.export.load_packer", NumpyPacker)
    with pytest.raises(BackpropagateError, match="needs ggml's kernels") as caught:
        export_gguf(model, tmp_path / "m.gguf", "q4_k_m")
    assert caught.value.code == "DEP_EXTRA_MISSING"


def test_adapter_is_merged_on_the_way(model, tmp_path):
    module = "model.layers.0.mlp.down_proj"
    arrays = lora_arrays(module, HIDDEN, 96)
    adapter = write_adapter(tmp_path / "adapter", arrays)
    (adapter / "run_id").write_text("run-7\n")
    export_gguf(model, tmp_path / "m.gguf", "f32", adapter_dir=adapter)
    values, keys = read(tmp_path / "m.gguf")
    a, b = arrays.values()
    expected = llama_arrays()[f"{module}.weight"] + 2 * (b @ a)
    np.testing.assert_allclose(values["blk.0.ffn_down.weight"], expected, rtol=1e-5)
    assert keys["backpropagate.run_id"] == "run-7"
    assert keys["backpropagate.base_model"] == "tiny/llama"
    assert keys["backpropagate.adapter_sha256"] == files.sha256_of(adapter / "adapter_model.safetensors")


def test_saved_output_matrix_of_a_tied_model_is_written_on_its_own(model, tmp_path):
    saved = {"base_model.model.lm_head.weight": np.full((300, HIDDEN), 0.5, np.float32)}
    adapter = write_adapter(tmp_path / "adapter", saved)
    export_gguf(model, tmp_path / "m.gguf", "f32", adapter_dir=adapter)
    values, _ = read(tmp_path / "m.gguf")
    assert values["output.weight"][0, 0] == 0.5
    np.testing.assert_array_equal(values["token_embd.weight"], llama_arrays()["model.embed_tokens.weight"])


def test_progress_ends_at_the_size_of_the_file(model, tmp_path):
    seen: list[tuple[int, int, str]] = []
    report = export_gguf(model, tmp_path / "m.gguf", "f16", progress=lambda *step: seen.append(step))
    done = [step[0] for step in seen]
    assert done == sorted(done)
    assert seen[-1] == (report.size_bytes, report.size_bytes, "saving")


def leftovers(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("m.gguf"))


def test_cancelled_export_leaves_nothing(model, tmp_path):
    answers = iter([False, False, True])
    with pytest.raises(BackpropagateError) as caught:
        export_gguf(model, tmp_path / "m.gguf", "f16", should_cancel=lambda: next(answers))
    assert caught.value.code == "RUNTIME_EXPORT_CANCELLED"
    assert leftovers(tmp_path) == []


def test_failed_export_keeps_the_file_that_was_there(model, tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"older")
    with pytest.raises(BackpropagateError):
        export_gguf(model, tmp_path / "m.gguf", "f16", should_cancel=lambda: True)
    assert (tmp_path / "m.gguf").read_bytes() == b"older"


def test_leftover_of_a_killed_export_is_cleared_by_the_next(model, tmp_path):
    (tmp_path / "m.gguf.0badcafe.partial").write_bytes(b"half")
    (tmp_path / "other.gguf.0badcafe.partial").write_bytes(b"half")
    export_gguf(model, tmp_path / "m.gguf", "f16")
    assert leftovers(tmp_path) == ["m.gguf"]
    assert (tmp_path / "other.gguf.0badcafe.partial").exists()


def test_second_export_to_one_name_is_refused(model, tmp_path):
    lock = FileLock(tmp_path / "m.gguf.lock")
    assert lock.acquire()
    with pytest.raises(BackpropagateError, match="Another export is writing") as caught:
        export_gguf(model, tmp_path / "m.gguf", "f16")
    lock.release()
    assert caught.value.code == "STATE_RUN_LOCKED"


def test_disk_is_checked_before_a_byte_is_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr("backprop_core.files.free_bytes", lambda _path: 1 << 20)
    with pytest.raises(BackpropagateError) as caught:
        export_gguf(model, tmp_path / "m.gguf", "f16")
    assert caught.value.code == "RUNTIME_DISK_FULL"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value, tmp_path):
    arrays = llama_arrays()
    arrays["model.layers.1.mlp.up_proj.weight"][3, 3] = value
    model = write_checkpoint(tmp_path / "m", arrays=arrays, dtype="F32")
    with pytest.raises(
        BackpropagateError, match=r"blk\.1\.ffn_up\.weight' holds a value that is not a finite"
    ):
        export_gguf(model, tmp_path / "m.gguf", "q8_0")


def test_values_beyond_f16_are_refused_and_fit_bf16(tmp_path):
    arrays = llama_arrays()
    arrays["model.layers.1.mlp.up_proj.weight"][3, 3] = 1e6
    model = write_checkpoint(tmp_path / "m", arrays=arrays, dtype="F32")
    with pytest.raises(BackpropagateError, match="more than f16 can"):
        export_gguf(model, tmp_path / "m.gguf", "f16")
    export_gguf(model, tmp_path / "m.gguf", "bf16")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("my-Phi-3-run", "my-Phi 3-run"),
        ("phi3", "phi 3"),
        ("a\nb", "a b"),
        ("hf_abcdefgh12345", "[redacted]"),
    ],
)
def test_names_that_trap_engines_or_leak_are_made_safe(name, written, model, tmp_path):
    export_gguf(model, tmp_path / "m.gguf", "f16", name=name)
    assert read(tmp_path / "m.gguf")[1]["general.name"] == written


def test_missing_layer_tensor_is_refused(tmp_path):
    arrays = llama_arrays()
    del arrays["model.layers.1.mlp.up_proj.weight"]
    model = write_checkpoint(tmp_path / "m", arrays=arrays)
    with pytest.raises(BackpropagateError, match="Layer 1 differs from the others in"):
        plan_gguf(model, "f16")


def test_missing_layer_is_refused(tmp_path):
    model = write_checkpoint(tmp_path / "m", arrays=llama_arrays(layers=1))
    with pytest.raises(BackpropagateError, match="names 2 layers, the weights hold 1"):
        plan_gguf(model, "f16")


def test_heads_that_do_not_fit_the_weights_are_refused(tmp_path):
    model = write_checkpoint(tmp_path / "m", config=LLAMA_CONFIG | {"num_key_value_heads": 4})
    with pytest.raises(BackpropagateError, match=r"k_proj\.weight' has the shape \(32, 64\)"):
        plan_gguf(model, "f16")


def test_unknown_tensor_is_refused(tmp_path):
    arrays = llama_arrays() | {"model.layers.0.router.weight": np.ones((2, 2), np.float32)}
    model = write_checkpoint(tmp_path / "m", arrays=arrays)
    with pytest.raises(BackpropagateError, match=r"router\.weight' has no place"):
        plan_gguf(model, "f16")


def test_tokenizer_larger_than_the_embedding_is_refused(tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer["added_tokens"].append({"id": 400, "content": "<extra>", "special": True})
    model = write_checkpoint(tmp_path / "m", tokenizer=tokenizer)
    with pytest.raises(BackpropagateError, match="401 tokens, the embedding only 300 rows"):
        plan_gguf(model, "f16")


def test_extended_vocabulary_comes_with_the_adapter(model, tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer["added_tokens"].append({"id": 309, "content": "<extra>", "special": True})
    saved = {
        "base_model.model.model.embed_tokens.weight": np.ones((310, HIDDEN), np.float32),
        "base_model.model.lm_head.weight": np.ones((310, HIDDEN), np.float32),
    }
    adapter = write_adapter(write_checkpoint(tmp_path / "adapter", tokenizer=tokenizer), saved)
    export_gguf(model, tmp_path / "m.gguf", "f16", adapter_dir=adapter)
    _, keys = read(tmp_path / "m.gguf")
    assert keys["llama.vocab_size"] == 310
    assert keys["tokenizer.ggml.tokens"][309] == "<extra>"


def test_quantized_base_is_refused(tmp_path):
    config = LLAMA_CONFIG | {"quantization_config": {"quant_method": "bitsandbytes"}}
    model = write_checkpoint(tmp_path / "m", config=config)
    with pytest.raises(BackpropagateError, match="quantized copy"):
        plan_gguf(model, "f16")


def test_architecture_that_engines_lack_is_refused(tmp_path):
    model = write_checkpoint(tmp_path / "m", config=LLAMA_CONFIG | {"architectures": ["MixtralForCausalLM"]})
    with pytest.raises(BackpropagateError, match="MixtralForCausalLM cannot be exported"):
        plan_gguf(model, "f16")


def test_base_that_is_gone_is_named(tmp_path):
    with pytest.raises(BackpropagateError, match="gone is no model folder") as caught:
        plan_gguf(tmp_path / "gone", "f16")
    assert caught.value.code == "INPUT_MODEL_NOT_FOUND"


def test_unknown_quantization_lists_the_known_ones(model):
    with pytest.raises(BackpropagateError, match="'q9' is unknown") as caught:
        plan_gguf(model, "q9")
    assert "q4_k_m" in caught.value.hint
