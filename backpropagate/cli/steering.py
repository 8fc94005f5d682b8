"""What is asked of a run that exists: watch, stop, pause, unpause, resume, replay. A unique prefix is enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from backprop_core.errors import InputError
from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.runs.projection import RunState
    from backprop_core.workspace import Workspace

RUN_ID = Annotated[str, typer.Argument(metavar="RUN_ID", help="Id of the run; a unique beginning is enough.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
DETACH = Annotated[bool, typer.Option("--detach", help="Submit only; print the run's id and return.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "watch")(watch)
    command(app, "stop")(stop)
    command(app, "pause")(pause)
    command(app, "unpause")(unpause)
    command(app, "resume")(resume)
    command(app, "replay")(replay)


def watch(run_id: RUN_ID) -> int:
    """Follow a run until it ends. Ctrl-C ends the watching, not the run."""
    from backprop_core.services import runs
    from backpropagate.cli.follow import follow_other
    from backpropagate.cli.opening import workspace

    with workspace() as ws:
        return follow_other(ws, runs.get_run(ws, run_id).run_id)


def stop(
    run_id: RUN_ID,
    force: Annotated[
        bool, typer.Option("--force", help="End the process at once; nothing is saved.")
    ] = False,
    as_json: AS_JSON = False,
) -> None:
    """Ask a run to stop at its next step, with what it learned saved."""
    from backprop_core.services import runs
    from backpropagate.cli.opening import workspace

    with workspace() as ws:
        state = runs.kill(ws, run_id) if force else runs.stop(ws, run_id)
    short = state.short_id
    if state.is_terminal:
        line = f"run {short} is {state.status}"
    elif force:
        line = f"run {short} was ended"
    else:
        line = f"run {short} was asked to stop; `backprop watch {short}` follows it"
    _answer(state, line, as_json=as_json)


def pause(run_id: RUN_ID, as_json: AS_JSON = False) -> None:
    """Ask a training run to wait after its current step; it keeps its memory and its place on the card."""
    from backprop_core.services import runs
    from backpropagate.cli.opening import workspace

    with workspace() as ws:
        state = runs.pause(ws, run_id)
    line = f"run {state.short_id} was asked to pause; `backprop unpause {state.short_id}` lets it go on"
    _answer(state, line, as_json=as_json)


def unpause(run_id: RUN_ID, as_json: AS_JSON = False) -> None:
    """Let a paused run go on."""
    from backprop_core.services import runs
    from backpropagate.cli.opening import workspace

    with workspace() as ws:
        state = runs.unpause(ws, run_id)
    line = f"run {state.short_id} was asked to go on; `backprop watch {state.short_id}` follows it"
    _answer(state, line, as_json=as_json)


def resume(run_id: RUN_ID, detach: DETACH = False, as_json: AS_JSON = False) -> int:
    """Let a run that ended early go on where it stood, from its newest whole checkpoint, and follow it.

    Ctrl-C once stops it at the next step, twice ends it at once.
    """
    from backpropagate.cli.opening import workspace

    with workspace() as ws:
        return resume_and_follow(ws, run_id, detach=detach, as_json=as_json)


def resume_and_follow(ws: Workspace, run_id: str, *, detach: bool, as_json: bool) -> int:
    """Queue a run that ended early again and, unless detached, follow its next attempt.

    Raises:
        BackpropagateError: it cannot go on, or its next attempt failed.
    """
    from backprop_core.services import runs
    from backpropagate.cli.submitted import follow_submitted

    offset = runs.journal_size(ws, run_id)
    state = runs.resume(ws, run_id)
    return follow_submitted(ws, state.run_id, detach=detach, as_json=as_json, offset=offset)


def replay(
    run_id: RUN_ID,
    override: Annotated[
        list[str] | None,
        typer.Option("--override", metavar="FIELD=VALUE", help="Take another value for a field; may repeat."),
    ] = None,
    detach: DETACH = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan; create nothing.", show_default=False)
    ] = False,
    as_json: AS_JSON = False,
) -> int:
    """Start a new run with the settings of an old one.

    Without an override every value stays as the old run had it. With one, the values that were worked
    out for the old run are worked out anew.
    """
    from backprop_core.services import replaying, runs, training
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.plan import show_draft
    from backpropagate.cli.render import talk
    from backpropagate.cli.submitted import follow_submitted

    changes = _overrides(override or [])
    with workspace() as ws:
        detail = runs.run_detail(ws, run_id)
        layers = replaying.replay_layers(detail, changes, source="cli")
        if (change := replaying.data_change(detail, changes)) is not None:
            talk(f"warning: {change}")
        if dry_run:
            return show_draft(training.draft(ws, layers, source="cli"), as_json=as_json)
        started = training.start(ws, layers, source="cli")
        return follow_submitted(ws, started.run_id, detach=detach, as_json=as_json)


def _overrides(words: list[str]) -> Mapping[str, str]:
    """Return the fields that `FIELD=VALUE` words name; a field goes by its name or by its flag.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, a word without a field or a value.
    """
    from backprop_core.config.schema import train_fields

    names = {field.flag.split("/")[0].removeprefix("--"): field.name for field in train_fields()}
    found: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key.strip():
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                f"--override takes FIELD=VALUE, not {word[:80]!r}.",
                hint="For example `--override learning_rate=1e-4`.",
            )
        key = key.strip().removeprefix("--")
        found[names.get(key, key.replace("-", "_"))] = value
    return found


def _answer(state: RunState, line: str, *, as_json: bool) -> None:
    from backpropagate.cli.render import put_json, talk

    talk(line)
    if as_json:
        put_json("run", state.model_dump())
