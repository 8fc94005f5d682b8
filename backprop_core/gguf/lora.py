"""A base model with an adapter merged in, row by row, without ever holding the merged model.

`MergedSource` is a `TensorSource` over another one: whoever reads a row gets the merged row.
Formulas: LoRA W' = W + s·B·A (arXiv 2106.09685), rsLoRA s = alpha/sqrt(r) (2312.03732), DoRA
W' = m · (W + s·B·A) / ‖W + s·B·A‖ per row (2402.09353), PiSSA W = W₀ - s·B₀·A₀ with the principal
r singular parts of W₀ (2404.02948).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from backprop_core.errors import RunError
from backprop_core.gguf.floats import round_to
from backprop_core.gguf.peft_adapter import Adapter, LoraModule
from backprop_core.gguf.source import FloatArray, RowIndex, TensorSource

EMBEDDING: Final = "model.embed_tokens.weight"
OUTPUT: Final = "lm_head.weight"
_ALL: Final = slice(None)
_FACTORS_KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class Factors:
    """What turns base rows into merged rows.

    Attributes:
        b: `(out, rank)`, scaled.
        a: `(rank, in)`.
        magnitude: DoRA's row lengths `(out,)`.
        principal: PiSSA's `(out, rank)` and `(rank, in)` that the base had lost before training.
    """

    b: FloatArray
    a: FloatArray
    magnitude: FloatArray | None
    principal: tuple[FloatArray, FloatArray] | None


class MergedSource:
    """The tensors of `base` as `adapter` changes them.

    Args:
        base: the original 16- or 32-bit weights.
        adapter: a LoRA adapter of that base.
        is_tied: whether the base uses its embedding as output matrix too. An adapter that changes only
            one of the two unties them, because that is how the model was trained.

    Raises:
        RunError: RUNTIME_MERGE_EXPORT_FAILED, the adapter does not fit the base.
    """

    def __init__(self, base: TensorSource, adapter: Adapter, *, is_tied: bool = False) -> None:
        self._base = base
        self._adapter = adapter
        self._names = set(base.names()) | self._untied(is_tied)
        self._factors: OrderedDict[str, Factors] = OrderedDict()
        self._lock = threading.Lock()
        for module in adapter.modules.values():
            self._require_fit(module)
        for name, stored in adapter.replaced.items():
            self._require_replaceable(name, adapter.source.shape(stored))

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, rows first."""
        if (stored := self._adapter.replaced.get(name)) is not None:
            return self._adapter.source.shape(stored)
        return self._base.shape(self._base_name(name))

    def dtype(self, name: str) -> str:
        """Return the stored type; merged tensors are computed in float32."""
        return "F32" if name in self._adapter.modules else self._unmerged_dtype(name)

    def rows(self, name: str, index: RowIndex) -> FloatArray:
        """Return the chosen rows, merged, as float32."""
        stored = self._adapter.replaced.get(name)
        if stored is None:
            values = self._base.rows(self._base_name(name), index)
        else:
            values = self._adapter.source.rows(stored, index)
        module = self._adapter.modules.get(name)
        return (
            values
            if module is None
            else merge_rows(values, self.factors(module), index, self._unmerged_dtype(name))
        )

    def release(self) -> None:
        """Give memory of rows already read back to the system."""
        self._base.release()

    def factors(self, module: LoraModule) -> Factors:
        """Return the factors of one matrix; the last few are kept for its next rows."""
        with self._lock:
            factors = self._factors.get(module.target)
            if factors is None:
                factors = self._read_factors(module)
                self._factors[module.target] = factors
                while len(self._factors) > _FACTORS_KEPT:
                    self._factors.popitem(last=False)
            return factors

    def _read_factors(self, module: LoraModule) -> Factors:
        read = self._adapter.source.rows
        a, b = read(module.a, _ALL), read(module.b, _ALL)
        if module.is_embedding:
            a, b = np.ascontiguousarray(b.T), np.ascontiguousarray(a.T)
        principal = None
        if self._adapter.takes_principal_part:
            weight = self._base.rows(self._base_name(module.target), _ALL)
            principal = principal_part(weight, module.rank)
        magnitude = None if module.magnitude is None else read(module.magnitude, _ALL).reshape(-1)
        return Factors(b * np.float32(module.scale), a, magnitude, principal)

    def _unmerged_dtype(self, name: str) -> str:
        if (stored := self._adapter.replaced.get(name)) is not None:
            return self._adapter.source.dtype(stored)
        return self._base.dtype(self._base_name(name))

    def _base_name(self, name: str) -> str:
        is_borrowed = name == OUTPUT and OUTPUT not in self._base.names()
        return EMBEDDING if is_borrowed else name

    def _untied(self, is_tied: bool) -> set[str]:
        changed = self._adapter.modules.keys() | self._adapter.replaced.keys()
        touches_either = bool(changed & {EMBEDDING, OUTPUT})
        return {OUTPUT} if is_tied and touches_either and not self._adapter.keeps_tied else set()

    def _require_fit(self, module: LoraModule) -> None:
        if module.target not in self._names:
            raise _wrong_base(f"the base has no {module.target!r}")
        shape = self.shape(module.target)
        a, b = self._adapter.source.shape(module.a), self._adapter.source.shape(module.b)
        fits = (b[0], a[1]) == (shape[::-1] if module.is_embedding else shape)
        if not fits:
            raise _wrong_base(
                f"{module.target!r} is {shape} in the base, the adapter's factors are {b} and {a}"
            )

    def _require_replaceable(self, name: str, shape: tuple[int, ...]) -> None:
        if name not in self._names:
            raise _wrong_base(f"the base has no {name!r}")
        base_shape = self._base.shape(self._base_name(name))
        may_grow = name in (EMBEDDING, OUTPUT)
        if base_shape[1:] != shape[1:] or (base_shape[0] != shape[0] and not may_grow):
            raise _wrong_base(f"{name!r} is {base_shape} in the base and {shape} in the adapter")


def merge_rows(values: FloatArray, factors: Factors, index: RowIndex, base_dtype: str) -> FloatArray:
    """Return base rows `values` as the adapter changes them; may reuse their memory.

    Args:
        values: `(n, in)`, the rows `index` of the base.
        factors: of this matrix.
        index: which rows they are.
        base_dtype: what the base is stored as; PiSSA trained on a residual rounded to it.
    """
    if factors.principal is not None:
        principal_b, principal_a = factors.principal
        values = round_to(base_dtype, values - principal_b[index] @ principal_a)
    values += factors.b[index] @ factors.a
    if factors.magnitude is not None:
        lengths = np.linalg.norm(values, axis=1)
        values *= (factors.magnitude[index] / lengths)[:, None]
    return values


def principal_part(weight: FloatArray, rank: int) -> tuple[FloatArray, FloatArray]:
    """Return `(out, rank)` and `(rank, in)` whose product is the best approximation of that rank."""
    left, lengths, right = np.linalg.svd(weight, full_matrices=False)
    return left[:, :rank] * lengths[:rank], right[:rank]


def _wrong_base(reason: str) -> RunError:
    return RunError(
        "RUNTIME_MERGE_EXPORT_FAILED", f"The adapter does not belong to this base model: {reason}."
    )
