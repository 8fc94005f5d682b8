"""`backprop train`: submits a run like the page does, and follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from backprop_core.config.schema import train_field
from backprop_core.errors import InputError
from backpropagate.cli.options import given_values, with_schema
from backpropagate.cli.root import command


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "train")(train)


@with_schema
def train(
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="RUN_ID", help="Let this run go on instead; it keeps its own settings."
        ),
    ] = None,
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
    from backprop_core.services import data_fetch, training
    from backpropagate.cli.data_versions import fetch_progress
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.plan import show_draft
    from backpropagate.cli.steering import resume_and_follow
    from backpropagate.cli.submitted import follow_submitted

    given = given_values(fields)
    with workspace() as ws:
        if resume is not None:
            _require_alone(given, dry_run=dry_run)
            return resume_and_follow(ws, resume, detach=detach, as_json=as_json)
        if given.get("dataset"):
            data = given["dataset"]
            given["dataset"] = data_fetch.local_data(ws, data, fetch_progress(data), may_fetch=not dry_run)
        layer = Layer("flag", given)
        if dry_run:
            return show_draft(training.draft(ws, [layer], source="cli"), as_json=as_json)
        started = training.start(ws, [layer], source="cli")
        return follow_submitted(ws, started.run_id, detach=detach, as_json=as_json)


def _require_alone(given: Mapping[str, Any], *, dry_run: bool) -> None:
    """Refuse what would change a run that goes on.

    Raises:
        InputError: INPUT_VALIDATION_FAILED with the first flag that cannot be given.
    """
    flags = [train_field(name).flag.split("/")[0] for name in given]
    if dry_run:
        flags.append("--dry-run")
    if flags:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"A run that goes on keeps its settings; {flags[0]} cannot be given with --resume.",
            hint="`backprop replay RUN_ID --override FIELD=VALUE` starts a new run with other settings.",
        )
