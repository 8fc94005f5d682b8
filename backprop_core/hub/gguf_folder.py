"""A Llama-architecture GGUF file turned into a Hugging Face model folder, once, without torch.

Weights of any GGUF type are dequantized to bfloat16 safetensors; config, tokenizer and chat template
come from the file's own metadata. Other architectures and SentencePiece vocabularies are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backprop_core import files
from backprop_core.errors import InputError
from backprop_core.hub import gguf_tokenizer
from backprop_core.hub.gguf_guard import check_header
from backprop_core.hub.gguf_rope import ROPE_FACTORS, half_split_rows, llama3_scaling
from backprop_core.hub.tensors import PlannedTensor, write_bfloat16

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader, ReaderTensor
    from numpy.typing import NDArray

_OUTER_NAMES: Final = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_BLOCK_NAMES: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def unpack_gguf(source: Path, folder: Path, on_bytes: Callable[[int, int], None]) -> str | None:
    """Write the model in `source` to the existing `folder` and return the licence it names.

    Args:
        source: a GGUF file of a Llama-type model with a byte-level BPE vocabulary.
        folder: receives model.safetensors, config.json, generation_config.json and the tokenizer files.
        on_bytes: receives bytes of weights written so far and in all.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND when the file is damaged or not of this kind.
    """
    metadata, reader = _open(source)
    config = _config(metadata, reader, source)
    tensors = [_planned(tensor, config, source) for tensor in reader.tensors if tensor.name != ROPE_FACTORS]
    total = sum(tensor.size_bytes for tensor in tensors)
    write_bfloat16(folder / "model.safetensors", tensors, lambda done: on_bytes(done, total))
    files.write_json(folder / "config.json", config)
    files.write_json(folder / "generation_config.json", _special_ids(metadata))
    gguf_tokenizer.write_tokenizer(metadata, folder, max_length=config["max_position_embeddings"])
    licence = metadata.get("general.license")
    return licence if isinstance(licence, str) else None


def refuse(source: Path, reason: str) -> InputError:
    """Return the error for a GGUF file that cannot be trained, naming the inputs that can."""
    return InputError(
        "INPUT_MODEL_NOT_FOUND",
        f"{source} cannot be used as a base model: {reason}",
        hint=(
            "Name the model it was made from: a preset key, a hub id or a folder with config.json and "
            "safetensors. GGUF files work for Llama-type models with a SmolLM or Llama 3 tokenizer."
        ),
    )


def _open(source: Path) -> tuple[dict[str, Any], GGUFReader]:
    from gguf import GGUFReader

    try:
        check_header(source)
        reader = GGUFReader(source)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError, UnicodeDecodeError) as error:
        raise refuse(source, f"the file is damaged or not GGUF ({error}).") from error
    architecture = metadata.get("general.architecture")
    if architecture != "llama":
        raise refuse(source, f"its architecture is {architecture!r}, not 'llama'.")
    if "llama.expert_count" in metadata:
        raise refuse(source, "it is a mixture of experts.")
    gguf_tokenizer.require_supported(metadata, lambda reason: refuse(source, reason))
    return metadata, reader


def _config(metadata: dict[str, Any], reader: GGUFReader, source: Path) -> dict[str, Any]:
    names = {tensor.name for tensor in reader.tensors}
    try:
        hidden = int(metadata["llama.embedding_length"])
        heads = int(metadata["llama.attention.head_count"])
        head_dim = int(metadata.get("llama.attention.key_length", hidden // heads))
        theta = _shortest(metadata.get("llama.rope.freq_base", 10000.0))
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "bfloat16",
            "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
            "hidden_size": hidden,
            "intermediate_size": int(metadata["llama.feed_forward_length"]),
            "num_hidden_layers": int(metadata["llama.block_count"]),
            "num_attention_heads": heads,
            "num_key_value_heads": int(metadata.get("llama.attention.head_count_kv", heads)),
            "head_dim": head_dim,
            "max_position_embeddings": int(metadata["llama.context_length"]),
            "rms_norm_eps": _shortest(metadata["llama.attention.layer_norm_rms_epsilon"]),
            "rope_theta": theta,
            "rope_scaling": _rope_scaling(metadata, reader, theta, head_dim, source),
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "mlp_bias": False,
            "initializer_range": 0.02,
            "tie_word_embeddings": "output.weight" not in names,
            "use_cache": True,
            **_special_ids(metadata),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise refuse(source, f"its metadata lacks {error}.") from error


def _rope_scaling(
    metadata: dict[str, Any], reader: GGUFReader, theta: float, head_dim: int, source: Path
) -> dict[str, Any] | None:
    """Return the rope_scaling of the config, refusing a rule that the file does not say completely."""
    kind = metadata.get("llama.rope.scaling.type", "none")
    if kind != "none":
        raise refuse(source, f"its rotary scaling {kind!r} is not supported.")
    for tensor in reader.tensors:
        if tensor.name == ROPE_FACTORS:
            scaling = llama3_scaling(tensor.data, theta, head_dim)
            if scaling is None:
                raise refuse(source, "its rotary frequencies are scaled by an unknown rule.")
            return scaling
    return None


def _special_ids(metadata: dict[str, Any]) -> dict[str, int]:
    keys = {
        "bos_token_id": "tokenizer.ggml.bos_token_id",
        "eos_token_id": "tokenizer.ggml.eos_token_id",
        "pad_token_id": "tokenizer.ggml.padding_token_id",
    }
    return {name: int(metadata[key]) for name, key in keys.items() if key in metadata}


def _shortest(value: float) -> float:
    """Return the shortest decimal that is the same float32: 9.99999974e-06 becomes 1e-05."""
    import numpy as np

    return float(str(np.float32(value)))


def _planned(tensor: ReaderTensor, config: dict[str, Any], source: Path) -> PlannedTensor:
    name = _hugging_face_name(tensor.name)
    if name is None:
        raise refuse(source, f"it has a tensor {tensor.name!r} that a plain Llama model lacks.")
    heads = 0
    if name.endswith("q_proj.weight"):
        heads = config["num_attention_heads"]
    elif name.endswith("k_proj.weight"):
        heads = config["num_key_value_heads"]
    shape = tuple(int(size) for size in reversed(tensor.shape))
    return PlannedTensor(name, shape, partial(_values, tensor, shape, heads))


def _hugging_face_name(name: str) -> str | None:
    if name in _OUTER_NAMES:
        return _OUTER_NAMES[name]
    parts = name.split(".")
    if (
        len(parts) == 4
        and parts[0] == "blk"
        and parts[1].isdecimal()
        and parts[3] == "weight"
        and parts[2] in _BLOCK_NAMES
    ):
        return f"model.layers.{parts[1]}.{_BLOCK_NAMES[parts[2]]}.weight"
    return None


def _values(tensor: ReaderTensor, shape: tuple[int, ...], heads: int) -> NDArray[np.float32]:
    from gguf.quants import dequantize

    values: NDArray[np.float32] = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    return half_split_rows(values, heads) if heads else values
