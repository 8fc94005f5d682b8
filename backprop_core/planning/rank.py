"""The rank of an adapter for `lora_r = auto`, and the learning rates that go with the methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from backprop_core.planning.model_shape import ModelShape

RANKS: Final = (16, 32, 64, 128, 256)
# LoRA's best rate is about ten times that of full tuning and nearly independent of the rank.
LORA_RATE: Final = 2e-4
FULL_MODE_RATE: Final = 2e-5


@dataclass(frozen=True, slots=True)
class RankChoice:
    """A rank, and whether it covers the data or is only the largest that fits."""

    r: int
    covers: bool


def choose_rank(
    shape: ModelShape, supervised_tokens: int, target_modules: str, fits: Callable[[int], bool]
) -> RankChoice:
    """Return the smallest rank whose adapter has a parameter per supervised token, if it fits.

    A LoRA adapter learns as well as full tuning until its capacity is used up, and a supervised
    token fills about one parameter (Schulman et al., "LoRA Without Regret", 2025).

    Args:
        shape: the base model.
        supervised_tokens: of one pass over the data.
        target_modules: the layers that carry the adapter.
        fits: whether an adapter of this rank fits the device.
    """
    possible = [r for r in RANKS if fits(r)] or [RANKS[0]]
    for r in possible:
        if shape.adapter_parameters(r, target_modules) >= supervised_tokens:
            return RankChoice(r, covers=True)
    return RankChoice(possible[-1], covers=False)
