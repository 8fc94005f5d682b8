"""The commands over runs that exist: list, show, compare, export, delete. A unique prefix is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.root import command
from backpropagate.cli.steering import AS_JSON, RUN_ID

if TYPE_CHECKING:
    from backprop_core.runs.projection import RunState
    from backprop_core.services.runs import RunDetail
    from backprop_core.workspace import Workspace

KIND = Annotated[
    Literal["all", "train", "multi-run", "export", "download", "eval", "proof", "push"],
    typer.Option("--kind", help="Only training runs (campaigns too), or only jobs of another kind."),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "list-runs", alias="runs")(list_runs)
    command(app, "show-run")(show_run)
    command(app, "diff-runs")(diff_runs)
    command(app, "export-runs")(export_runs)
    command(app, "delete-run")(delete_run)


def list_runs(
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only runs with this status; may repeat.")
    ] = None,
    search: Annotated[
        str, typer.Option("--search", help="Only runs with this text in name, model, data or id.")
    ] = "",
    kind: KIND = "all",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most this many.")] = 20,
    as_json: AS_JSON = False,
) -> None:
    """List the runs of every face, newest first."""
    from backprop_core.services import runs
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json, table, talk
    from backpropagate.cli.run_view import LIST_COLUMNS, LIST_NUMBERS, list_row

    with workspace() as ws:
        wanted = None if kind == "all" else kind
        states = runs.list_runs(ws, statuses=status or (), search=search, kind=wanted, limit=limit)
        total = runs.count_runs(ws, statuses=status or (), search=search, kind=wanted)
    if as_json:
        put_json("runs", [state.model_dump() for state in states])
        return
    if states:
        table(LIST_COLUMNS, [list_row(state) for state in states], numbers=LIST_NUMBERS)
    talk(f"{len(states)} of {total} runs" if states else "no runs")


def show_run(run_id: RUN_ID, as_json: AS_JSON = False) -> None:
    """Show one run: state, settings with their origins, loss, newest events."""
    from backprop_core.services import runs
    from backprop_core.services.chaining import chained
    from backprop_core.services.failure import failure_of
    from backprop_core.services.stalls import stall_of
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json, talk
    from backpropagate.cli.run_view import show_detail

    with workspace() as ws:
        detail = runs.run_detail(ws, run_id)
        if as_json:
            card, next_job = failure_of(ws, run_id), chained(detail.state)
            told = {"failure": card and card.as_json(), "after": next_job and asdict(next_job)}
            put_json("run", {**detail.as_json(), **told})
            return
        run_id = detail.state.run_id
        events = runs.recent_events(ws, run_id, 8)
        show_detail(detail, runs.series(ws, run_id), events, failure_of(ws, run_id))
        if (stall := stall_of(ws, detail.state)) is not None:
            talk(f"warning: {stall.text}")
        if (next_job := chained(detail.state)) is not None:
            talk(f"after this run: {next_job.text}")


def diff_runs(first: RUN_ID, second: RUN_ID, as_json: AS_JSON = False) -> None:
    """Compare the settings and results of two runs; only what differs is shown."""
    from backprop_core.services import runs
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json, shown, table, talk
    from backpropagate.cli.run_view import differences

    with workspace() as ws:
        a, b = runs.run_detail(ws, first), runs.run_detail(ws, second)
    rows = differences(a, b)
    if as_json:
        put_json("differences", {name: [one, other] for name, one, other in rows})
    elif rows:
        columns = ["", a.state.short_id, b.state.short_id]
        table(columns, [[name, shown(one), shown(other)] for name, one, other in rows])
    else:
        talk("the two runs do not differ")


def export_runs(
    file_format: Annotated[
        Literal["jsonl", "csv"], typer.Option("--format", help="One JSON object, or one table row, per run.")
    ] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="Write here, not to standard output."),
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="Only runs with this status; may repeat.")
    ] = None,
    kind: KIND = "all",
) -> None:
    """Write every run with settings and results for other tools."""
    from backprop_core import files
    from backprop_core.services import runs
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import talk
    from backpropagate.cli.run_export import as_csv, as_jsonl

    with workspace() as ws:
        wanted = None if kind == "all" else kind
        states = runs.list_runs(ws, statuses=status or (), kind=wanted, limit=1_000_000)
        details = _details(ws, states)
    text = as_csv(details) if file_format == "csv" else as_jsonl(details)
    if output is None:
        typer.echo(text, nl=False)
        return
    files.write_text(output, text)
    talk(f"{len(details)} runs in {output}")


def _details(ws: Workspace, states: Sequence[RunState]) -> list[RunDetail]:
    """Return everything about the runs; one whose folder is gone is named and left out."""
    from backprop_core.errors import StateError
    from backprop_core.services import runs
    from backpropagate.cli.render import talk

    details = []
    for state in states:
        try:
            details.append(runs.run_detail(ws, state.run_id))
        except StateError as error:
            talk(f"warning: run {state.short_id} is left out: {error.message}")
    return details


def delete_run(
    run_id: RUN_ID,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Move a run that has ended into the trash, with its checkpoints and adapter. A published adapter stays."""
    from backprop_core import units
    from backprop_core.services import runs
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import talk

    with workspace() as ws:
        state = runs.get_run(ws, run_id)
        size = units.file_size(runs.size_bytes(state))
        talk(f"run {state.short_id} {state.name}, {state.status}, {size} in {state.folder}")
        if not yes and not typer.confirm("Delete it?", err=True):
            talk("nothing was deleted")
            return ExitCode.USER
        runs.delete(ws, state.run_id, for_good=True)
    talk(f"run {state.short_id} was deleted; `backprop trash list` shows what can be taken back")
    return ExitCode.OK
