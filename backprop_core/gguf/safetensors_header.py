"""The header of a safetensors file, believed only after it was checked against the file.

A header can lie about its length, about where tensors lie and about their shape. All of that is
found here from at most 16 MiB, before a byte of the weights is touched.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import orjson

from backprop_core.errors import InputError

_HEADER_BYTES_MAX: Final = 16 << 20
_TENSORS_MAX: Final = 1 << 17
_DIMENSIONS_MAX: Final = 8
_ITEM_BYTES: Final = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file; `begin` is the offset of its first byte from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    size_bytes: int


def read_header(path: Path) -> list[StoredTensor]:
    """Return the tensors of a safetensors file in the order of their bytes.

    Raises:
        InputError: the header does not describe the file exactly.
    """
    file_bytes = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        if len(prefix) < 8:
            raise _damaged(path, "it is too short")
        (header_bytes,) = struct.unpack("<Q", prefix)
        if header_bytes > min(_HEADER_BYTES_MAX, file_bytes - 8):
            raise _damaged(path, f"its header claims {header_bytes} bytes")
        raw = stream.read(header_bytes)
    try:
        entries = orjson.loads(raw)
    except ValueError as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(entries, dict) or len(entries) > _TENSORS_MAX:
        raise _damaged(path, "its header is no list of tensors")
    entries.pop("__metadata__", None)
    data_begin = 8 + header_bytes
    tensors = [_tensor(path, name, entry, data_begin) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: tensor.begin)
    _require_gapless(path, tensors, data_begin, file_bytes)
    return tensors


def _tensor(path: Path, name: str, entry: Any, data_begin: int) -> StoredTensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"the entry of {name!r} is malformed")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise _damaged(path, f"{name!r} has the unknown type {dtype!r}")
    if (
        not _are_counts(shape)
        or len(shape) > _DIMENSIONS_MAX
        or not _are_counts(offsets)
        or len(offsets) != 2
    ):
        raise _damaged(path, f"shape or place of {name!r} are no whole numbers")
    begin, end = offsets
    if end - begin != prod(shape) * _ITEM_BYTES[dtype]:
        raise _damaged(path, f"{name!r} of shape {shape} does not fill its {end - begin} bytes")
    return StoredTensor(name, dtype, tuple(shape), data_begin + begin, end - begin)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def _require_gapless(path: Path, tensors: list[StoredTensor], data_begin: int, file_bytes: int) -> None:
    position = data_begin
    for tensor in tensors:
        if tensor.begin != position:
            raise _damaged(path, f"{tensor.name!r} overlaps another tensor or leaves a gap")
        position += tensor.size_bytes
    if position != file_bytes:
        raise _damaged(path, f"it has {file_bytes} bytes where its header describes {position}")


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(
        "INPUT_VALIDATION_FAILED",
        f"{path.name} is not a sound safetensors file: {reason}.",
        hint="Download or save the file again.",
    )
