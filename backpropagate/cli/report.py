"""`report`: what the runs of the night came to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backpropagate.cli.root import command
from backpropagate.cli.steering import AS_JSON

if TYPE_CHECKING:
    from backprop_core.services.report import RunReport


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    command(app, "report")(report)


def report(
    since: Annotated[
        str, typer.Option("--since", metavar="12h|last", help="A span before now, or the newest night.")
    ] = "last",
    as_json: AS_JSON = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report as an HTML file.")
    ] = None,
) -> None:
    """Tell what the runs that ended came to: outcome, loss, halts, energy, next steps."""
    from backprop_core import files
    from backprop_core.services.report import energy_text, morning_report
    from backprop_core.services.report_page import html_report
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put, put_json, talk

    with workspace() as ws:
        found = morning_report(ws, since)
    if html is not None:
        files.write_text(html, html_report(found))
        talk(f"the report is {html}")
    if as_json:
        put_json("report", found.as_json())
    elif html is None:
        put(found.headline)
        for run in found.runs:
            _show(run)
        put(f"\nEnergy of all runs: {energy_text(found.energy_wh)}")


def _show(run: RunReport) -> None:
    from backprop_core import units
    from backprop_core.services.report import energy_text
    from backpropagate.cli.render import pairs, put

    put(f"\n{run.name}  {run.short_id}  {run.status}")
    best = f", lowest {units.loss(run.best_loss)} in step {units.count(run.best_step)}"
    facts = {
        "  Steps": f"{units.count(run.step)} of {units.count(run.total_steps)}" if run.total_steps else "",
        "  Loss": units.loss(run.loss) + best if run.best_loss is not None else "",
        "  Curve": units.sparkline(run.curve),
        "  Time": units.duration(run.seconds),
        "  Energy": energy_text(run.energy_wh),
    }
    pairs({name: value for name, value in facts.items() if value})
    for stop in run.stops:
        put(f"  {stop}")
    if run.error is not None:
        put(f"  [{run.error['code']}]: {run.error['message']}")
        put(f"  hint: {run.error['hint']}")
    for step in run.next_steps:
        put(f"  {step.label}: {step.command}")
