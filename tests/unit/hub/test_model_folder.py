from __future__ import annotations

import json
import pickle

import pytest

from backprop_core.errors import DependencyError
from backprop_core.hub.model_folder import (
    check_safetensors,
    read_config,
    require_loadable,
    require_plain_adapter,
    weight_files,
)
from tests.support.model_folders import safetensors_bytes, write_model_folder


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (self.target, "w"))


def _config(tmp_path, config):
    folder = write_model_folder(tmp_path / "model", config)
    return read_config(folder)


def test_a_plain_config_is_returned(tmp_path):
    assert _config(
        tmp_path, {"model_type": "llama", "_attn_implementation": "sdpa", "conv_kernel_dim": 4}
    ) == {
        "model_type": "llama",
        "_attn_implementation": "sdpa",
        "conv_kernel_dim": 4,
    }


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"auto_map": {"AutoModel": "modeling.X"}}, "auto_map"),
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"text_config": {"vision": [{"trust_remote_code": True}]}}, "text_config.vision.trust_remote_code"),
        ({"_attn_implementation": "kernels-community/flash-attn"}, "_attn_implementation"),
        ({"_attn_implementation_internal": "evil/repo"}, "_attn_implementation_internal"),
        ({"attn_implementation": {"text": "evil/repo"}}, "attn_implementation"),
        ({"text_config": {"experts_implementation": "evil/repo"}}, "text_config.experts_implementation"),
        ({"kernel_config": {"RMSNorm": "evil/repo:Layer"}}, "kernel_config"),
        ({"quantization_config": {"auto_map": {"Q": "evil.Q"}}}, "quantization_config.auto_map"),
    ],
)
def test_a_field_that_names_code_is_refused_by_name(tmp_path, config, field):
    with pytest.raises(DependencyError, match=f"'{field}'") as caught:
        _config(tmp_path, config)
    assert caught.value.code == "DEP_MODEL_LOAD_FAILED"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_an_unreadable_config_is_refused(tmp_path, content):
    folder = write_model_folder(tmp_path / "model")
    (folder / "config.json").write_bytes(content)
    with pytest.raises(DependencyError, match=r"config\.json"):
        read_config(folder)


def test_code_named_by_the_tokenizer_is_refused(tmp_path):
    folder = write_model_folder(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.T", null]}}')
    with pytest.raises(DependencyError, match="auto_map"):
        require_loadable(folder)


def test_a_whole_folder_is_loadable(tmp_path):
    require_loadable(write_model_folder(tmp_path / "model"))


def test_pickled_weights_are_refused_and_not_opened(tmp_path):
    folder = write_model_folder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(str(tmp_path / "owned"))))
    with pytest.raises(DependencyError, match=r"only as pytorch_model\.bin"):
        require_loadable(folder)
    assert not (tmp_path / "owned").exists()


def test_a_pickle_with_the_name_of_safetensors_is_refused_and_not_opened(tmp_path):
    folder = write_model_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload(str(tmp_path / "owned"))))
    with pytest.raises(DependencyError, match="no safetensors file"):
        require_loadable(folder)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda raw: raw[:-1], "cut short"),
        (lambda raw: raw + b"\0", "longer"),
        (lambda raw: raw[:20], "no safetensors file"),
        (lambda raw: b"", "no safetensors file"),
        (lambda raw: (1 << 62).to_bytes(8, "little") + raw[8:], "no safetensors file"),
        (lambda raw: raw[:8] + b"X" + raw[9:], "damaged header"),
        (lambda raw: (4).to_bytes(8, "little") + b"[[]]", "damaged header"),
    ],
)
def test_damaged_weights_are_refused_from_the_header(tmp_path, damage, reason):
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage(safetensors_bytes()))
    with pytest.raises(DependencyError, match=reason):
        check_safetensors(path)


def test_a_missing_shard_is_named(tmp_path):
    folder = write_model_folder(tmp_path / "model")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors").rename(folder / names["a"])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(DependencyError, match=r"lacks model-00002-of-00002\.safetensors"):
        weight_files(folder)


def test_an_index_cannot_point_outside_the_folder(tmp_path):
    folder = write_model_folder(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../other.safetensors"}}')
    with pytest.raises(DependencyError, match="lists no weights"):
        weight_files(folder)


def test_an_adapter_folder_is_told_apart(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(DependencyError, match="is an adapter"):
        require_loadable(tmp_path)


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    folder = write_model_folder(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DependencyError, match="no tokenizer"):
        require_loadable(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"auto_mapping": {"base_model_class": "X", "parent_library": "evil"}},
        {"megatron_core": "evil.module"},
        {"megatron_config": {"x": 1}},
        {"auto_map": {"A": "b.C"}},
    ],
)
def test_code_named_by_an_adapter_is_refused(tmp_path, config):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    with pytest.raises(DependencyError, match="loads code"):
        require_plain_adapter(tmp_path)


def test_an_adapter_as_its_library_saves_it_is_taken(tmp_path):
    config = {
        "peft_type": "LORA",
        "auto_mapping": None,
        "megatron_config": None,
        "megatron_core": "megatron.core",
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    require_plain_adapter(tmp_path)
