"""Tensors written to a safetensors file one at a time, so that memory holds one of them.

Knows the file layout (8-byte little-endian header length, JSON header, data without gaps) and the
rounding from float32 to bfloat16. Does not read files and does not know models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backprop_core import files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BF16_BYTES: Final = 2
_ALIGNMENT: Final = 8
_ROUND_ELEMENTS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """A tensor of the file to be written: its name, its shape, and a call that makes its float32 values."""

    name: str
    shape: tuple[int, ...]
    load: Callable[[], NDArray[np.float32]]

    @property
    def size_bytes(self) -> int:
        """Bytes it takes as bfloat16."""
        return prod(self.shape) * _BF16_BYTES


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the bit patterns of finite float32 `values` rounded to bfloat16, ties to even.

    Adds 0x7FFF plus the lowest kept bit, then drops the low 16 bits: the rounding that torch applies.
    """
    import numpy as np

    bits = np.ascontiguousarray(values, dtype=np.float32).reshape(-1).view(np.uint32)
    rounded = np.empty(bits.shape, dtype=np.uint16)
    for start in range(0, bits.size, _ROUND_ELEMENTS):
        part = bits[start : start + _ROUND_ELEMENTS]
        rounded[start : start + _ROUND_ELEMENTS] = (part + (0x7FFF + ((part >> 16) & 1))) >> 16
    return rounded.reshape(values.shape)


def write_bfloat16(path: Path, tensors: Iterable[PlannedTensor], on_tensor: Callable[[int], None]) -> None:
    """Write `tensors` to `path` as bfloat16 safetensors.

    Args:
        path: the file to make; appears whole or not at all.
        tensors: in the order of the file.
        on_tensor: receives the bytes written so far after each tensor.

    Raises:
        ValueError: a tensor's values do not have the planned shape.
    """
    planned = list(tensors)
    with files.atomic_writer(path) as stream:
        header = _header(planned)
        stream.write(len(header).to_bytes(8, "little"))
        stream.write(header)
        done = 0
        for tensor in planned:
            values = tensor.load()
            if values.shape != tensor.shape:
                raise ValueError(f"{tensor.name} has shape {values.shape}, planned was {tensor.shape}")
            stream.write(to_bfloat16(values).data)
            done += tensor.size_bytes
            on_tensor(done)


def _header(planned: list[PlannedTensor]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for tensor, (begin, end) in zip(planned, _spans(planned), strict=True):
        entries[tensor.name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT)


def _spans(planned: list[PlannedTensor]) -> Iterator[tuple[int, int]]:
    begin = 0
    for tensor in planned:
        yield begin, begin + tensor.size_bytes
        begin += tensor.size_bytes
