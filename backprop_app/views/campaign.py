"""A campaign in words: how it stands, its legs, what was kept of each, and what Start would do. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from backprop_app.views.forget import Heat, heat, signed
from backprop_app.views.form import FieldView, Option, field_view, flag_words, shown_path
from backprop_app.views.legs import LegTimes, Timeline, timeline
from backprop_app.views.machine import Pair
from backprop_app.views.runs import clock, short_model
from backprop_core import units
from backprop_core.config.campaigns import campaign_fields
from backprop_core.config.schema import train_field
from backprop_core.runs.campaigns import ForgetSummary, Leg
from backprop_core.runs.projection import ACTIVE, RunState
from backprop_core.services.campaign_plan import CampaignPlan, LegPreview
from backprop_core.services.campaigns import Campaign

# On the form in this order: first the legs, then how they are tied together, then how each one learns.
_FORM: Final = (
    "num_runs",
    "steps",
    "samples",
    "merge_mode",
    "replay_fraction",
    "replay_strategy",
    "lr_decay",
    "final_lr",
    "validation",
    "gate",
    "learning_rate",
    "lora_r",
    "batch_size",
    "max_seq_length",
)
_STATES: Final = {"merged": "Merged", "rejected": "Not merged", "waiting": "Waiting", "merging": "Merging"}
_COUNT_WORDS: Final = {1: "One leg", 2: "Two legs", 3: "Three legs", 4: "Four legs", 5: "Five legs"}


@dataclass(frozen=True, slots=True)
class CampaignView:
    """The campaign that is shown; `run_id` is empty when there is none."""

    run_id: str = ""
    short_id: str = ""
    name: str = ""
    status: str = ""
    about: str = ""
    leg_text: str = ""
    phase: str = ""
    loss: str = "–"
    total_steps: int = 0
    has_steps: bool = False
    is_active: bool = False
    is_paused: bool = False
    is_waiting: bool = False
    is_ended: bool = False
    can_resume: bool = False
    can_add: bool = False
    decidable: int = 0
    decided: str = ""
    merges: str = ""
    product: str = ""
    product_path: str = ""
    warning: str = ""
    message: str = ""
    hint: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class CampaignItem:
    """A row of the list of campaigns."""

    run_id: str
    short_id: str
    name: str
    status: str
    about: str
    ended: str
    href: str


@dataclass(frozen=True, slots=True)
class PreviewLeg:
    """What one leg would do; `rate_width` and the shares are CSS percentages of their bars."""

    number: str
    name: str
    rows: str
    replay: str
    held_out: str
    own_share: str
    replay_share: str
    rate: str
    rate_width: str
    steps: str


def campaign_view(state: RunState, campaign: Campaign, smooth_loss: float | None) -> CampaignView:
    """Return what the head of the page and its small parts say."""
    merged = [leg for leg in campaign.legs if leg.status == "merged"]
    error = state.error if state.status in {"failed", "interrupted"} else None
    at_leg = state.leg and state.status in ACTIVE
    product = campaign.product_leg
    return CampaignView(
        run_id=state.run_id,
        short_id=state.short_id,
        name=state.name,
        status=state.status,
        about=_about(state, campaign),
        leg_text=f"Leg {state.leg} of {len(campaign.legs)}" if at_leg else "",
        phase=state.phase,
        loss=units.loss(state.loss if smooth_loss is None else smooth_loss),
        total_steps=max(state.total_steps, state.step),
        has_steps=state.step > 0,
        is_active=state.status in ACTIVE,
        is_paused=state.status == "paused",
        is_waiting=state.status == "queued",
        is_ended=state.is_terminal,
        can_resume=state.status in {"stopped", "failed", "interrupted"},
        can_add=campaign.can_add_leg,
        decidable=campaign.decidable_leg or 0,
        decided=_decided(campaign),
        merges=f"{len(merged)} merge{'' if len(merged) == 1 else 's'}",
        product=f"Merged adapter of leg {product}" if product else "",
        product_path=f"{state.folder}/{state.artifact}" if state.artifact else "",
        warning=_warning(campaign),
        message=error["message"] if error else "",
        hint=error["hint"] if error else "",
        code=error["code"] if error else "",
    )


def legs_view(state: RunState, campaign: Campaign, now: datetime) -> Timeline:
    """Return the lanes of the legs."""
    return timeline([_times(state, leg, now) for leg in campaign.legs], now, is_ended=state.is_terminal)


def heat_view(campaign: Campaign) -> Heat:
    """Return the matrix of the merged adapters, with that of a rejected merge where there is no other."""
    matrix = campaign.matrix
    base = matrix.row(0, "base")
    rows = [matrix.row(leg.number, "merged") or matrix.row(leg.number, "unmerged") for leg in campaign.legs]
    held_out = [leg.held_out for leg in campaign.legs if leg.held_out]
    least = min(held_out, default=0)
    more = " or more" if least != max(held_out, default=0) else ""
    note = f"{units.count(least)} held-out row{'' if least == 1 else 's'}{more} each" if held_out else ""
    return heat(
        matrix.sets, base.loss if base else (), [row.loss if row is not None else None for row in rows], note
    )


def figures(campaign: Campaign) -> list[Pair]:
    """Return average, backward transfer and what was learned, always together; empty before the first merge."""
    found = []
    for summary, name in ((campaign.loss, "held-out loss"), (campaign.exact, "exact answers")):
        if summary is not None:
            found += _figures(summary, name)
    weights = [leg for leg in campaign.legs if leg.weight is not None]
    if weights:
        found.append(Pair(f"Merge weight, leg {weights[-1].number}", f"{weights[-1].weight:.3f}"))
    return found


def campaign_item(state: RunState, now: datetime) -> CampaignItem:
    """Return the row of a campaign."""
    legs = f"{state.legs} leg{'' if state.legs == 1 else 's'}, " if state.legs else ""
    return CampaignItem(
        run_id=state.run_id,
        short_id=state.short_id,
        name=state.name,
        status=state.status,
        about=f"{legs}{short_model(state.model)}",
        ended=clock(datetime.fromisoformat(state.ended_at), now) if state.ended_at else "",
        href=f"/multi-run?run={state.run_id}",
    )


def form_fields(
    draft: Mapping[str, str], rules: Mapping[str, Any], errors: Mapping[str, str], revision: int
) -> list[FieldView]:
    """Return the fields of the form.

    Args:
        draft: the values the user changed.
        rules: the values that hold without them.
        errors: messages by field.
        revision: counts resets, so that an input forgets what was typed.
    """
    own = {field.name: field for field in campaign_fields()}
    return [field_view(own.get(name) or train_field(name), draft, rules, errors, revision) for name in _FORM]


def source_options(chosen: Sequence[str], options: Sequence[Option]) -> list[Option]:
    """Return the chosen data files in their order, named as in the list of files."""
    known = {option.key: option for option in options}
    return [known.get(path, Option(path, path.rpartition("/")[2], "", "")) for path in chosen]


def preview(legs: Sequence[LegPreview]) -> list[PreviewLeg]:
    """Return what each leg would learn and at which rate."""
    most_rows = max((leg.rows + leg.replay_rows for leg in legs), default=1) or 1
    most_rate = max((leg.leg.learning_rate for leg in legs), default=1.0)
    return [
        PreviewLeg(
            number=str(leg.leg.number),
            name=leg.leg.name,
            rows=units.count(leg.rows),
            replay=f"+ {units.count(leg.replay_rows)}" if leg.replay_rows else "",
            held_out=units.count(leg.held_out) if leg.held_out else "–",
            own_share=f"{100 * leg.rows / most_rows:.1f}%",
            replay_share=f"{100 * leg.replay_rows / most_rows:.1f}%",
            rate=units.rate(leg.leg.learning_rate),
            rate_width=f"{100 * leg.leg.learning_rate / most_rate:.1f}%",
            steps=units.count(leg.steps),
        )
        for leg in legs
    ]


def plan_rows(plan: CampaignPlan) -> list[Pair]:
    """Return what the campaign costs."""
    one = plan.plan
    peak = "–" if one.peak_bytes is None else f"about {units.gib(one.peak_bytes)}"
    time = "–" if plan.time_s is None else f"about {units.duration(plan.time_s)}"
    return [
        Pair("Peak memory", peak, f"of {units.gib(one.free_bytes)} free"),
        Pair("Steps", units.count(plan.total_steps), f"over {len(plan.legs)} legs"),
        Pair("Tokens", units.compact(plan.tokens) if plan.tokens else "–"),
        Pair("Time", time),
    ]


def command_twin(draft: Mapping[str, str], sources: Sequence[str]) -> str:
    """Return the flags of the command that starts the same campaign."""
    own = {field.name: field for field in campaign_fields()}
    words = [word for path in sources for word in ("-d", shlex.quote(shown_path(path)))]
    for name, text in draft.items():
        words += flag_words(own.get(name) or train_field(name), text)
    return " ".join(words)


def _decided(campaign: Campaign) -> str:
    """Return how the merge of the newest leg stands: `merged`, `rejected`, or nothing to decide."""
    if campaign.decidable_leg is None:
        return ""
    return campaign.legs[campaign.decidable_leg - 1].status


def _about(state: RunState, campaign: Campaign) -> str:
    number = len(campaign.legs)
    words = _COUNT_WORDS.get(number, f"{number} legs")
    rank = f", rank {state.lora_r}" if state.lora_r else ""
    return f"{words}, one after another, merged into one adapter. {short_model(state.model)}{rank}."


def _times(state: RunState, leg: Leg, now: datetime) -> LegTimes:
    is_here = leg.status in {"training", "merging"}
    steps_s = leg.steps * state.step_s if leg.steps and state.step_s else None
    done = max(0, state.step - (leg.first_step or 0)) if is_here else 0
    status: str = leg.status
    text = _STATES.get(leg.status, "")
    if leg.status == "training":
        text = f"Step {units.count(done)} of {units.count(leg.steps or 0)}"
    if is_here and state.is_terminal:
        status, text = (
            ("failed", "Failed") if state.status == "failed" else ("held", state.status.capitalize())
        )
    elif is_here:
        status = "running"
    end = leg.ended_at or (_ended(state) if is_here and state.is_terminal else None)
    share = min(1.0, done / leg.steps) if is_here and leg.steps else 0.0
    return LegTimes(leg.name, status, text, _local(leg.began_at, now), _local(end, now), steps_s, share)


def _ended(state: RunState) -> datetime | None:
    return datetime.fromisoformat(state.ended_at) if state.ended_at else None


def _local(moment: datetime | None, now: datetime) -> datetime | None:
    return moment.astimezone(now.tzinfo) if moment else None


def _figures(summary: ForgetSummary, name: str) -> list[Pair]:
    def shown(value: float) -> str:
        return f"{-value:.3f}" if summary.measure == "loss" else f"{100 * value:.0f}{units.NBSP}%"

    backward = summary.backward
    kept = "–" if backward is None else signed(backward, 3)
    if backward is not None and summary.measure == "exact":
        kept = f"{signed(100 * backward, 0)}{units.NBSP}points"
    return [
        Pair("Average now", shown(summary.average), name),
        Pair("Learned, right after each leg", shown(summary.learned), name),
        Pair("Backward transfer", kept, "below zero is forgotten"),
    ]


def _warning(campaign: Campaign) -> str:
    """Return which earlier leg has lost most since it was taught, when any has."""
    measured = [row for row in campaign.matrix.rows if row.adapter == "merged"]
    if len(measured) < 2:
        return ""
    last, own = measured[-1], {row.leg: row for row in measured}
    lost = [
        (now - then, campaign.matrix.sets[leg - 1])
        for leg, row in own.items()
        if leg != last.leg
        and (now := last.loss[leg - 1]) is not None
        and (then := row.loss[leg - 1]) is not None
    ]
    worst, name = max(lost, default=(0.0, ""))
    return f"{name} is {worst:.2f} worse than right after it was taught." if worst >= 0.005 else ""
