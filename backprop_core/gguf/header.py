"""The head of a GGUF file as bytes: magic, metadata, tensor list, padding.

The layout is GGUF version 3, little endian. Nothing here knows what a key means.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from backprop_core.gguf.types import TensorType

ALIGNMENT: Final = 32
_MAGIC: Final = b"GGUF"
_VERSION: Final = 3


class ValueKind(IntEnum):
    """The kinds of metadata values that we write, by their number in the file."""

    U32 = 4
    I32 = 5
    F32 = 6
    BOOL = 7
    TEXT = 8


_ARRAY: Final = 9
_FORMATS: Final = {ValueKind.U32: "I", ValueKind.I32: "i", ValueKind.F32: "f", ValueKind.BOOL: "?"}

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Value:
    """A metadata value: one scalar, or a list of scalars of one kind."""

    kind: ValueKind
    content: Scalar | Sequence[Scalar]

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return not isinstance(self.content, Scalar)


Metadata = Mapping[str, Value]


def u32(content: int) -> Value:
    """Return an unsigned whole number."""
    return Value(ValueKind.U32, content)


def f32(content: float) -> Value:
    """Return a real number."""
    return Value(ValueKind.F32, content)


def flag(content: bool) -> Value:
    """Return a truth value."""
    return Value(ValueKind.BOOL, content)


def text(content: str) -> Value:
    """Return a text."""
    return Value(ValueKind.TEXT, content)


def i32_list(content: Sequence[int]) -> Value:
    """Return a list of signed whole numbers."""
    return Value(ValueKind.I32, tuple(content))


def flag_list(content: Sequence[bool]) -> Value:
    """Return a list of truth values."""
    return Value(ValueKind.BOOL, tuple(content))


def f32_list(content: Sequence[float]) -> Value:
    """Return a list of real numbers."""
    return Value(ValueKind.F32, tuple(content))


def text_list(content: Sequence[str]) -> Value:
    """Return a list of texts."""
    return Value(ValueKind.TEXT, tuple(content))


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One line of the tensor list; `shape` has rows first, the file reverses it."""

    name: str
    shape: tuple[int, ...]
    kind: TensorType

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor's data, padding not counted."""
        return self.kind.size(self.shape)


def padded(size_bytes: int) -> int:
    """Return `size_bytes` rounded up to the alignment of tensor data."""
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT


def pack_header(metadata: Metadata, tensors: Sequence[TensorEntry]) -> bytes:
    """Return everything that stands before the first tensor's data."""
    parts = [_MAGIC, struct.pack("<IQQ", _VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [_pack_text(key), _pack_value(value)]
    offset = 0
    for tensor in tensors:
        dimensions = tensor.shape[::-1]
        parts.append(_pack_text(tensor.name))
        parts.append(
            struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, tensor.kind.id, offset)
        )
        offset += padded(tensor.size_bytes)
    head = b"".join(parts)
    return head.ljust(padded(len(head)), b"\0")


def _pack_text(content: str) -> bytes:
    raw = content.encode()
    return struct.pack("<Q", len(raw)) + raw


def _pack_value(value: Value) -> bytes:
    content = value.content
    if isinstance(content, Scalar):
        return struct.pack("<I", value.kind) + _pack_items(value.kind, (content,))
    return struct.pack("<IIQ", _ARRAY, value.kind, len(content)) + _pack_items(value.kind, content)


def _pack_items(kind: ValueKind, items: Sequence[Scalar]) -> bytes:
    if kind is ValueKind.TEXT:
        return b"".join(_pack_text(str(item)) for item in items)
    return struct.pack(f"<{len(items)}{_FORMATS[kind]}", *items)
