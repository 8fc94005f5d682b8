"""Plans a campaign: its legs with rows, replay and rates, and what stands in its way. Creates nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_core import files
from backprop_core.config.campaigns import (
    DEFAULT_SAMPLES,
    CampaignSpec,
    ResolvedCampaign,
    campaign_config_layer,
    campaign_environment_layer,
    campaign_problems,
    resolve_campaign,
)
from backprop_core.config.resolve import FieldProblem, Layer
from backprop_core.config.specs import TrainSpec
from backprop_core.datasets.convert import convert
from backprop_core.datasets.legs import (
    chunk,
    digest_of,
    hold_out,
    learning_rate_of_leg,
    overlap,
    replay_count,
)
from backprop_core.datasets.readers import RowReader
from backprop_core.datasets.rows import Conversation
from backprop_core.errors import BackpropagateError, ConfigError, InputError
from backprop_core.planning.batch import Batch, run_length
from backprop_core.planning.plan import make_plan
from backprop_core.planning.records import Plan
from backprop_core.runs.campaigns import PlannedLeg
from backprop_core.runs.store import RunSource
from backprop_core.services.campaign_rules import adapter_problems, spec_problems
from backprop_core.services.facts import Memo, file_version, gather_facts, problem_at
from backprop_core.services.training import layers_of, misplaced, with_places
from backprop_core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class LegPreview:
    """One leg before Start: the plan of it, and how many rows it will train, replay and hold out."""

    leg: PlannedLeg
    rows: int
    replay_rows: int
    held_out: int
    steps: int


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """What a campaign will do and need.

    Attributes:
        plan: memory, device and derived values, which are the same for every leg; its steps, tokens and
            time are those of the first leg.
        tokens, time_s: over all legs; None where there is no ground for a forecast.
    """

    plan: Plan
    legs: tuple[LegPreview, ...]
    total_steps: int
    tokens: int | None
    time_s: float | None


@dataclass(frozen=True, slots=True)
class CampaignDraft:
    """A campaign on its way: what was asked for, and what the plan makes of it.

    `plan` is None when a value cannot be used at all; `problems` then says which.
    """

    resolved: ResolvedCampaign | None
    plan: CampaignPlan | None
    problems: tuple[FieldProblem, ...]

    @property
    def can_start(self) -> bool:
        """Whether Start would create a campaign."""
        return self.plan is not None and not self.problems


@dataclass(frozen=True, slots=True)
class SourceRows:
    """The usable rows of one data file.

    Attributes:
        digests: one for each usable row, in the file's order.
        is_text: whether they are raw text, of which every token is learned.
    """

    digests: tuple[str, ...]
    is_text: bool


def plan_campaign(
    ws: Workspace, own: Iterable[Layer], *, source: RunSource, memo: Memo | None = None
) -> CampaignDraft:
    """Plan a campaign without creating anything.

    Args:
        own: the values of the face that asks, fields of a run and of the campaign alike; `sources` holds one
            file per leg, or `dataset` the one that is cut into chunks.
        memo: remembers facts between calls; a form keeps one.

    Raises:
        ConfigError: config file or environment hold a value that cannot be used.
    """
    memo = memo or Memo()
    path = ws.home / "config.toml"
    layers = [*layers_of(ws, own), campaign_config_layer(path), campaign_environment_layer()]
    if problems := campaign_problems(layers):
        return CampaignDraft(None, None, tuple(problems))
    resolved = _with_sources(ws, resolve_campaign(layers), source)
    train, spec = resolved.train.spec, resolved.spec
    wrong = [*spec_problems(train, spec, resolved.origins), *adapter_problems(resolved)]
    for data in spec.sources:
        wrong += misplaced(ws, train.model_copy(update={"dataset": data}), source)
    if wrong or not train.dataset:
        missing = [] if train.dataset else [_no_data()]
        return CampaignDraft(resolved, None, _unique([*wrong, *missing]))
    plan, found = _plan_of_legs(ws, resolved, memo)
    if plan is None or found:
        return CampaignDraft(resolved, None, _unique(found))
    legs, found = _legs(resolved, plan, memo)
    return CampaignDraft(resolved, _whole(plan, legs), _unique([*plan.problems, *found]))


def rows_of(path: Path, memo: Memo) -> SourceRows:
    """Return the usable rows of a data file.

    Raises:
        InputError: it cannot be read, or mixes raw text with turns.
    """

    def look() -> SourceRows:
        conversations = [
            found
            for batch in RowReader(path).batches()
            for number, value in batch.rows
            if isinstance(found := convert(value, number), Conversation)
        ]
        is_text = bool(conversations) and conversations[0].text is not None
        return SourceRows(tuple(map(digest_of, conversations)), is_text)

    return memo.get(("legs", str(path), file_version(path)), look)


def preview_legs(
    train: TrainSpec, spec: CampaignSpec, planned: Sequence[PlannedLeg], batch: Batch, memo: Memo
) -> list[LegPreview]:
    """Return the legs with their numbers of rows.

    Raises:
        InputError: INPUT_DATASET_INVALID, a leg has too few rows; CONFIG_INVALID, what is held out of one
            leg stands in another, or the legs are of two kinds.
    """
    found = [rows_of(Path(leg.source), memo) for leg in planned]
    _require_one_kind(planned, found)
    legs = []
    for leg, rows in zip(planned, found, strict=True):
        own = chunk(len(rows.digests), part=leg.part, parts=leg.parts, samples=leg.samples)
        legs.append([rows.digests[index] for index in own])
        if len(own) < (2 if spec.validation else 1):
            raise InputError(
                "INPUT_DATASET_INVALID",
                f"Leg {leg.number} ({leg.name}) has {len(own)} usable rows, too few to learn from"
                + (" and to measure." if spec.validation else "."),
                hint="Use fewer legs, or more data.",
                field="num_runs",
            )
    previews: list[LegPreview] = []
    for leg, digests in zip(planned, legs, strict=True):
        held = hold_out(legs, leg.number, share=train.eval_split, seed=train.seed) if spec.validation else []
        if spec.validation and not held:
            raise overlap(f"Every row of leg {leg.number} ({leg.name}) stands in another leg too")
        rows_count = len(digests) - len(held)
        pools = [preview.rows for preview in previews]
        again = replay_count(rows_count, spec.replay_fraction, pools, spec.replay_strategy)
        counted = train.model_copy(update={"steps": leg.steps, "epochs": leg.epochs})
        steps = run_length(counted, rows_count + again, batch).steps
        previews.append(LegPreview(leg, rows_count, again, len(held), steps))
    return previews


def leg_of(
    number: int, source: str, train: TrainSpec, spec: CampaignSpec, *, samples: int, legs: int
) -> PlannedLeg:
    """Return the plan of a leg that takes its rows from the beginning of `source`."""
    return PlannedLeg(
        number=number,
        name=Path(source).stem[:100],
        source=source,
        sha256=files.sha256_of(Path(source)),
        samples=samples,
        steps=train.steps,
        epochs=train.epochs,
        learning_rate=learning_rate_of_leg(
            number, legs, first=train.learning_rate, final=spec.final_lr, decay=spec.lr_decay
        ),
    )


def _with_sources(ws: Workspace, resolved: ResolvedCampaign, source: RunSource) -> ResolvedCampaign:
    """Make paths absolute; the first leg's data is the data of the run."""
    train, spec = resolved.train, resolved.spec
    if spec.sources:
        absolute = tuple(str(Path(name).expanduser().absolute()) for name in spec.sources)
        changes: dict[str, Any] = {"sources": absolute}
        if len(absolute) > 1 and resolved.origins["num_runs"].source == "default":
            changes["num_runs"] = len(absolute)
        spec = spec.model_copy(update=changes)
        placed = train.spec.model_copy(update={"dataset": absolute[0]})
        train = type(train)(placed, train.origins)
    train = with_places(ws, train, source)
    if not spec.sources and train.spec.dataset:
        spec = spec.model_copy(update={"sources": (train.spec.dataset,)})
    return ResolvedCampaign(train, spec, resolved.origins)


def _plan_of_legs(
    ws: Workspace, resolved: ResolvedCampaign, memo: Memo
) -> tuple[Plan | None, list[FieldProblem]]:
    """Return the plan of one leg on the source with the longest rows, which needs the most memory."""
    train = resolved.train.spec
    # What counts across legs is no option of a single one.
    one = train.model_copy(update={"eval_split": 0.0, "early_stopping": None})
    plans, problems = [], []
    for name in dict.fromkeys(resolved.spec.sources):
        facts, found = gather_facts(ws, one.model_copy(update={"dataset": name}), memo)
        problems += found
        if not found and facts.data is not None:
            plans.append(
                (facts.data.longest_tokens, make_plan(one.model_copy(update={"dataset": name}), facts))
            )
    return (max(plans, key=lambda item: item[0])[1] if plans else None), problems


def _legs(resolved: ResolvedCampaign, plan: Plan, memo: Memo) -> tuple[list[LegPreview], list[FieldProblem]]:
    train, spec = resolved.train.spec, resolved.spec
    samples = train.samples or DEFAULT_SAMPLES
    planned = []
    for number in range(1, spec.num_runs + 1):
        is_cut = len(spec.sources) == 1
        leg = leg_of(
            number,
            spec.sources[0 if is_cut else number - 1],
            train,
            spec,
            samples=samples,
            legs=spec.num_runs,
        )
        if is_cut and spec.num_runs > 1:
            name = f"{leg.name[:80]} {number}/{spec.num_runs}"
            leg = leg.model_copy(update={"name": name, "part": number, "parts": spec.num_runs})
        planned.append(leg)
    batch = Batch(plan.choices.batch_size, plan.choices.gradient_accumulation)
    try:
        legs = preview_legs(train, spec, planned, batch, memo)
    except BackpropagateError as error:
        return [], [problem_at(str(error.details.get("field", "sources")), error)]
    return legs, _short_of_samples(train, legs)


def _short_of_samples(train: TrainSpec, legs: Sequence[LegPreview]) -> list[FieldProblem]:
    """Return that fewer rows are there than were asked for; nobody asked for the default number."""
    least = min(legs, key=lambda leg: leg.rows + leg.held_out)
    there = least.rows + least.held_out
    if train.samples is None or there >= train.samples:
        return []
    message = f"Leg {least.leg.number} ({least.leg.name}) has {there:,} rows, fewer than the {train.samples:,} asked for."
    hint = f"Use --samples {there}, fewer legs, or more data."
    return [FieldProblem("samples", "INPUT_VALIDATION_FAILED", message, hint)]


def _require_one_kind(planned: Sequence[PlannedLeg], found: Sequence[SourceRows]) -> None:
    """Refuse raw text beside turns: their losses cannot stand in one matrix.

    Raises:
        ConfigError: CONFIG_INVALID.
    """
    text = [leg for leg, rows in zip(planned, found, strict=True) if rows.is_text]
    if text and len(text) < len(planned):
        turns = next(leg for leg, rows in zip(planned, found, strict=True) if not rows.is_text)
        raise ConfigError(
            "CONFIG_INVALID",
            f"Leg {text[0].number} ({text[0].name}) is raw text and leg {turns.number} ({turns.name}) is not; "
            "what one forgets cannot be compared with the other.",
            hint="Layouts of turns may be mixed; convert the text with `backprop data convert`.",
            field="sources",
        )


def _whole(plan: Plan, legs: Sequence[LegPreview]) -> CampaignPlan:
    total = sum(leg.steps for leg in legs)
    share = total / plan.steps if plan.steps else 0.0
    return CampaignPlan(
        plan=plan,
        legs=tuple(legs),
        total_steps=total,
        tokens=None if plan.tokens is None else round(plan.tokens * share),
        time_s=None if plan.time_s is None else plan.time_s * share,
    )


def _no_data() -> FieldProblem:
    hint = "Name a file with --data; once for each leg, or once for all of them."
    return FieldProblem("dataset", "INPUT_DATASET_NOT_FOUND", "No data is chosen.", hint)


def _unique(problems: Iterable[FieldProblem]) -> tuple[FieldProblem, ...]:
    return tuple({problem.field: problem for problem in reversed(list(problems))}.values())[::-1]
