"""The shape of a language model from its `config.json` alone: layers, linears, exact parameter counts.

Covers the dense decoder families that the presets name; another dense decoder is read like a Llama
and marked as not exact. It knows no weights and no memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from backprop_core.errors import InputError

ALL_LINEAR: Final = "all-linear"


@dataclass(frozen=True, slots=True)
class LinearShape:
    """One kind of linear layer: weight `(outputs, inputs)`, `count` times in the model.

    Attributes:
        block: the module of a layer that holds it: `self_attn`, `linear_attn` or `mlp`.
    """

    block: str
    name: str
    inputs: int
    outputs: int
    count: int
    has_bias: bool = False

    @property
    def weights(self) -> int:
        """Weights of all layers of this kind, biases not counted."""
        return self.inputs * self.outputs * self.count

    @property
    def biases(self) -> int:
        """Biases of all layers of this kind."""
        return self.outputs * self.count if self.has_bias else 0


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder.

    Attributes:
        recurrent_channels: of query, key and value in a Gated DeltaNet, repeated for its value heads; 0
            without one.
        has_gated_query: whether attention's output passes a gate that comes out of the query projection.
        has_qk_norm: whether each head's query and key pass a norm of their own.
        small_parameters: norms, convolutions and per-head scalars.
        max_positions: the longest row that the model reads.
        is_exact: False when the family is not known and was read like a Llama.
    """

    family: str
    layers: int
    hidden: int
    intermediate: int
    vocab: int
    heads: int
    kv_heads: int
    head_dim: int
    is_tied: bool
    max_positions: int
    linears: tuple[LinearShape, ...]
    small_parameters: int
    has_qk_norm: bool = False
    has_gated_query: bool = False
    recurrent_channels: int = 0
    is_exact: bool = True

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelShape:
        """Read the shape out of a `config.json`; of a model with several parts, its text part.

        Raises:
            InputError: a size is missing or no whole number, or the model is a mixture of experts.
        """
        inner = config.get("text_config")
        text: Mapping[str, Any] = {**config, **inner} if isinstance(inner, Mapping) else config
        kind = str(text.get("model_type", "")).removesuffix("_text")
        if any(key in text for key in ("num_local_experts", "num_experts", "n_routed_experts")):
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                f"The model is a mixture of experts ({kind or 'unnamed'}), which is not supported.",
                hint="Choose a dense model; `backprop models list` shows the presets.",
                field="model",
            )
        # The head is tied by the outer config, which is the one that the loader reads.
        tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings"))
        return _read(_Config(text), kind, tied)

    @property
    def embedding_parameters(self) -> int:
        """Weights of the token embedding."""
        return self.vocab * self.hidden

    @property
    def head_parameters(self) -> int:
        """Weights of the output head; 0 when it is the embedding itself."""
        return 0 if self.is_tied else self.vocab * self.hidden

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers, without biases, embedding and head."""
        return sum(linear.weights for linear in self.linears)

    @property
    def bias_parameters(self) -> int:
        """Biases of the linear layers."""
        return sum(linear.biases for linear in self.linears)

    @property
    def total_parameters(self) -> int:
        """All parameters of the text model."""
        return (
            self.embedding_parameters
            + self.head_parameters
            + self.linear_parameters
            + self.bias_parameters
            + self.small_parameters
        )

    def targets(self, target_modules: str) -> tuple[LinearShape, ...]:
        """Return the linear layers that `target_modules` names; none when nothing matches.

        Args:
            target_modules: "all-linear", names with commas, or a pattern for whole module names
                such as `model.layers.3.self_attn.q_proj`. A name whose layer this family keeps
                fused (`q_proj` in `qkv_proj`) stands for the fused layer.
        """
        wanted = self.target_names(target_modules)
        if wanted == ALL_LINEAR:
            return self.linears
        if isinstance(wanted, str):
            return tuple(self._matching(wanted))
        return tuple(
            linear
            for linear in self.linears
            if any(f".{linear.block}.{linear.name}".endswith(f".{name}") for name in wanted)
        )

    def target_names(self, target_modules: str) -> str | list[str]:
        """Return the layers as PEFT takes them: "all-linear", a pattern, or this family's own names."""
        wanted = target_modules.strip()
        if wanted == ALL_LINEAR or _PATTERN_SIGNS.search(wanted):
            return wanted
        known = {linear.name for linear in self.linears}
        names = [name.strip() for name in wanted.split(",") if name.strip()]
        fused = [_FUSED[name] if name not in known and _FUSED.get(name) in known else name for name in names]
        return list(dict.fromkeys(fused))

    def _matching(self, pattern: str) -> Iterator[LinearShape]:
        """Yield the linears whose module names match, counted over all layers."""
        try:
            whole = re.compile(pattern)
        except re.error:
            return
        for linear in self.linears:
            name = f"{linear.block}.{linear.name}"
            hits = sum(
                whole.fullmatch(f"model.layers.{index}.{name}") is not None for index in range(self.layers)
            )
            if hits:
                yield replace(linear, count=max(1, round(linear.count * hits / self.layers)))

    def adapter_parameters(self, r: int, target_modules: str = ALL_LINEAR, *, use_dora: bool = False) -> int:
        """Return the trainable parameters of a LoRA adapter: r x (inputs + outputs) per layer.

        DoRA adds one magnitude per output.
        """
        return sum(
            linear.count * (r * (linear.inputs + linear.outputs) + (linear.outputs if use_dora else 0))
            for linear in self.targets(target_modules)
        )


# What tells a pattern from a list of names.
_PATTERN_SIGNS: Final = re.compile(r"[*+?()\[\]{}|\\^$]")
# Layers that some families keep fused, by the names that others give to their parts.
_FUSED: Final = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}


@dataclass(frozen=True, slots=True)
class _Family:
    """What differs between families, and what their configs leave out."""

    qkv_bias: Literal["never", "always", "config"] = "never"
    has_config_mlp_bias: bool = False
    has_qk_norm: bool = False
    is_fused: bool = False
    has_gated_query: bool = False
    head_dim: int | None = None
    kv_heads: int | None = None
    is_tied: bool = False


_LLAMA: Final = _Family(qkv_bias="config", has_config_mlp_bias=True)
_FAMILIES: Final = {
    "llama": _LLAMA,
    "mistral": _Family(kv_heads=8),
    "qwen2": _Family(qkv_bias="always"),
    "qwen3": _Family(qkv_bias="config", has_qk_norm=True, head_dim=128),
    "qwen3_5": _Family(qkv_bias="config", has_qk_norm=True, has_gated_query=True, head_dim=256, kv_heads=4),
    "phi3": _Family(is_fused=True),
    "smollm3": _Family(qkv_bias="config", has_config_mlp_bias=True, kv_heads=4, is_tied=True),
}


class _Config:
    """Whole numbers out of a config, with a sentence when one is missing."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def size(self, name: str, default: int | None = None) -> int:
        value = self.values.get(name)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                f"The model's config.json gives {name} as {str(value)[:40]!r}; a whole number above 0 is needed.",
                hint="Choose a decoder model in the transformers format.",
                field="model",
            )
        return value

    def is_on(self, name: str) -> bool:
        return bool(self.values.get(name, False))


def _read(config: _Config, kind: str, tied: object) -> ModelShape:
    family = _FAMILIES.get(kind, _LLAMA)
    hidden, layers, heads = (
        config.size(name) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")
    )
    kv_heads = config.size("num_key_value_heads", family.kv_heads or heads)
    head_dim = config.size("head_dim", family.head_dim or max(1, hidden // heads))
    intermediate = config.size("intermediate_size")
    full = _full_attention_layers(config, layers) if kind == "qwen3_5" else layers
    linears = [
        *_attention(config, family, full, hidden=hidden, queries=heads * head_dim, keys=kv_heads * head_dim),
        *(_delta_net(config, hidden, layers - full) if layers > full else ()),
        *_mlp(config, family, hidden, intermediate, layers),
    ]
    small = (2 * layers + 1) * hidden
    if family.has_qk_norm:
        small += 2 * head_dim * full
    if layers > full:
        small += _delta_net_small(config) * (layers - full)
    return ModelShape(
        family=kind or "unknown",
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        vocab=config.size("vocab_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        is_tied=family.is_tied if tied is None else bool(tied),
        max_positions=config.size("max_position_embeddings", 2048),
        linears=tuple(linears),
        small_parameters=small,
        has_qk_norm=family.has_qk_norm,
        has_gated_query=family.has_gated_query,
        recurrent_channels=_recurrent_channels(config) if layers > full else 0,
        is_exact=kind in _FAMILIES,
    )


def _attention(
    config: _Config, family: _Family, count: int, *, hidden: int, queries: int, keys: int
) -> Iterator[LinearShape]:
    """Yield the projections of `count` attention layers; `queries` and `keys` are their channels."""
    bias = family.qkv_bias == "always" or (family.qkv_bias == "config" and config.is_on("attention_bias"))
    output_bias = bias and family.qkv_bias == "config"
    if family.is_fused:
        yield LinearShape("self_attn", "qkv_proj", hidden, queries + 2 * keys, count)
    else:
        # Qwen3.5 takes query and output gate out of one projection.
        yield LinearShape(
            "self_attn", "q_proj", hidden, queries * (2 if family.has_gated_query else 1), count, bias
        )
        yield LinearShape("self_attn", "k_proj", hidden, keys, count, bias)
        yield LinearShape("self_attn", "v_proj", hidden, keys, count, bias)
    yield LinearShape("self_attn", "o_proj", queries, hidden, count, output_bias)


def _mlp(
    config: _Config, family: _Family, hidden: int, intermediate: int, count: int
) -> Iterator[LinearShape]:
    bias = family.has_config_mlp_bias and config.is_on("mlp_bias")
    if family.is_fused:
        yield LinearShape("mlp", "gate_up_proj", hidden, 2 * intermediate, count)
    else:
        yield LinearShape("mlp", "gate_proj", hidden, intermediate, count, bias)
        yield LinearShape("mlp", "up_proj", hidden, intermediate, count, bias)
    yield LinearShape("mlp", "down_proj", intermediate, hidden, count, bias)


def _full_attention_layers(config: _Config, layers: int) -> int:
    """Return how many layers of a hybrid attend to all tokens; the others are Gated DeltaNets."""
    kinds = config.values.get("layer_types")
    if isinstance(kinds, list):
        return sum(kind == "full_attention" for kind in kinds)
    return layers // config.size("full_attention_interval", 4)


def _delta_net_sizes(config: _Config) -> tuple[int, int, int]:
    """Return channels of keys and of values, and the number of value heads."""
    value_heads = config.size("linear_num_value_heads", 32)
    keys = config.size("linear_num_key_heads", 16) * config.size("linear_key_head_dim", 128)
    return keys, value_heads * config.size("linear_value_head_dim", 128), value_heads


def _delta_net(config: _Config, hidden: int, count: int) -> Iterator[LinearShape]:
    keys, values, value_heads = _delta_net_sizes(config)
    yield LinearShape("linear_attn", "in_proj_qkv", hidden, 2 * keys + values, count)
    yield LinearShape("linear_attn", "in_proj_z", hidden, values, count)
    yield LinearShape("linear_attn", "in_proj_b", hidden, value_heads, count)
    yield LinearShape("linear_attn", "in_proj_a", hidden, value_heads, count)
    yield LinearShape("linear_attn", "out_proj", values, hidden, count)


def _delta_net_small(config: _Config) -> int:
    """Return convolution, decay, time-step and norm parameters of one Gated DeltaNet layer."""
    keys, values, value_heads = _delta_net_sizes(config)
    convolution = (2 * keys + values) * config.size("linear_conv_kernel_dim", 4)
    return convolution + 2 * value_heads + config.size("linear_value_head_dim", 128)


def _recurrent_channels(config: _Config) -> int:
    _, values, value_heads = _delta_net_sizes(config)
    return 2 * value_heads * config.size("linear_key_head_dim", 128) + values
