"""`backprop multi-run`: a campaign over data that comes week after week. Submits, follows, shows and extends it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backprop_core import units
from backprop_core.errors import InputError
from backpropagate.cli.options import given_values, with_campaign
from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.runs.campaigns import ForgetSummary
    from backprop_core.runs.projection import RunState
    from backprop_core.services.campaigns import Campaign
    from backprop_core.workspace import Workspace

_DEFAULT_OUTPUT: Final = "./output"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "multi-run")(multi_run)


@with_campaign
def multi_run(
    data: Annotated[
        list[str] | None,
        typer.Option("--data", "-d", metavar="FILE", help="Data file; repeat it to give each leg its own."),
    ] = None,
    add_leg: Annotated[
        str | None,
        typer.Option(
            "--add-leg", metavar="RUN_ID", help="Let this finished campaign learn --data as one more leg."
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="RUN_ID", help="Let this campaign go on; it keeps its own settings."
        ),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            "--show", metavar="RUN_ID", help="Show legs and forgetting of this campaign; starts nothing."
        ),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option("--accept", metavar="RUN_ID", help="Accept the newest merge of this campaign."),
    ] = None,
    reject: Annotated[
        str | None,
        typer.Option(
            "--reject", metavar="RUN_ID", help="Go back to what the campaign was before its newest leg."
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Submit only; print the run's id and return.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show plan and legs; create nothing.", show_default=False)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print plan or result as JSON on standard output.")
    ] = False,
    **fields: Any,
) -> int:
    """Learn new data leg after leg into one adapter, and measure what each leg makes it forget.

    Steps and rows count for one leg. A campaign in the output folder that ended early goes on; name a
    fresh folder with --output to begin another. Ctrl-C once stops it at the next step, twice ends it at once.
    """
    from backprop_core.config.resolve import Layer
    from backprop_core.services import campaigns, runs
    from backprop_core.services.campaign_plan import plan_campaign
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.plan import show_campaign

    given = given_values(fields)
    if data:
        given["sources"] = tuple(data)
    with workspace() as ws:
        if show is not None:
            return show_result(campaigns.read_campaign(ws, show), as_json=as_json)
        if accept is not None or reject is not None:
            return _decide(ws, accept or reject or "", accept=accept is not None, as_json=as_json)
        if resume is not None:
            return _go_on(ws, runs.get_run(ws, resume), given, detach=detach, as_json=as_json)
        if add_leg is not None:
            state = _with_leg(ws, add_leg, data or [], given)
            return _follow(ws, state.run_id, detach=detach, as_json=as_json)
        layer = Layer("flag", given)
        if dry_run:
            return show_campaign(plan_campaign(ws, [layer], source="cli"), as_json=as_json)
        output = Path(given.get("output_dir", _DEFAULT_OUTPUT))
        if (unfinished := campaigns.unfinished_in(ws, output)) is not None:
            return _go_on(ws, unfinished, given, detach=detach, as_json=as_json)
        started = campaigns.start_campaign(ws, [layer], source="cli")
        return _follow(ws, started.run_id, detach=detach, as_json=as_json)


def show_result(campaign: Campaign, *, as_json: bool) -> int:
    """Print legs, matrix and the figures of forgetting."""
    from backpropagate.cli.render import put, put_json, table

    if as_json:
        put_json("campaign", campaign.as_json())
        return 0
    rows = [
        [
            str(leg.number),
            leg.name,
            leg.status + (" *" if leg.number == campaign.product_leg else ""),
            units.count(leg.rows) if leg.rows else "–",
            units.count(leg.steps) if leg.steps else "–",
            f"{leg.weight:.3g}" if leg.weight else "–",
        ]
        for leg in campaign.legs
    ]
    table(
        ["Leg", "Data", "Status", "Rows", "Steps", "Weight"], rows, numbers=["Leg", "Rows", "Steps", "Weight"]
    )
    if campaign.matrix.rows:
        put()
        columns = [f"leg {number}" for number in range(1, len(campaign.matrix.sets) + 1)]
        scores = [
            [
                "base" if row.adapter == "base" else f"after {row.leg}, {row.adapter}",
                *(units.loss(loss) for loss in row.loss),
                *([""] * (len(columns) - len(row.loss))),
            ]
            for row in campaign.matrix.rows
        ]
        table(["Held-out loss", *columns], scores, numbers=columns)
    for summary in (campaign.loss, campaign.exact):
        if summary is not None:
            put(_figures(summary))
    return 0


def _figures(summary: ForgetSummary) -> str:
    """Return the three figures, which only mean something together."""
    if summary.measure == "loss":
        backward = "–" if summary.backward is None else f"{-summary.backward:+.3f}"
        return (
            f"held-out loss {-summary.average:.3f} on average, {backward} since each leg was learned, "
            f"{-summary.learned:.3f} right after"
        )
    backward = "–" if summary.backward is None else f"{100 * summary.backward:+.1f} points"
    return (
        f"exact answers {summary.average:.1%} on average, {backward} since each leg was learned, "
        f"{summary.learned:.1%} right after"
    )


def _follow(ws: Workspace, run_id: str, *, detach: bool, as_json: bool, offset: int = 0) -> int:
    from backprop_core.services import campaigns
    from backpropagate.cli.submitted import follow_submitted

    code = follow_submitted(ws, run_id, detach=detach, as_json=as_json, offset=offset)
    campaign = campaigns.read_campaign(ws, run_id)
    if not detach and not as_json and campaign.product_leg is not None:
        _talk_figures(campaign)
    return code


def _talk_figures(campaign: Campaign) -> None:
    from backpropagate.cli.render import talk

    for summary in (campaign.loss, campaign.exact):
        if summary is not None:
            talk(_figures(summary))


def _go_on(ws: Workspace, state: RunState, given: Mapping[str, Any], *, detach: bool, as_json: bool) -> int:
    from backprop_core.services import campaigns, runs
    from backpropagate.cli.render import talk

    campaigns.require_same_campaign(state, given)
    talk(f"campaign {state.short_id} goes on; a fresh --output begins another")
    offset = runs.journal_size(ws, state.run_id)
    runs.resume(ws, state.run_id)
    return _follow(ws, state.run_id, detach=detach, as_json=as_json, offset=offset)


def _with_leg(ws: Workspace, run_id: str, data: list[str], given: Mapping[str, Any]) -> RunState:
    """Add a leg to a campaign and return it, queued.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, an option is given that no single leg has.
    """
    from backprop_core.services import campaigns

    allowed = {"samples", "steps", "learning_rate", "sources"}
    if odd := sorted(set(given) - allowed):
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"A campaign keeps its settings; {odd[0]} cannot be given with --add-leg.",
            hint="--data, --samples, --steps and --lr may be given.",
        )
    if len(data) != 1:
        raise InputError("INPUT_VALIDATION_FAILED", "--add-leg takes exactly one --data.")
    own = {name: value for name, value in given.items() if name != "sources"}
    return campaigns.add_leg(ws, run_id, data[0], source="cli", **own)


def _decide(ws: Workspace, run_id: str, *, accept: bool, as_json: bool) -> int:
    """Accept or reject the newest merge and show how the campaign stands now.

    Raises:
        StateError: STATE_RUN_NOT_ACTIVE, there is none to decide on.
    """
    from backprop_core.services import campaigns

    campaign = campaigns.read_campaign(ws, run_id)
    newest = campaign.legs[-1].number
    return show_result(campaigns.decide_merge(ws, run_id, newest, accept=accept), as_json=as_json)
