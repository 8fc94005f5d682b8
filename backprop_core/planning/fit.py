"""The search for a way to hold a run on the device: weights, recompute and micro-batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from backprop_core.config.specs import TrainSpec
from backprop_core.planning.batch import Batch, choose_batch, micro_batch_tokens
from backprop_core.planning.load import TrainingLoad
from backprop_core.planning.model_shape import ModelShape
from backprop_core.planning.records import (
    Calibration,
    DataFacts,
    DeviceKind,
    Optimizer,
    Precision,
    Quantization,
)
from backprop_core.planning.vram import Forecast, forecast

# Share of the free memory that a derived value may fill; the rest is for what the forecast misses.
_USABLE: Final = {"cuda": 0.95, "cpu": 0.90}


@dataclass(frozen=True, slots=True)
class Case:
    """What a run is to hold and where, before rank, weights, recompute and batch are chosen."""

    spec: TrainSpec
    shape: ModelShape
    data: DataFacts | None
    device: DeviceKind
    precision: Precision
    free_bytes: int
    calibration: Calibration | None

    @property
    def usable_bytes(self) -> int:
        """The memory that derived values may fill."""
        return int(self.free_bytes * _USABLE[self.device])

    def load(self, r: int, batch: Batch, quantization: Quantization, *, recompute: bool) -> TrainingLoad:
        """Return the load of the largest micro-batch that the run will meet."""
        row_tokens = self.spec.max_seq_length
        share = 1.0
        if self.data is not None and self.data.tokens:
            row_tokens = max(1, min(row_tokens, self.data.longest_tokens))
            share = self.data.supervised_tokens / self.data.tokens
        tokens = self._micro_tokens(batch, row_tokens)
        return TrainingLoad(
            shape=self.shape,
            device=self.device,
            precision=self.precision,
            quantization=quantization,
            optim=choose_optim(self.spec, self.device),
            lora_r=None if self.spec.mode == "full" else r,
            target_modules=self.spec.target_modules,
            use_dora=self.spec.use_dora,
            tokens=tokens,
            row_tokens=row_tokens,
            supervised_tokens=round(tokens * share),
            recompute=recompute,
        )

    def _micro_tokens(self, batch: Batch, row_tokens: int) -> int:
        """Return the tokens of the largest micro-batch: packed to its limit, or of its rows alone.

        A recurrent layer cannot tell documents apart in one long row, so rows are padded there.
        """
        if self.shape.recurrent_channels:
            return batch.micro * row_tokens
        if not self.spec.packing:
            return _largest_sum(self.data, batch.micro, row_tokens)
        limit = micro_batch_tokens(self.device, batch.micro, row_tokens)
        if _is_uniform(self.data, row_tokens):
            limit -= limit % row_tokens
        return min(limit, _largest_sum(self.data, batch.effective, row_tokens))


def _is_uniform(data: DataFacts | None, row_tokens: int) -> bool:
    """Return whether all rows are about as long as the longest, so that only whole ones fill a bin."""
    return data is not None and data.tokens >= 0.9 * row_tokens * data.usable_rows


def _largest_sum(data: DataFacts | None, rows: int, row_tokens: int) -> int:
    """Return the most tokens that `rows` rows of a run hold together.

    One row as long as the longest, the others half way between the mean and the length that 19 of 20
    stay below: rows are drawn at random, so that long rows alone do not come together. A row comes once
    in each pass over the data.
    """
    if data is None or not data.tokens:
        return rows * row_tokens
    mean = data.tokens / max(1, data.usable_rows)
    others = (mean + max(mean, min(data.p95_tokens, row_tokens))) / 2
    passes = math.ceil(rows / max(1, data.usable_rows))
    return min(rows * row_tokens, passes * data.tokens, round(row_tokens + (rows - 1) * others))


@dataclass(frozen=True, slots=True)
class Fit:
    """One way to hold the run; `fits` says whether it lies within the usable memory."""

    load: TrainingLoad
    batch: Batch
    forecast: Forecast
    fits: bool


def choose_optim(spec: TrainSpec, device: DeviceKind) -> Optimizer:
    """Return the optimizer: 8-bit states on CUDA, paged in full mode, unless the spec names one."""
    if spec.optim != "auto":
        return spec.optim
    if device == "cpu":
        return "adamw_torch"
    return "paged_adamw_8bit" if spec.mode == "full" else "adamw_8bit"


def best_fit(case: Case, r: int) -> Fit:
    """Return the fastest way that fits at rank `r`; when none does, the one that needs least.

    Tried in order: weights unquantized before 4-bit, activations kept before recomputed, and
    with each the largest micro-batch.
    """
    tried: list[Fit] = []
    for quantization, recompute in _ways(case):
        fit = _with_largest_batch(case, r, quantization, recompute=recompute)
        if fit.fits:
            return fit
        tried.append(fit)
    return min(tried, key=lambda fit: fit.forecast.peak_bytes)


def smallest(case: Case, r: int, quantization: Quantization) -> Forecast:
    """Return the least that a quantization can need: one row at a time, activations recomputed."""
    recompute = case.spec.gradient_checkpointing != "off"
    return forecast(case.load(r, Batch(1, 1), quantization, recompute=recompute), case.calibration)


def without_recompute(case: Case, fit: Fit) -> Forecast:
    """Return what the same run needs when it keeps its activations."""
    return forecast(replace(fit.load, recompute=False), case.calibration)


def _ways(case: Case) -> Iterator[tuple[Quantization, bool]]:
    for quantization in _quantizations(case):
        for recompute in _recomputes(case):
            yield quantization, recompute


def _quantizations(case: Case) -> tuple[Quantization, ...]:
    if case.spec.mode == "full" or case.spec.init_lora_weights == "pissa":
        return ("none",)
    if case.spec.quantization != "auto":
        return (case.spec.quantization,)
    return ("none", "4bit") if case.device == "cuda" else ("none",)


def _recomputes(case: Case) -> tuple[bool, ...]:
    return {"auto": (False, True), "on": (True,), "off": (False,)}[case.spec.gradient_checkpointing]


def _with_largest_batch(case: Case, r: int, quantization: Quantization, *, recompute: bool) -> Fit:
    def needed(batch: Batch) -> Forecast:
        return forecast(case.load(r, batch, quantization, recompute=recompute), case.calibration)

    rows = case.data.usable_rows if case.data is not None else None
    batch = choose_batch(case.spec, rows, lambda batch: needed(batch).peak_bytes <= case.usable_bytes)
    result = needed(batch)
    load = case.load(r, batch, quantization, recompute=recompute)
    return Fit(load, batch, result, result.peak_bytes <= case.usable_bytes)
