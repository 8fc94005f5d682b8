"""A GGUF file checked from its head alone, before anyone hands it to an engine.

Every count, length and offset is compared with the size of the file first, so a hostile file is refused
in under a second with flat memory. Tensor values are not looked at.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

from backprop_core.errors import InputError
from backprop_core.gguf.block_sizes import BLOCK_SIZES

_VERSIONS: Final = (2, 3)
_DIMENSIONS_MAX: Final = 4
_NAME_BYTES_MAX: Final = 1 << 16
_TENSORS_MAX: Final = 1 << 16
_KEYS_MAX: Final = 1 << 16
_TEXTS_MAX: Final = 1 << 21
_ELEMENTS_MAX: Final = 1 << 48
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT: Final = 8
_ARRAY: Final = 9
_CHUNK_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class ListLength:
    """Stands for a list in the metadata; only its length is kept."""

    length: int


MetadataValue = int | float | bool | str | ListLength


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """One tensor of a file; `begin` counts from the start of the file, `shape` has rows first."""

    name: str
    type_id: int
    shape: tuple[int, ...]
    begin: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class GgufStructure:
    """What a sound file says about itself.

    Attributes:
        path: where it lies.
        size_bytes: of the file.
        metadata: scalars and texts; lists by their length.
        tensors: in file order.
    """

    path: Path
    size_bytes: int
    metadata: Mapping[str, MetadataValue]
    tensors: tuple[TensorPlace, ...]

    @property
    def architecture(self) -> str:
        """The engine's name of the family."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def is_adapter(self) -> bool:
        """Whether the file is a LoRA adapter without a base."""
        return self.metadata.get("general.type") == "adapter"

    def context_for(self, trained_tokens: int) -> int:
        """Return a context length for chatting with a model trained on `trained_tokens` per row.

        Twice the trained length, within what the model has. A model with two sets of rotary factors stays
        within its original length, because engines switch to the long set by the size of the context.
        """
        limit = self._count("context_length") or 2 * trained_tokens
        original = self._count("rope.scaling.original_context_length")
        if original and any(tensor.name == "rope_factors_short.weight" for tensor in self.tensors):
            limit = min(limit, max(original, trained_tokens))
        return min(2 * trained_tokens, limit)

    def _count(self, key: str) -> int:
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) else 0


def check_gguf(path: Path) -> GgufStructure:
    """Return the structure of a GGUF file.

    Raises:
        InputError: the file is missing, or its head does not describe it.
    """
    if not path.is_file():
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{path} does not exist.")
    size_bytes = path.stat().st_size
    if size_bytes < 24:
        raise _damaged(path, "it is too short")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _read(path, _Cursor(data))
        except (_Unsound, UnicodeDecodeError) as error:
            raise _damaged(path, str(error)) from error


def tensor_digest(path: Path, tensor: TensorPlace) -> str:
    """Return the SHA-256 of a tensor's bytes, comparable with the writer's report."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        stream.seek(tensor.begin)
        left = tensor.size_bytes
        while left and (chunk := stream.read(min(left, _CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


class _Unsound(Exception):
    """The head says something that the file cannot hold."""


class _Cursor:
    """A position in the file that never leaves it."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = 0
        self.texts_left = _TEXTS_MAX

    def number(self, kind: str) -> int:
        size = struct.calcsize(f"<{kind}")
        self.skip(size)
        value: int = struct.unpack_from(f"<{kind}", self.data, self.position - size)[0]
        return value

    def skip(self, count: int) -> None:
        if count > len(self.data) - self.position:
            raise _Unsound("something in it reaches past its end")
        self.position += count

    def text(self, bytes_max: int) -> str:
        length = self.number("Q")
        if length > bytes_max:
            raise _Unsound(f"a text claims {length} bytes")
        self.skip(length)
        return self.data[self.position - length : self.position].decode()

    def skip_texts(self, count: int) -> None:
        if count > self.texts_left:
            raise _Unsound(f"a list claims {count} texts")
        self.texts_left -= count
        data, position, end = self.data, self.position, len(self.data)
        length_of = struct.Struct("<Q").unpack_from
        for _ in range(count):
            if position + 8 > end:
                raise _Unsound("a list of texts reaches past its end")
            position += 8 + length_of(data, position)[0]
        if position > end:
            raise _Unsound("a list of texts reaches past its end")
        self.position = position


def _read(path: Path, cursor: _Cursor) -> GgufStructure:
    cursor.skip(4)
    if cursor.data[:4] != b"GGUF":
        raise _Unsound("it does not start with GGUF")
    version, tensor_count, key_count = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
    if version not in _VERSIONS:
        raise _Unsound(f"its version is {version}")
    if tensor_count > _TENSORS_MAX or key_count > _KEYS_MAX:
        raise _Unsound(f"it claims {tensor_count} tensors and {key_count} keys")
    metadata: dict[str, MetadataValue] = {}
    for _ in range(key_count):
        key = cursor.text(_NAME_BYTES_MAX)
        if key in metadata:
            raise _Unsound(f"the key {key!r} stands there twice")
        metadata[key] = _value(cursor, cursor.number("I"))
    places = [_place(cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise _Unsound(f"its alignment is {alignment!r}")
    data_begin = -(-cursor.position // alignment) * alignment
    tensors = _checked(places, data_begin, alignment, len(cursor.data))
    return GgufStructure(path, len(cursor.data), metadata, tensors)


def _value(cursor: _Cursor, kind: int) -> MetadataValue:
    if kind in _SCALARS:
        return cursor.number(_SCALARS[kind])
    if kind == _TEXT:
        return cursor.text(len(cursor.data))
    if kind != _ARRAY:
        raise _Unsound(f"a value has the unknown kind {kind}")
    item, length = cursor.number("I"), cursor.number("Q")
    if item == _TEXT:
        cursor.skip_texts(length)
    elif item in _SCALARS:
        cursor.skip(length * struct.calcsize(f"<{_SCALARS[item]}"))
    else:
        raise _Unsound(f"a list has items of the kind {item}")
    return ListLength(length)


def _place(cursor: _Cursor) -> TensorPlace:
    """Read one line of the tensor list; `begin` is still relative to the data."""
    name = cursor.text(_NAME_BYTES_MAX)
    dimensions = cursor.number("I")
    if not 1 <= dimensions <= _DIMENSIONS_MAX:
        raise _Unsound(f"the tensor {name!r} has {dimensions} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
    type_id, offset = cursor.number("I"), cursor.number("Q")
    if type_id not in BLOCK_SIZES:
        raise _Unsound(f"the tensor {name!r} has the unknown type {type_id}")
    elements, block = prod(shape), BLOCK_SIZES[type_id]
    if not 0 < elements < _ELEMENTS_MAX or shape[-1] % block[0]:
        raise _Unsound(f"the tensor {name!r} has the shape {shape}")
    return TensorPlace(name, type_id, shape, offset, elements // block[0] * block[1])


def _checked(
    places: list[TensorPlace], data_begin: int, alignment: int, file_bytes: int
) -> tuple[TensorPlace, ...]:
    """Return the tensors with offsets from the start of the file, none overlapping, none outside."""
    if len({place.name for place in places}) != len(places):
        raise _Unsound("a tensor stands there twice")
    end = data_begin
    tensors = []
    for place in sorted(places, key=lambda place: place.begin):
        begin = data_begin + place.begin
        if place.begin % alignment or begin < end or begin + place.size_bytes > file_bytes:
            raise _Unsound(f"the tensor {place.name!r} lies outside the file or over another one")
        end = begin + place.size_bytes
        tensors.append(TensorPlace(place.name, place.type_id, place.shape, begin, place.size_bytes))
    return tuple(tensors)


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        "INPUT_VALIDATION_FAILED",
        f"{path.name} is not a sound GGUF file: {reason}.",
        hint="Export or download the file again.",
    )
