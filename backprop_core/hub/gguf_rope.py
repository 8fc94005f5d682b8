"""Rotary positions as GGUF stores them, turned back into what a Hugging Face config says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROPE_FACTORS: Final = "rope_freqs.weight"

_LLAMA3_FACTORS: Final = (8.0, 32.0)
_LOW: Final = 1.0
_HIGH: Final = 4.0
_ORIGINAL_TOKENS: Final = 8192


def half_split_rows(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Undo GGUF's interleaved rotary order of the rows of a query or key projection.

    GGUF stores each head's rows as (x0, y0, x1, y1, ...); Hugging Face wants all x, then all y.

    Args:
        weight: (heads * head_dim, hidden).
        heads: number of query or key heads.
    """
    rows, width = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, width)
    return pairs.swapaxes(1, 2).reshape(rows, width)


def llama3_scaling(factors: NDArray[np.float32], theta: float, head_dim: int) -> dict[str, Any] | None:
    """Return the `llama3` scaling whose factors stand in a GGUF file, None when none of ours fits.

    Llama 3.1 scales by 8 and Llama 3.2 by 32; the other constants are the same in all of them.

    Args:
        factors: (head_dim / 2,), by which each rotary frequency is divided.
        theta: base of the frequencies.
        head_dim: size of one attention head.
    """
    import numpy as np

    for factor in _LLAMA3_FACTORS:
        expected = np.array(llama3_factors(factor, theta, head_dim), dtype=np.float32)
        if expected.shape == factors.shape and np.allclose(expected, factors, rtol=1e-4):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": _LOW,
                "high_freq_factor": _HIGH,
                "original_max_position_embeddings": _ORIGINAL_TOKENS,
            }
    return None


def llama3_factors(factor: float, theta: float, head_dim: int) -> list[float]:
    """Return by what each frequency is divided: 1 for short waves, `factor` for long ones, smooth between.

    The rule of Llama 3.1: waves shorter than original / 4 tokens stay, those longer than the original
    context are stretched by `factor`.
    """
    factors = []
    for index in range(0, head_dim, 2):
        wavelength = 2 * math.pi * theta ** (index / head_dim)
        if wavelength < _ORIGINAL_TOKENS / _HIGH:
            factors.append(1.0)
        elif wavelength > _ORIGINAL_TOKENS / _LOW:
            factors.append(factor)
        else:
            smooth = (_ORIGINAL_TOKENS / wavelength - _LOW) / (_HIGH - _LOW)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors
