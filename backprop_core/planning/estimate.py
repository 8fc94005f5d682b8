"""The memory of a fine-tune from the model's sizes alone: by component, the largest batch, and on which cards.

Pure, and without data: every row is taken to be as long as the run's length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from backprop_core.config.resolve import FieldProblem
from backprop_core.config.specs import TrainSpec
from backprop_core.planning.batch import Batch
from backprop_core.planning.fit import Case, best_fit
from backprop_core.planning.model_shape import ModelShape
from backprop_core.planning.plan import make_plan
from backprop_core.planning.records import DeviceKind, MemoryPart, Plan, PlanFacts, Precision, Quantization
from backprop_core.planning.vram import forecast
from backprop_core.units import GIB

# Memory of the cards that people train on at home.
CARDS_GIB: Final = (8, 12, 16, 24, 32)
# Beyond this a larger micro-batch changes nothing that anybody could measure.
LARGEST_BATCH: Final = 1024


@dataclass(frozen=True, slots=True)
class CardFit:
    """How the same run would lie on an empty card.

    Attributes:
        peak_bytes: of the way that is taken there; the least possible when nothing fits.
        largest_batch: rows of the full length in one micro-batch; 0 when not even one fits.
    """

    card_gib: int
    fits: bool
    peak_bytes: int
    quantization: Quantization
    recomputes: bool
    largest_batch: int


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What a fine-tune needs on this machine, and on cards of other sizes.

    Attributes:
        is_exact: False when the model's family is not known and was read like a Llama.
        lora_r: None in full mode.
        batch_size: rows of the micro-batch that the components belong to.
        largest_batch: rows of the full length in one micro-batch; 0 when not even one fits,
            `LARGEST_BATCH` when more would change nothing.
        cards: empty when the run is meant for the processor.
        problems: why this machine cannot do it.
    """

    model: str
    parameters: int
    is_exact: bool
    lora_r: int | None
    trainable_parameters: int
    max_seq_length: int
    device: DeviceKind
    device_name: str
    precision: Precision
    quantization: Quantization
    optim: str
    recomputes: bool
    batch_size: int
    components: tuple[MemoryPart, ...]
    peak_bytes: int
    peak_error_bytes: int
    peak_source: str
    free_bytes: int
    fits: bool
    largest_batch: int
    cards: tuple[CardFit, ...]
    problems: tuple[FieldProblem, ...]


def estimate_memory(spec: TrainSpec, facts: PlanFacts) -> MemoryEstimate | None:
    """Return what `spec` needs; None when the model's shape is unknown or no layer would learn.

    Args:
        facts: the machine and the model; data counts as unknown.
    """
    plan = make_plan(spec, replace(facts, data=None))
    shape = facts.model.shape
    if shape is None or plan.peak_bytes is None or plan.trainable_parameters is None:
        return None
    choices = plan.choices
    here = Case(spec, shape, None, plan.device, plan.precision, plan.free_bytes, facts.calibration)
    return MemoryEstimate(
        model=facts.model.name,
        parameters=shape.total_parameters,
        is_exact=shape.is_exact,
        lora_r=None if spec.mode == "full" else choices.lora_r,
        trainable_parameters=plan.trainable_parameters,
        max_seq_length=spec.max_seq_length,
        device=plan.device,
        device_name=plan.device_name,
        precision=plan.precision,
        quantization=choices.quantization,
        optim=choices.optim,
        recomputes=choices.gradient_checkpointing == "on",
        batch_size=choices.batch_size,
        components=plan.components,
        peak_bytes=plan.peak_bytes,
        peak_error_bytes=plan.peak_error_bytes or 0,
        peak_source=plan.peak_source,
        free_bytes=plan.free_bytes,
        fits=bool(plan.fits),
        largest_batch=largest_batch(here, choices.lora_r, choices.quantization),
        cards=() if spec.device == "cpu" else tuple(_cards(spec, shape, choices.lora_r)),
        problems=_problems(plan),
    )


def largest_batch(case: Case, r: int, quantization: Quantization) -> int:
    """Return how many rows of the full length one micro-batch may hold, activations recomputed if allowed."""
    recompute = case.spec.gradient_checkpointing != "off"

    def fits(rows: int) -> bool:
        load = case.load(r, Batch(rows, 1), quantization, recompute=recompute)
        return forecast(load, case.calibration).peak_bytes <= case.usable_bytes

    known, unknown = 0, LARGEST_BATCH + 1
    while unknown - known > 1:
        middle = (known + unknown) // 2
        known, unknown = (middle, unknown) if fits(middle) else (known, middle)
    return known


def _cards(spec: TrainSpec, shape: ModelShape, r: int) -> list[CardFit]:
    found = []
    for card_gib in CARDS_GIB:
        case = Case(spec, shape, None, "cuda", "bf16", card_gib * GIB, None)
        fit = best_fit(case, r)
        quantization = fit.load.quantization
        found.append(
            CardFit(
                card_gib=card_gib,
                fits=fit.fits,
                peak_bytes=fit.forecast.peak_bytes,
                quantization=quantization,
                recomputes=fit.load.recompute,
                largest_batch=largest_batch(case, r, quantization),
            )
        )
    return found


def _problems(plan: Plan) -> tuple[FieldProblem, ...]:
    """Return what keeps this machine from it; data, disk and memory are not asked for here."""
    fields = {"device", "quantization", "optim", "mode", "max_seq_length", "packing"}
    return tuple(problem for problem in plan.problems if problem.field in fields)
