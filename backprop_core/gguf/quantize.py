"""Float32 rows packed into ggml blocks, by ggml's own kernels through one C function.

The library is looked for in `libggml`, then in `xllamacpp`, then in `llama_cpp`. Without any of them
the plain types and q8_0, q4_0, q5_0, q5_1 still work in numpy.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from backprop_core.errors import DependencyError
from backprop_core.gguf.floats import to_bfloat16, to_float16
from backprop_core.gguf.source import FloatArray
from backprop_core.gguf.types import TensorType

ByteArray = NDArray[np.uint8]

_LIBRARIES: Final = (
    (
        "libggml",
        ("lib*/libggml-base.so", "lib*/libggml-base.dylib", "bin/ggml-base.dll", "lib*/ggml-base.dll"),
    ),
    ("xllamacpp", ("xllamacpp*.so",)),
    ("llama_cpp", ("lib/libggml-base.so", "lib/libggml-base.dylib", "lib/ggml-base.dll")),
)
_IN_NUMPY: Final = (TensorType.Q8_0, TensorType.Q4_0, TensorType.Q5_0, TensorType.Q5_1)


class Packer(Protocol):
    """Packs rows of float32 into the bytes of a storage type."""

    def __call__(self, values: FloatArray, kind: TensorType) -> ByteArray:
        """Return the bytes of `values`, `(rows, columns)`; safe to call from several threads."""
        ...


class GgmlPacker:
    """Packs with the kernels of a ggml library.

    Args:
        library: the shared library that exports `ggml_quantize_chunk`.
    """

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        self._init = loaded.ggml_quantize_init
        self._init.argtypes = [ctypes.c_int]
        self._init.restype = None
        self._chunk = loaded.ggml_quantize_chunk
        self._chunk.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]
        self._chunk.restype = ctypes.c_size_t

    def __call__(self, values: FloatArray, kind: TensorType) -> ByteArray:
        """Return the bytes of `values`; the kernels abort the process on a row that does not fit."""
        rows, columns = values.shape
        if columns % kind.block:
            raise ValueError(f"{columns} columns are no multiple of the block of {kind.name}")
        if kind.is_float:
            return pack_float(values, kind)
        values = np.ascontiguousarray(values)
        packed = np.empty(rows * kind.row_bytes(columns), np.uint8)
        self._init(kind.id)
        self._chunk(kind.id, values.ctypes.data, packed.ctypes.data, 0, rows, columns, None)
        return packed


class NumpyPacker:
    """Packs what numpy can; for platforms without a ggml library."""

    def __call__(self, values: FloatArray, kind: TensorType) -> ByteArray:
        """Return the bytes of `values`.

        Raises:
            DependencyError: DEP_EXTRA_MISSING, the type needs ggml's kernels.
        """
        if kind.is_float:
            return pack_float(values, kind)
        if kind not in _IN_NUMPY:
            raise DependencyError(
                "DEP_EXTRA_MISSING",
                f"The type {kind.name} needs ggml's kernels, and none of libggml, xllamacpp and llama_cpp is there.",
                hint="Install them with `pip install libggml-python`, or choose q8_0 or f16.",
            )
        import gguf

        packed: ByteArray = gguf.quants.quantize(values, gguf.GGMLQuantizationType(kind.id))
        return packed.reshape(-1)


def pack_float(values: FloatArray, kind: TensorType) -> ByteArray:
    """Return the bytes of `values` as F32, F16 or BF16."""
    stored: NDArray[np.generic] = np.ascontiguousarray(values)
    if kind is TensorType.F16:
        stored = to_float16(values)
    elif kind is TensorType.BF16:
        stored = to_bfloat16(values)
    return stored.reshape(-1).view(np.uint8)


def load_packer() -> Packer:
    """Return a packer over the first ggml library found on this machine, else the numpy one."""
    for library in ggml_libraries():
        try:
            return GgmlPacker(library)
        except (OSError, AttributeError):
            continue
    return NumpyPacker()


def ggml_libraries() -> Iterator[Path]:
    """Yield the shared libraries that may hold ggml's kernels, best first."""
    for package, patterns in _LIBRARIES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for pattern in patterns:
                yield from sorted(Path(folder).glob(pattern))
