"""Shows a plan: what a run would do, need and derive, and what stands in its way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from backprop_core import units
from backprop_core.errors import ExitCode
from backpropagate.cli.render import bar, pairs, put, put_json, table, talk

if TYPE_CHECKING:
    from backprop_core.planning.records import MemoryPart, Plan
    from backprop_core.services.campaign_plan import CampaignDraft, CampaignPlan
    from backprop_core.services.training import Draft


def show_draft(draft: Draft, *, as_json: bool) -> ExitCode:
    """Print the plan of a draft.

    Raises:
        BackpropagateError: the first problem, when the run could not start; the others are printed.
    """
    from backprop_core.services.training import error_of

    if as_json:
        put_json("plan", _as_json(draft))
    elif draft.plan is not None:
        _show(draft.plan)
    for problem in draft.problems[1:]:
        talk(f"[{problem.code}]: {problem.message}")
    if draft.problems:
        raise error_of(draft.problems[0])
    return ExitCode.OK


def show_campaign(draft: CampaignDraft, *, as_json: bool) -> ExitCode:
    """Print the plan of a campaign; raises as `show_draft` does."""
    from backprop_core.services.training import error_of

    if as_json:
        put_json("campaign_plan", _campaign_json(draft))
    elif draft.plan is not None:
        _show(draft.plan.plan)
        put()
        _show_legs(draft.plan)
    for problem in draft.problems[1:]:
        talk(f"[{problem.code}]: {problem.message}")
    if draft.problems:
        raise error_of(draft.problems[0])
    return ExitCode.OK


def _show_legs(plan: CampaignPlan) -> None:
    rows = [
        [
            str(item.leg.number),
            item.leg.name,
            units.count(item.rows),
            units.count(item.replay_rows),
            units.count(item.held_out),
            units.count(item.steps),
            units.rate(item.leg.learning_rate),
        ]
        for item in plan.legs
    ]
    columns = ["Leg", "Data", "Rows", "Replayed", "Held out", "Steps", "Rate"]
    table(columns, rows, numbers=["Leg", "Rows", "Replayed", "Held out", "Steps", "Rate"])
    time = f", {units.duration(plan.time_s)} by forecast" if plan.time_s else ""
    put(f"{units.count(plan.total_steps)} steps in {len(plan.legs)} legs{time}")


def _campaign_json(draft: CampaignDraft) -> dict[str, Any]:
    plan, resolved = draft.plan, draft.resolved
    return {
        "can_start": draft.can_start,
        "problems": [dataclasses.asdict(problem) for problem in draft.problems],
        "spec": None if resolved is None else resolved.train.spec.model_dump(),
        "campaign": None if resolved is None else resolved.spec.model_dump(),
        "plan": None if plan is None else dataclasses.asdict(plan.plan),
        "total_steps": None if plan is None else plan.total_steps,
        "legs": []
        if plan is None
        else [{**dataclasses.asdict(item), "leg": item.leg.model_dump()} for item in plan.legs],
    }


def _show(plan: Plan) -> None:
    pairs(_figures(plan))
    if plan.components:
        put()
        show_components(plan.components)
    put()
    derived = [[item.label, f"{item.value}  {item.aside}".rstrip(), item.reason] for item in plan.derived]
    table(["Derived", "Value", "Why"], derived)
    if plan.suggestion is not None:
        talk(f"suggestion: {plan.suggestion.text}")


def show_components(components: Sequence[MemoryPart]) -> None:
    """Print the parts of a memory peak with their shares."""
    peak = max(sum(part.bytes for part in components), 1)
    rows = [[part.label, units.gib(part.bytes), bar(part.bytes / peak)] for part in components]
    table(["Memory", "Peak", ""], rows, numbers=["Peak"])


def _figures(plan: Plan) -> dict[str, str]:
    figures = {"Device": f"{plan.device_name} ({plan.device}, {plan.precision})"}
    figures["Steps"] = units.count(plan.steps) + (f", {plan.epochs:.2g} epochs" if plan.epochs else "")
    if plan.tokens is not None:
        about = "about " if plan.tokens_are_estimate else ""
        share = f", {plan.supervised_share:.0%} carry loss" if plan.supervised_share is not None else ""
        figures["Tokens"] = f"{about}{units.count(plan.tokens)}{share}"
    if plan.peak_bytes is not None:
        error = f" ± {units.gib(plan.peak_error_bytes)}" if plan.peak_error_bytes else ""
        fits = {True: "fits", False: "does not fit", None: ""}[plan.fits]
        figures["Memory"] = (
            f"{units.gib(plan.peak_bytes)}{error} of {units.gib(plan.free_bytes)} free, {fits}"
        )
    figures["Time"] = (
        f"{units.duration(plan.time_s)}, {plan.time_source}"
        if plan.time_s is not None
        else "known after the first steps"
    )
    if plan.disk_bytes is not None:
        free = f" of {units.file_size(plan.disk_free_bytes)} free" if plan.disk_free_bytes is not None else ""
        figures["Disk"] = f"{units.file_size(plan.disk_bytes)}{free}"
    if plan.download_bytes:
        figures["Download"] = units.file_size(plan.download_bytes)
    return figures


def _as_json(draft: Draft) -> dict[str, Any]:
    return {
        "can_start": draft.can_start,
        "problems": [dataclasses.asdict(problem) for problem in draft.problems],
        "spec": draft.resolved.spec.model_dump() if draft.resolved else None,
        "plan": dataclasses.asdict(draft.plan) if draft.plan else None,
    }
