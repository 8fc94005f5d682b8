"""Float32 values stored as, or rounded to, the shorter float types; pure numpy.

Rounding is to nearest even, as ggml and PyTorch round.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backprop_core.gguf.source import FloatArray, widen_bfloat16


def to_bfloat16(values: FloatArray) -> NDArray[np.uint16]:
    """Return finite float32 values as bfloat16 bit patterns."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))
    return (rounded >> 16).astype(np.uint16)


def to_float16(values: FloatArray) -> NDArray[np.float16]:
    """Return float32 values as float16; values above 65504 become infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


def round_to(dtype: str, values: FloatArray) -> FloatArray:
    """Return float32 values as they are after a stay in `dtype` (`BF16`, `F16`, else unchanged)."""
    if dtype == "BF16":
        return widen_bfloat16(to_bfloat16(values))
    if dtype == "F16":
        return to_float16(values).astype(np.float32)
    return values
