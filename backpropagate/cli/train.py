"""`backprop train`: submits a run like the page does, and follows it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.options import given_values, with_schema
from backpropagate.cli.root import command


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "train")(train)


@with_schema
def train(
    detach: Annotated[
        bool, typer.Option("--detach", help="Submit only; print the run's id and return.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan; create nothing.", show_default=False)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print plan or result as JSON on standard output.")
    ] = False,
    **fields: Any,
) -> int:
    """Fine-tune a model on your data.

    Ctrl-C once stops the run at the next step with what it learned saved, twice ends it at once.
    """
    from backprop_core.config.resolve import Layer
    from backprop_core.services import runs, training
    from backpropagate.cli.follow import follow_own
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.plan import show_draft
    from backpropagate.cli.render import put, put_json, talk

    layer = Layer("flag", given_values(fields))
    with workspace() as ws:
        if dry_run:
            return show_draft(training.draft(ws, [layer], source="cli"), as_json=as_json)
        started = training.start(ws, [layer], source="cli")
        talk(f"run_started run_id={started.run_id}")
        if detach:
            put_json("run", {"run_id": started.run_id}) if as_json else put(started.run_id)
            return ExitCode.OK
        code = follow_own(ws, started.run_id)
        state = runs.get_run(ws, started.run_id)
        if as_json:
            put_json("run", runs.run_detail(ws, started.run_id).as_json())
        elif state.artifact:
            put(str(started.folder.info().publish_to or started.folder.path / state.artifact))
        return code
