"""Which storage type each tensor of a GGUF file gets, for each quantization a user can choose.

Pure: names, shapes and head counts in, types out. The rules are those of llama.cpp's
`llama_tensor_get_type_impl`, so that our files equal the ones its own tools write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Final


class TensorType(Enum):
    """A ggml storage type: its id in the file, elements per block, bytes per block."""

    F32 = (0, 1, 4)
    F16 = (1, 1, 2)
    Q4_0 = (2, 32, 18)
    Q5_0 = (6, 32, 22)
    Q5_1 = (7, 32, 24)
    Q8_0 = (8, 32, 34)
    Q2_K = (10, 256, 84)
    Q3_K = (11, 256, 110)
    Q4_K = (12, 256, 144)
    Q5_K = (13, 256, 176)
    Q6_K = (14, 256, 210)
    BF16 = (30, 1, 2)

    @property
    def id(self) -> int:
        """The number that stands for this type in a GGUF file."""
        return self.value[0]

    @property
    def block(self) -> int:
        """Elements that share one block; a row must be a multiple of it."""
        return self.value[1]

    @property
    def is_float(self) -> bool:
        """Whether values are stored one by one, not in blocks with a scale."""
        return self.block == 1

    def row_bytes(self, columns: int) -> int:
        """Return the bytes of one row of `columns` elements."""
        return columns // self.block * self.value[2]

    def size(self, shape: tuple[int, ...]) -> int:
        """Return the bytes of a tensor of `shape` (rows, ..., columns)."""
        return prod(shape[:-1]) * self.row_bytes(shape[-1])


@dataclass(frozen=True, slots=True)
class Quantization:
    """One choice of the user.

    Attributes:
        key: its name on every face, for example `q4_k_m`.
        file_type: llama.cpp's number for `general.file_type`.
        base: the type of a tensor that no rule singles out.
        quality: what to expect, in a few words.
    """

    key: str
    file_type: int
    base: TensorType
    quality: str


QUANTIZATIONS: Final[dict[str, Quantization]] = {
    entry.key: entry
    for entry in (
        Quantization("f32", 0, TensorType.F32, "exact; twice the size of the original"),
        Quantization("f16", 1, TensorType.F16, "as good as the original"),
        Quantization("bf16", 32, TensorType.BF16, "the original's own precision"),
        Quantization("q8_0", 7, TensorType.Q8_0, "hardly told apart from the original"),
        Quantization("q6_k", 18, TensorType.Q6_K, "very small loss"),
        Quantization("q5_k_m", 17, TensorType.Q5_K, "small loss"),
        Quantization("q5_k_s", 16, TensorType.Q5_K, "small loss"),
        Quantization("q4_k_m", 15, TensorType.Q4_K, "balanced; the usual choice"),
        Quantization("q4_k_s", 14, TensorType.Q4_K, "a little smaller than q4_k_m, a little worse"),
        Quantization("q4_0", 2, TensorType.Q4_0, "old 4-bit form; for engines that need it"),
        Quantization("q3_k_m", 12, TensorType.Q3_K, "visible loss"),
        Quantization("q2_k", 10, TensorType.Q2_K, "large loss; only when nothing else fits"),
    )
}

_SMALLER_BLOCK: Final = {
    TensorType.Q2_K: TensorType.Q4_0,
    TensorType.Q3_K: TensorType.Q4_0,
    TensorType.Q4_K: TensorType.Q5_0,
    TensorType.Q5_K: TensorType.Q5_1,
    TensorType.Q6_K: TensorType.Q8_0,
}
_BLOCK_NUMBER: Final = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the type rules ask of a model: its layers and how many query heads share a key head."""

    layers: int
    heads_per_kv_head: int


def file_order(name: str) -> tuple[int, str]:
    """Return the key that sorts tensors as llama.cpp walks them: by layer, then by name."""
    match = _BLOCK_NUMBER.match(name)
    return (int(match[1]) if match else -1, name)


def choose_types(
    quantization: Quantization, shapes: Mapping[str, tuple[int, ...]], model: ModelShape
) -> dict[str, TensorType]:
    """Return the storage type of each tensor.

    Args:
        quantization: the user's choice.
        shapes: GGUF tensor name to shape, rows first, `(rows, columns)` or `(n,)`.
        model: layers and head ratio.
    """
    is_tied = "output.weight" not in shapes
    value_tensors = [name for name in _ordered(shapes) if _is_attention_value(name)]
    value_rank = {name: rank for rank, name in enumerate(value_tensors)}
    types = {}
    for name, shape in shapes.items():
        if not _may_be_quantized(name, shape):
            types[name] = TensorType.F32
        elif quantization.base.is_float:
            types[name] = quantization.base
        else:
            is_output = name == "output.weight" or (name == "token_embd.weight" and is_tied)
            wanted = (
                _output_type(quantization.base, shape[-1])
                if is_output
                else _inner_type(quantization, name, model, value_rank)
            )
            types[name] = _fitting(wanted, shape[-1])
    return types


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=file_order)


def _is_attention_value(name: str) -> bool:
    return name.endswith(("attn_v.weight", "attn_qkv.weight"))


def _may_be_quantized(name: str, shape: tuple[int, ...]) -> bool:
    return (
        len(shape) > 1
        and name.endswith(".weight")
        and not name.endswith("_norm.weight")
        and "ssm_conv1d" not in name
    )


def _output_type(base: TensorType, columns: int) -> TensorType:
    is_eight_bit = base is TensorType.Q8_0 or columns % base.block != 0
    return TensorType.Q8_0 if is_eight_bit else TensorType.Q6_K


def _inner_type(
    quantization: Quantization, name: str, model: ModelShape, value_rank: Mapping[str, int]
) -> TensorType:
    if name in value_rank:
        return _value_type(quantization, value_rank[name], len(value_rank), model)
    layer = file_order(name)[0]
    if name.endswith("ffn_down.weight"):
        return _down_type(quantization, layer, model.layers)
    if name.endswith("attn_output.weight"):
        return {"q2_k": TensorType.Q3_K, "q3_k_m": TensorType.Q4_K}.get(quantization.key, quantization.base)
    return quantization.base


def _value_type(quantization: Quantization, rank: int, count: int, model: ModelShape) -> TensorType:
    """Return the type of a value or fused query-key-value matrix, the `rank`-th of `count`."""
    chosen = quantization.base
    if quantization.key == "q2_k":
        chosen = TensorType.Q4_K if model.heads_per_kv_head >= 4 else TensorType.Q3_K
    elif quantization.key == "q3_k_m":
        chosen = TensorType.Q5_K if rank < 2 else TensorType.Q4_K
    elif quantization.key in ("q4_k_m", "q5_k_m") and _deserves_more_bits(rank, count):
        chosen = TensorType.Q6_K
    elif quantization.key == "q4_k_s" and rank < 4:
        chosen = TensorType.Q5_K
    # llama.cpp calls a model of 80 layers with shared key heads "70B" and spends more on its values.
    if model.layers == 80 and model.heads_per_kv_head > 1 and chosen in (TensorType.Q3_K, TensorType.Q4_K):
        return TensorType.Q5_K
    return chosen


def _down_type(quantization: Quantization, layer: int, layers: int) -> TensorType:
    match quantization.key:
        case "q2_k":
            return TensorType.Q3_K
        case "q3_k_m":
            return TensorType.Q5_K if layer < layers // 16 else TensorType.Q4_K
        case "q4_k_m" | "q5_k_m" if _deserves_more_bits(layer, layers):
            return TensorType.Q6_K
        case "q4_k_s" if layer < layers // 8:
            return TensorType.Q5_K
    return quantization.base


def _deserves_more_bits(index: int, count: int) -> bool:
    first = count // 8
    return index < first or index >= 7 * count // 8 or (index - first) % 3 == 2


def _fitting(wanted: TensorType, columns: int) -> TensorType:
    """Return `wanted`, or what replaces it when a row is no multiple of its block."""
    if columns % wanted.block == 0:
        return wanted
    smaller = _SMALLER_BLOCK.get(wanted, wanted)
    return smaller if columns % smaller.block == 0 else TensorType.F16
