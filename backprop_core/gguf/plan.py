"""The whole GGUF file decided before a byte is written: metadata, tensors, types, exact size.

Pure apart from reading names and shapes of the source.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Final

from backprop_core.errors import InputError
from backprop_core.gguf.architectures import Architecture
from backprop_core.gguf.config import ModelConfig
from backprop_core.gguf.header import Metadata, TensorEntry, Value, pack_header, padded, text, u32
from backprop_core.gguf.lora import EMBEDDING, OUTPUT
from backprop_core.gguf.names import gguf_name
from backprop_core.gguf.source import FloatArray, TensorSource
from backprop_core.gguf.transforms import AS_STORED, Transform
from backprop_core.gguf.types import ModelShape, Quantization, choose_types, file_order

_QUANTIZATION_VERSION: Final = 2
_BLOCK: Final = re.compile(r"blk\.(\d+)\.(.+)")
# Engines look for these words in the name and then expect that model's vocabulary, or abort.
_TRAP_NAMES: Final = re.compile(r"(phi|modern)-?(3|bert)", re.IGNORECASE)
_NAME_LENGTH_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the file: read from the source and transformed, or a constant."""

    entry: TensorEntry
    source: str = ""
    transform: Transform = AS_STORED
    constant: FloatArray | None = None


@dataclass(frozen=True)
class GgufPlan:
    """A file that can be written.

    Attributes:
        architecture: the engine's name of the family.
        quantization: key of the chosen quantization, for example `q4_k_m`.
        metadata: all keys.
        tensors: in file order.
        warnings: what the user should know, as sentences.
    """

    architecture: str
    quantization: str
    metadata: Metadata
    tensors: tuple[PlannedTensor, ...]
    warnings: tuple[str, ...] = ()

    @cached_property
    def header(self) -> bytes:
        """Everything before the first tensor."""
        return pack_header(self.metadata, [tensor.entry for tensor in self.tensors])

    @property
    def size_bytes(self) -> int:
        """The exact size of the file."""
        return len(self.header) + sum(padded(tensor.entry.size_bytes) for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(prod(tensor.entry.shape) for tensor in self.tensors)


def model_metadata(
    config: ModelConfig,
    architecture: Architecture,
    quantization: Quantization,
    name: str,
    vocabulary_size: int,
) -> dict[str, Value]:
    """Return the keys that describe the model itself, without tokenizer and provenance."""
    keys = {
        "general.architecture": text(architecture.name),
        "general.type": text("model"),
        "general.name": text(safe_name(name)),
        "general.file_type": u32(quantization.file_type),
        "general.quantization_version": u32(_QUANTIZATION_VERSION),
        **architecture.metadata(config, architecture.name),
    }
    keys[f"{architecture.name}.vocab_size"] = u32(vocabulary_size)
    return keys


def plan_tensors(
    config: ModelConfig, architecture: Architecture, source: TensorSource, quantization: Quantization
) -> tuple[PlannedTensor, ...]:
    """Return every tensor of the file in order.

    Raises:
        InputError: the checkpoint has a tensor without a place in the file, or lacks one.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    origins: dict[str, str] = {}
    for name in source.names():
        target = gguf_name(name, architecture.layer_names)
        if target is None:
            raise InputError(
                "INPUT_VALIDATION_FAILED", f"The tensor {name!r} has no place in a {architecture.name} file."
            )
        shapes[target] = _transformed(architecture.transform(config, name), name, source.shape(name))
        origins[target] = name
    _require_complete(config, shapes)
    extra = architecture.extra_tensors(config)
    shapes |= {name: array.shape for name, array in extra.items()}
    types = choose_types(quantization, shapes, ModelShape(config.layers, config.heads // config.kv_heads))
    tensors = []
    for name in sorted(shapes, key=file_order):
        entry = TensorEntry(name, shapes[name], types[name])
        if name in extra:
            tensors.append(PlannedTensor(entry, constant=extra[name]))
        else:
            transform = architecture.transform(config, origins[name])
            tensors.append(PlannedTensor(entry, origins[name], transform))
    return tuple(tensors)


def vocabulary_size(config: ModelConfig, source: TensorSource) -> int:
    """Return the rows of the embedding.

    Raises:
        InputError: the embedding is missing or does not fit the configuration or the output matrix.
    """
    if EMBEDDING not in source.names():
        raise InputError("INPUT_VALIDATION_FAILED", f"The checkpoint holds no {EMBEDDING}.")
    rows, *columns = source.shape(EMBEDDING)
    if columns != [config.count("hidden_size")]:
        raise InputError("INPUT_VALIDATION_FAILED", f"{EMBEDDING} does not have hidden_size columns.")
    if OUTPUT in source.names() and source.shape(OUTPUT)[0] != rows:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"The embedding has {rows} rows, the output matrix {source.shape(OUTPUT)[0]}.",
            hint="An extended vocabulary needs both matrices saved with the adapter.",
        )
    return rows


def safe_name(name: str) -> str:
    """Return a model name that no engine takes for another model's, on one line."""
    flat = " ".join(name.split())[:_NAME_LENGTH_MAX]
    return _TRAP_NAMES.sub(r"\1 \2", flat) or "model"


def _transformed(transform: Transform, name: str, stored: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape after a transform, having checked that the transform was made for the stored one."""
    for order, length in ((transform.rows, stored[0]), (transform.columns, stored[-1])):
        if order is not None and len(order) != length:
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                f"{name!r} has the shape {stored}; the heads in config.json ask for {len(order)} in place of {length}.",
            )
    return transform.shape(stored)


def _require_complete(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a checkpoint with a missing tensor: every layer must look like another one of its kind."""
    layers: dict[int, set[str]] = defaultdict(set)
    for name, shape in shapes.items():
        if 0 in shape:
            raise InputError("INPUT_VALIDATION_FAILED", f"The tensor {name!r} is empty.")
        if (match := _BLOCK.fullmatch(name)) is not None:
            layers[int(match[1])].add(match[2])
    _require_whole(["output_norm.weight"] + ([] if config.is_tied else ["output.weight"]), shapes)
    if sorted(layers) != list(range(config.layers)):
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"config.json names {config.layers} layers, the weights hold {len(layers)}.",
        )
    kinds: dict[bool, set[str]] = {}
    for number, found in layers.items():
        wanted = kinds.setdefault("ssm_a" in found, found)
        if (odd := found ^ wanted) or len(found) < 2:
            raise InputError(
                "INPUT_VALIDATION_FAILED", f"Layer {number} differs from the others in {sorted(odd)[:3]}."
            )


def _require_whole(names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in names:
        if name not in shapes:
            raise InputError("INPUT_VALIDATION_FAILED", f"The checkpoint holds nothing for {name}.")
