"""What each supported architecture needs in its GGUF file beyond copied tensors.

Metadata keys, row order of rotary projections, rotary factor tensors. Pure: a configuration in,
records out. Qwen3.5's own changes stand in `qwen35`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backprop_core.errors import InputError
from backprop_core.gguf import names, qwen35
from backprop_core.gguf.config import ModelConfig
from backprop_core.gguf.header import Value, f32, text, u32
from backprop_core.gguf.source import FloatArray
from backprop_core.gguf.transforms import AS_STORED, Transform, interleave_halves

_NOPE_INTERVAL: Final = 4
_ROPE_SCALINGS: Final = ("default", "linear", "yarn", "llama3", "longrope", "su")


def _no_transform(_config: ModelConfig, _name: str) -> Transform:
    return AS_STORED


def _no_tensors(_config: ModelConfig) -> dict[str, FloatArray]:
    return {}


@dataclass(frozen=True, slots=True)
class Architecture:
    """One family of models as the engine knows it.

    Attributes:
        name: llama.cpp's name, the prefix of its metadata keys.
        layer_names: tensor names within a layer.
        metadata: builds the keys of the family.
        transform: how a tensor's rows and values change, by canonical name.
        extra_tensors: tensors that no checkpoint holds, by GGUF name.
        check: refuses a configuration that the engine would run wrongly.
    """

    name: str
    layer_names: Mapping[str, str]
    metadata: Callable[[ModelConfig, str], dict[str, Value]]
    transform: Callable[[ModelConfig, str], Transform] = _no_transform
    extra_tensors: Callable[[ModelConfig], dict[str, FloatArray]] = _no_tensors
    check: Callable[[ModelConfig], None] = field(default=lambda _config: None)


def architecture_of(config: ModelConfig) -> Architecture:
    """Return the architecture of a model.

    Raises:
        InputError: it is not one that can be exported, or uses a setting that engines do not follow.
    """
    architecture = _ARCHITECTURES.get(config.architecture)
    if architecture is None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{config.architecture} cannot be exported to GGUF.",
            hint="Supported: Llama 3, Mistral, Qwen2.5, Qwen3, Qwen3.5, Phi-4-mini, SmolLM2, SmolLM3.",
        )
    if config.rope["rope_type"] not in _ROPE_SCALINGS:
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"The rope scaling {config.rope['rope_type']!r} cannot be exported."
        )
    architecture.check(config)
    return architecture


def common_metadata(config: ModelConfig, prefix: str) -> dict[str, Value]:
    """Return the keys that every family has, `prefix` being the architecture's name."""
    keys = {
        "block_count": u32(config.layers),
        "context_length": u32(config.count("max_position_embeddings")),
        "embedding_length": u32(config.count("hidden_size")),
        "feed_forward_length": u32(config.count("intermediate_size")),
        "attention.head_count": u32(config.heads),
        "attention.head_count_kv": u32(config.kv_heads),
        "rope.freq_base": f32(config.rope_number("rope_theta", 10000.0)),
        "attention.layer_norm_rms_epsilon": f32(config.number("rms_norm_eps")),
        **_rope_scaling(config),
    }
    if config.values.get("head_dim") is not None:
        keys["attention.key_length"] = u32(config.head_size)
        keys["attention.value_length"] = u32(config.head_size)
    return {f"{prefix}.{key}": value for key, value in keys.items()}


def llama3_rope_factors(config: ModelConfig) -> FloatArray:
    """Return `(head_size / 2,)` divisors of the rotary frequencies after Llama 3's long-context rule.

    Long waves are stretched by `factor`, short ones kept, those between blended (Llama 3.1 report).
    """
    size = config.head_size
    exponents = (np.arange(0, size, 2, dtype=np.float32) / np.float32(size)).astype(np.float64)
    frequencies = 1 / (config.rope_number("rope_theta", 10000.0) ** exponents).astype(np.float32)
    # From here on the order of float32 operations is that of the reference converter.
    wave_lengths = np.float32(2 * math.pi) * (1 / frequencies)
    original = config.rope_number("original_max_position_embeddings", 8192)
    factor = config.rope_number("factor", 8.0)
    low, high = config.rope_number("low_freq_factor", 1.0), config.rope_number("high_freq_factor", 4.0)
    if low >= high:
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"low_freq_factor {low:g} is not below high_freq_factor {high:g}."
        )
    smooth = (np.float32(original) * (1 / wave_lengths) - np.float32(low)) / np.float32(high - low)
    blended = 1 / ((1 - smooth) / np.float32(factor) + smooth)
    is_short, is_long = wave_lengths < original / high, wave_lengths > original / low
    return np.where(is_short, 1, np.where(is_long, factor, blended)).astype(np.float32)


def longrope_attention_factor(config: ModelConfig) -> float:
    """Return sqrt(1 + ln(s) / ln(original)) for a context stretched s times (arXiv 2402.13753)."""
    original = config.rope_number("original_max_position_embeddings")
    stretch = config.count("max_position_embeddings") / original
    if original <= 1:
        raise InputError("INPUT_VALIDATION_FAILED", f"original_max_position_embeddings is {original:g}.")
    return math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0


def _rope_scaling(config: ModelConfig) -> dict[str, Value]:
    kind = config.rope["rope_type"]
    if kind not in ("linear", "yarn"):
        return {}
    keys = {"rope.scaling.type": text(kind), "rope.scaling.factor": f32(config.rope_number("factor"))}
    if kind == "yarn":
        original = config.rope_number("original_max_position_embeddings")
        keys["rope.scaling.original_context_length"] = u32(int(original))
    return keys


def _llama_metadata(config: ModelConfig, prefix: str) -> dict[str, Value]:
    return common_metadata(config, prefix) | {f"{prefix}.rope.dimension_count": u32(config.head_size)}


def _llama_transform(config: ModelConfig, name: str) -> Transform:
    if name.endswith(("q_proj.weight", "q_proj.bias")):
        return Transform(rows=interleave_halves(config.heads, config.head_size))
    if name.endswith(("k_proj.weight", "k_proj.bias")):
        return Transform(rows=interleave_halves(config.kv_heads, config.head_size))
    return AS_STORED


def _llama_tensors(config: ModelConfig) -> dict[str, FloatArray]:
    if config.rope["rope_type"] != "llama3":
        return {}
    return {"rope_freqs.weight": llama3_rope_factors(config)}


def _check_smollm3(config: ModelConfig) -> None:
    """Refuse another spacing of layers without rotary positions: engines take every fourth."""
    stored = config.listed("no_rope_layers")
    expected = [int((layer + 1) % _NOPE_INTERVAL != 0) for layer in range(config.layers)]
    if stored is not None and stored != expected:
        raise InputError(
            "INPUT_VALIDATION_FAILED", "no_rope_layers of this SmolLM3 is not every fourth layer."
        )


def _phi3_rotary_size(config: ModelConfig) -> int:
    return int(config.rope_number("partial_rotary_factor", 1.0) * config.head_size)


def _sliding_window(config: ModelConfig) -> int:
    """Return the attention window; zero, which tells Phi-4 from Phi-3, when there is none."""
    return 0 if config.values.get("sliding_window") is None else config.count("sliding_window")


def _phi3_metadata(config: ModelConfig, prefix: str) -> dict[str, Value]:
    original = config.rope_number("original_max_position_embeddings", config.count("max_position_embeddings"))
    keys = common_metadata(config, prefix) | {
        f"{prefix}.rope.dimension_count": u32(_phi3_rotary_size(config)),
        f"{prefix}.rope.scaling.original_context_length": u32(int(original)),
        f"{prefix}.attention.sliding_window": u32(_sliding_window(config)),
    }
    if config.rope_numbers("long_factor"):
        keys[f"{prefix}.rope.scaling.attn_factor"] = f32(longrope_attention_factor(config))
    return keys


def _phi3_tensors(config: ModelConfig) -> dict[str, FloatArray]:
    factors = {kind: config.rope_numbers(f"{kind}_factor") for kind in ("long", "short")}
    if not any(factors.values()):
        return {}
    half = _phi3_rotary_size(config) // 2
    tensors = {}
    for kind, values in factors.items():
        array: NDArray[np.float32] = np.array(values, np.float32)
        if array.shape != (half,):
            raise InputError(
                "INPUT_VALIDATION_FAILED", f"{kind}_factor of the rope scaling needs {half} numbers."
            )
        tensors[f"rope_factors_{kind}.weight"] = array
    return tensors


_LLAMA: Final = Architecture("llama", names.DENSE, _llama_metadata, _llama_transform, _llama_tensors)

_ARCHITECTURES: Final = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "SmolLM3ForCausalLM": Architecture(
        "smollm3", names.DENSE, _llama_metadata, _llama_transform, check=_check_smollm3
    ),
    "Qwen2ForCausalLM": Architecture("qwen2", names.DENSE, common_metadata),
    "Qwen3ForCausalLM": Architecture("qwen3", names.DENSE, common_metadata),
    "Phi3ForCausalLM": Architecture("phi3", names.FUSED, _phi3_metadata, extra_tensors=_phi3_tensors),
    "Qwen3_5ForCausalLM": Architecture(
        "qwen35",
        names.HYBRID,
        lambda config, prefix: common_metadata(config, prefix) | qwen35.metadata(config, prefix),
        qwen35.transform,
        check=qwen35.check,
    ),
}
_ARCHITECTURES["Qwen3_5ForConditionalGeneration"] = _ARCHITECTURES["Qwen3_5ForCausalLM"]
