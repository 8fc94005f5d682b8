"""The plan of a run: what it will do and need, each derived value with its reason, before it starts.

Pure: the caller looks the facts up. `effective_spec` is the spec with every derived value written in.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from backprop_core.config.resolve import FieldProblem
from backprop_core.config.specs import TrainSpec, alpha_for_rank
from backprop_core.planning.batch import Batch, Length, candidate_batches, choose_checkpoint_every, run_length
from backprop_core.planning.ceiling import full_mode_problem
from backprop_core.planning.device import choose_device, choose_precision, device_problems
from backprop_core.planning.disk import disk_problems, run_disk_bytes
from backprop_core.planning.explain import explain
from backprop_core.planning.fit import Case, Fit, best_fit, choose_optim
from backprop_core.planning.problems import data_problems, memory_problems, method_problems, model_problems
from backprop_core.planning.rank import RANKS, RankChoice, choose_rank
from backprop_core.planning.records import (
    Choices,
    DeviceKind,
    MachineFacts,
    Plan,
    PlanFacts,
    Precision,
    Suggestion,
)
from backprop_core.planning.suggest import suggest
from backprop_core.planning.time import TimeEstimate, estimate_time


def make_plan(spec: TrainSpec, facts: PlanFacts) -> Plan:
    """Work out what the run does and needs on this machine.

    A model whose shape is unknown gives a plan without a forecast; the other parts stand.
    """
    place = _place(spec, facts.machine)
    held = _hold(spec, facts, place)
    fit = held.fit
    batch = fit.batch if fit is not None else _unknown_batch(spec, facts)
    length = run_length(spec, _rows(facts), batch)
    choices = _choices(spec, place.device, held, batch, length)
    amounts = _amounts(facts, length)
    time = _time(facts, place, fit, length, amounts.tokens)
    disk = _disk(facts, choices, fit)
    problems = _problems(spec, facts, fit, place.free_bytes, disk)
    return Plan(
        device=place.device,
        device_name=place.name,
        precision=place.precision,
        components=fit.forecast.parts if fit is not None else (),
        peak_bytes=fit.forecast.peak_bytes if fit is not None else None,
        peak_error_bytes=fit.forecast.error_bytes if fit is not None else None,
        peak_source=fit.forecast.source if fit is not None else "known once the model's config is here",
        comparable_bytes=fit.forecast.comparable_bytes if fit is not None else None,
        free_bytes=place.free_bytes,
        fits=fit.forecast.peak_bytes <= place.free_bytes if fit is not None else None,
        steps=length.steps,
        epochs=length.epochs,
        rows=amounts.rows,
        tokens=amounts.tokens,
        supervised_tokens=amounts.supervised_tokens,
        supervised_share=amounts.supervised_share,
        tokens_are_estimate=amounts.is_estimate,
        time_s=time.seconds,
        time_source=time.source,
        disk_bytes=disk,
        disk_free_bytes=facts.disk_free_bytes,
        download_bytes=facts.model.download_bytes,
        trainable_parameters=fit.load.trainable_parameters if fit is not None else None,
        choices=choices,
        derived=explain(
            spec, facts, device_name=place.name, choices=choices, case=held.case, rank=held.rank, fit=fit
        ),
        suggestion=_suggestion(facts, held, problems),
        problems=tuple(problems),
    )


def effective_spec(spec: TrainSpec, plan: Plan) -> TrainSpec:
    """Return the spec with the plan's choices in place of every "auto" that the planner decides."""
    return TrainSpec.model_validate({**spec.model_dump(), **dataclasses.asdict(plan.choices)})


def device_name(spec: TrainSpec, machine: MachineFacts) -> str:
    """Return the name of the device that `spec` takes on `machine`, as `Plan.device_name` has it."""
    return _place(spec, machine).name


@dataclass(frozen=True, slots=True)
class _Place:
    """The device as the plan shows it."""

    device: DeviceKind
    name: str
    precision: Precision
    free_bytes: int


def _place(spec: TrainSpec, machine: MachineFacts) -> _Place:
    device = choose_device(spec, machine)
    if device == "cuda":
        gpu = machine.gpu
        if gpu is None:
            return _Place("cuda", "no CUDA card", "bf16", 0)
        return _Place("cuda", gpu.name, choose_precision(has_bf16=gpu.has_bf16), gpu.free_bytes)
    cores = f"{machine.cpu_cores} core" + ("s" if machine.cpu_cores != 1 else "")
    precision = choose_precision(has_bf16=machine.cpu_has_bf16)
    return _Place("cpu", f"processor, {cores}", precision, machine.ram_free_bytes)


@dataclass(frozen=True, slots=True)
class _Held:
    """The rank and how the run is held; without a shape only the rank is known."""

    case: Case | None
    rank: RankChoice
    fit: Fit | None


def _hold(spec: TrainSpec, facts: PlanFacts, place: _Place) -> _Held:
    """Choose rank, weights, recompute and batch; without a shape only the rank that was asked for."""
    shape = facts.model.shape
    if shape is None or not shape.targets(spec.target_modules):
        r = RANKS[0] if spec.lora_r == "auto" else spec.lora_r
        return _Held(None, RankChoice(r, covers=True), None)
    case = Case(spec, shape, facts.data, place.device, place.precision, place.free_bytes, facts.calibration)
    if spec.lora_r == "auto":
        supervised = facts.data.supervised_tokens if facts.data is not None else 0
        rank = choose_rank(shape, supervised, spec.target_modules, lambda r: best_fit(case, r).fits)
    else:
        rank = RankChoice(spec.lora_r, covers=True)
    return _Held(case, rank, best_fit(case, rank.r))


def _unknown_batch(spec: TrainSpec, facts: PlanFacts) -> Batch:
    return candidate_batches(spec, _rows(facts))[-1]


def _choices(spec: TrainSpec, device: DeviceKind, held: _Held, batch: Batch, length: Length) -> Choices:
    rank, fit = held.rank, held.fit
    recompute = spec.gradient_checkpointing == "on" if fit is None else fit.load.recompute
    unknown_weights = "none" if spec.quantization == "auto" else spec.quantization
    return Choices(
        lora_r=rank.r,
        lora_alpha=alpha_for_rank(rank.r) if spec.lora_alpha == "auto" else spec.lora_alpha,
        batch_size=batch.micro,
        gradient_accumulation=batch.accumulation,
        quantization=unknown_weights if fit is None else fit.load.quantization,
        optim=choose_optim(spec, device),
        gradient_checkpointing="on" if recompute else "off",
        device=device,
        checkpoint_every=choose_checkpoint_every(spec, length.steps),
        steps=length.steps,
    )


def _rows(facts: PlanFacts) -> int | None:
    return facts.data.usable_rows if facts.data is not None else None


@dataclass(frozen=True, slots=True)
class _Amounts:
    """Rows, tokens and their share with loss over the whole run; None where the data is unknown."""

    rows: int | None = None
    tokens: int | None = None
    supervised_tokens: int | None = None
    supervised_share: float | None = None
    is_estimate: bool = False


def _amounts(facts: PlanFacts, length: Length) -> _Amounts:
    data = facts.data
    if data is None or not data.usable_rows or length.epochs is None:
        return _Amounts()
    return _Amounts(
        rows=round(length.epochs * data.usable_rows),
        tokens=round(length.epochs * data.tokens),
        supervised_tokens=round(length.epochs * data.supervised_tokens),
        supervised_share=data.supervised_tokens / data.tokens if data.tokens else None,
        is_estimate=data.is_estimate,
    )


def _time(
    facts: PlanFacts, place: _Place, fit: Fit | None, length: Length, tokens: int | None
) -> TimeEstimate:
    if fit is None:
        return TimeEstimate(None, "known once the model's config is here")
    return estimate_time(
        fit.load,
        tokens=tokens,
        steps=length.steps,
        device_name=place.name,
        cpu_cores=facts.machine.cpu_cores,
        speed=facts.speed,
    )


def _disk(facts: PlanFacts, choices: Choices, fit: Fit | None) -> int | None:
    if fit is None:
        return None
    written = run_disk_bytes(
        fit.load.trainable_parameters,
        weight_bytes=fit.load.learning_width,
        has_8bit_optimizer=choices.optim != "adamw_torch",
        checkpoints=max(1, choices.steps // choices.checkpoint_every),
    )
    return written + (facts.model.download_bytes or 0)


def _suggestion(facts: PlanFacts, held: _Held, problems: list[FieldProblem]) -> Suggestion | None:
    """Return the change to offer; none while the device itself is what is missing."""
    if held.case is None or held.fit is None or not _has_device(problems):
        return None
    return suggest(held.case, facts, held.fit)


def _has_device(problems: list[FieldProblem]) -> bool:
    return all(problem.code != "DEP_GPU_NOT_AVAILABLE" for problem in problems)


def _full_mode_problems(
    spec: TrainSpec, facts: PlanFacts, fit: Fit | None, free_bytes: int
) -> list[FieldProblem]:
    if spec.mode != "full" or facts.model.shape is None:
        return []
    peak = fit.forecast.peak_bytes if fit is not None else None
    problem = full_mode_problem(facts.model.name, facts.model.shape, peak, free_bytes)
    return [] if problem is None else [problem]


def _problems(
    spec: TrainSpec, facts: PlanFacts, fit: Fit | None, free_bytes: int, disk_bytes: int | None
) -> list[FieldProblem]:
    found = [
        *data_problems(spec, facts.data),
        *model_problems(spec, facts.model),
        *method_problems(spec),
        *device_problems(spec, facts.machine, facts.model),
        *disk_problems(disk_bytes or 0, facts.disk_free_bytes, facts.disk_total_bytes),
        *_full_mode_problems(spec, facts, fit, free_bytes),
    ]
    # Without a usable device its memory means nothing; full mode has a gate of its own.
    if _has_device(found) and fit is not None and spec.mode == "lora":
        found += memory_problems(fit, free_bytes)
    return found
