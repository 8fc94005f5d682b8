"""The algebra of continual merging: how a leg starts, and what is kept of it. Pure functions on tensors.

SLAO after Algorithm 1 of Qiao and Mahdavi, "Merge before Forget: A Single LoRA Continual Learning via
Continual Merging" (arXiv 2512.23017), and its baselines. An adapter is a dict of tensors by the names that PEFT
saves them under; pairs are found by `lora_A` and `lora_B`. Anything else an adapter holds is replaced.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from backprop_core.config.campaigns import MergeMode
from backprop_core.errors import RunError

ORTHOGONAL: Final = frozenset({"slao", "slao-merged-b"})

_A: Final = ".lora_A."
_B: Final = ".lora_B."
# Which halves a merge moves; the others are replaced.
_MOVED: Final[dict[MergeMode, tuple[str, ...]]] = {
    "slao": (_B,),
    "slao-merged-b": (_B,),
    "average": (_A, _B),
    "simple": (),
}


def orthonormal_rows(a: Tensor) -> Tensor:
    """Return rows that span what the rows of `a` span, orthonormal, as A starts a leg.

    The reduced QR of the transposed matrix in float32, each row's sign such that the diagonal of R is not
    negative, which makes the result unique. A rank-deficient or zero matrix gets the basis that the
    reflections of QR complete. Beyond the input size no direction is left: those rows are zero, and learn
    through B.

    Args:
        a: `(rank, inputs)`.

    Returns:
        `(rank, inputs)` in the dtype of `a`.
    """
    rank, inputs = a.shape
    q, r = torch.linalg.qr(a.float().T, mode="reduced")
    signs = torch.where(torch.diagonal(r) < 0, -1.0, 1.0)
    rows = (q * signs).T
    if rank > inputs:
        rows = torch.cat([rows, rows.new_zeros(rank - inputs, inputs)])
    return rows.to(a.dtype)


def start_of_leg(
    mode: MergeMode, own: Mapping[str, Tensor], merged: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """Return the adapter with which a leg begins to learn.

    Args:
        own: the previous leg's adapter as that leg left it; before the first leg the fresh one.
        merged: the campaign's adapter so far; None before the first leg.
    """
    if mode not in ORTHOGONAL:
        return dict(own)
    begun = {}
    for name, value in own.items():
        if _A in name:
            begun[name] = orthonormal_rows(value)
        elif _B in name and mode == "slao-merged-b" and merged is not None:
            begun[name] = merged[name]
        else:
            begun[name] = value
    return begun


def merge_weight(mode: MergeMode, number: int) -> float:
    """Return the weight of the `number`-th adapter, counting from 1, in the merge."""
    if mode in ORTHOGONAL:
        return 1 / math.sqrt(number)
    return 1 / number if mode == "average" else 1.0


def merge(
    mode: MergeMode, merged: Mapping[str, Tensor] | None, own: Mapping[str, Tensor], number: int
) -> dict[str, Tensor]:
    """Return the campaign's adapter after a leg; the arguments stay as they are.

    SLAO replaces A and moves B by (B_own - B_merged) / sqrt(number). The average moves both by their
    difference over `number`. Simple takes the leg's adapter.

    Args:
        merged: the campaign's adapter before the leg; None for the first one.
        own: what the leg learned.
        number: which merge this is, counting from 1.

    Raises:
        RunError: RUNTIME_SLAO_MERGE_FAILED, a value is not finite or the adapters have other shapes.
    """
    _require_finite(own)
    if merged is None:
        return dict(own)
    if {name: value.shape for name, value in merged.items()} != {n: v.shape for n, v in own.items()}:
        raise RunError("RUNTIME_SLAO_MERGE_FAILED", "The leg's adapter has other layers or another rank.")
    weight, parts = merge_weight(mode, number), _MOVED[mode]
    result = {
        name: _moved(merged[name], value, weight) if any(part in name for part in parts) else value
        for name, value in own.items()
    }
    _require_finite(result)
    return result


def _moved(before: Tensor, after: Tensor, weight: float) -> Tensor:
    """Return `before + weight * (after - before)`, computed in float32."""
    return torch.lerp(before.float(), after.float(), weight).to(after.dtype)


def _require_finite(adapter: Mapping[str, Tensor]) -> None:
    for name, value in adapter.items():
        if not bool(torch.isfinite(value).all()):
            raise RunError("RUNTIME_SLAO_MERGE_FAILED", f"The weights {name} are not finite numbers.")
