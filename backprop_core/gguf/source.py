"""Where tensors come from: a protocol, and the reader of safetensors folders behind it.

Torch-free. Values are handed out as float32 rows, read from a memory map on demand, so a model of
any size costs only the rows in flight. What the values mean is not known here.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from backprop_core.errors import InputError
from backprop_core.gguf.safetensors_header import StoredTensor, read_header

FloatArray = NDArray[np.float32]
RowIndex = slice | NDArray[np.intp]

_INDEX_NAME: Final = "model.safetensors.index.json"
_INDEX_BYTES_MAX: Final = 64 << 20
_PICKLE_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_NUMPY_TYPES: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}


class TensorSource(Protocol):
    """Named tensors of a model, read row by row."""

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, rows first."""
        ...

    def dtype(self, name: str) -> str:
        """Return the stored type: `F32`, `F16`, `BF16` or `F64`."""
        ...

    def rows(self, name: str, index: RowIndex) -> FloatArray:
        """Return the chosen rows (first axis) as float32; called from several threads."""
        ...

    def release(self) -> None:
        """Give memory of rows already read back to the system."""
        ...


class SafetensorsSource:
    """The tensors of one or more safetensors files.

    Args:
        files: the shards.
        rename: maps a stored name to the one handed out; None leaves the tensor out.

    Raises:
        InputError: a file is damaged or holds a type that is not a plain float.
    """

    def __init__(self, files: Collection[Path], rename: Callable[[str], str | None] = str) -> None:
        self._maps: list[mmap.mmap] = []
        self._tensors: dict[str, tuple[mmap.mmap, StoredTensor]] = {}
        for path in files:
            stored = read_header(path)
            data = _map(path)
            self._maps.append(data)
            for tensor in stored:
                name = rename(tensor.name)
                if name is None:
                    continue
                if name in self._tensors:
                    raise InputError(
                        "INPUT_VALIDATION_FAILED", f"{path.name} holds {tensor.name!r} a second time."
                    )
                self._tensors[name] = (data, tensor)

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, rows first."""
        return self._tensors[name][1].shape

    def dtype(self, name: str) -> str:
        """Return the stored type."""
        return self._tensors[name][1].dtype

    def rows(self, name: str, index: RowIndex) -> FloatArray:
        """Return the chosen rows as float32.

        Raises:
            InputError: the tensor is stored in a type that has no plain float value.
        """
        data, tensor = self._tensors[name]
        stored_type = _NUMPY_TYPES.get(tensor.dtype)
        if stored_type is None:
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                f"{tensor.name!r} is stored as {tensor.dtype}; only F32, F16, BF16 and F64 can be exported.",
                hint="Export from the original 16-bit base model, not from a quantized copy.",
            )
        count = tensor.size_bytes // np.dtype(stored_type).itemsize
        stored = np.frombuffer(data, stored_type, count, tensor.begin).reshape(tensor.shape)[index]
        if tensor.dtype == "BF16":
            return widen_bfloat16(stored)
        return stored.astype(np.float32)

    def release(self) -> None:
        """Let the system drop pages of the map that were read; Windows decides by itself."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for data in self._maps:
                data.madvise(mmap.MADV_DONTNEED)


def open_model(folder: Path, rename: Callable[[str], str | None] = str) -> SafetensorsSource:
    """Open the weights of a model folder, whole or in shards.

    Raises:
        InputError: the folder holds no safetensors weights, or damaged ones.
    """
    index = folder / _INDEX_NAME
    if index.is_file():
        return SafetensorsSource(_shards(index), rename)
    return SafetensorsSource([_only_weights(folder, "model.safetensors")], rename)


def open_adapter(folder: Path, rename: Callable[[str], str | None] = str) -> SafetensorsSource:
    """Open the weights of a PEFT adapter folder.

    Raises:
        InputError: the folder holds no safetensors weights, or damaged ones.
    """
    return SafetensorsSource([_only_weights(folder, "adapter_model.safetensors")], rename)


def widen_bfloat16(stored: NDArray[np.uint16]) -> FloatArray:
    """Return bfloat16 bit patterns as float32: the upper half of the same bits."""
    bits = stored.astype(np.uint32)
    np.left_shift(bits, 16, out=bits)
    return bits.view(np.float32)


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _only_weights(folder: Path, name: str) -> Path:
    path = folder / name
    if path.is_file():
        return path
    pickles = sorted(entry.name for entry in folder.glob("*") if entry.suffix in _PICKLE_SUFFIXES)
    if pickles:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{folder} holds {pickles[0]}, a pickle that can run code when it is loaded; only safetensors are read.",
            hint="Save the weights again as safetensors.",
        )
    raise InputError("INPUT_MODEL_NOT_FOUND", f"{folder} holds no {name}.")


def _shards(index: Path) -> list[Path]:
    """Return the files that a shard index names; each must be a plain name beside the index."""
    if index.stat().st_size > _INDEX_BYTES_MAX:
        raise InputError("INPUT_VALIDATION_FAILED", f"{index} is too large for a list of shards.")
    try:
        weight_map = orjson.loads(index.read_bytes())["weight_map"]
        names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("INPUT_VALIDATION_FAILED", f"{index} is not a list of shards.") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(
                "INPUT_VALIDATION_FAILED", f"{index} names the shard {name!r}, which is no plain file name."
            )
        if not (index.parent / name).is_file():
            raise InputError("INPUT_MODEL_NOT_FOUND", f"{index.parent} lacks the shard {name}.")
    return [index.parent / name for name in names]
