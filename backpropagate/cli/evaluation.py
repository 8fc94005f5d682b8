"""`backprop eval`: whether a run helped, against its base or another run, on held-out rows."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.config.evaluations import Evaluation, Interval

_VERDICTS: Final = {"gain": "it helped", "none": "no evidence of gain", "worse": "it made things worse"}
_FLIPS_SHOWN: Final = 5


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "eval")(evaluate)


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN_ID", show_default=False, help="The run to judge.")],
    versus: Annotated[
        str, typer.Option("--vs", metavar="base|RUN_ID", help="What it is compared with.")
    ] = "base",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            help="A held-out file. Default: the rows that the run held out.",
            show_default=False,
        ),
    ] = None,
    regex: Annotated[
        str | None,
        typer.Option("--regex", help="What must be the same in answer and reply.", show_default=False),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, max=2000, help="At most so many rows.")] = 128,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Compare a run with its base, or another run, on rows that it never saw.

    Loss, perplexity and right replies, with 95 % intervals by a paired bootstrap over the rows.
    """
    from backprop_core.services import evaluations
    from backprop_core.services.evaluations import EvalRequest
    from backpropagate.cli.follow import follow_own
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json, talk

    with workspace() as ws:
        request = EvalRequest(run, versus, data, regex, rows)
        job = evaluations.start(ws, request, face="cli", start_key=str(uuid.uuid4()))
        talk(f"eval_started run_id={job}")
        code = follow_own(ws, job)
        found = evaluations.result(ws, job)
    if found is None:
        return code
    if as_json:
        put_json("evaluation", found.model_dump(mode="json"))
    else:
        _show(found)
    return ExitCode.OK


def _show(found: Evaluation) -> None:
    from backprop_core import units
    from backpropagate.cli.render import put, table, talk

    rows = [
        ["loss", units.loss(found.before_loss), units.loss(found.after_loss), _interval(found.loss_gain)],
        ["perplexity", f"{found.before_perplexity:.2f}", f"{found.after_perplexity:.2f}", ""],
    ]
    if found.own_gain is not None:
        rows.append(["own answers", "", "", _interval(found.own_gain)])
    for part in found.measures:
        rows.append([f"{part.name} match", f"{part.before:.0%}", f"{part.after:.0%}", _interval(part.gain)])
    table(("", found.before.upper(), found.after.upper(), "GAIN (95 %)"), rows)
    put(f"{found.rows} rows of {found.data}: {found.better} better, {found.worse} worse")
    for flip in found.flips[:_FLIPS_SHOWN]:
        talk(f"row {flip.row} {'is right now' if flip.is_fixed else 'is wrong now'}: {flip.question[:80]}")
    put(f"{_VERDICTS[found.verdict]}: {found.cause}")
    talk(found.method)


def _interval(gain: Interval) -> str:
    return f"{gain.value:+.3f}  [{gain.low:+.3f}, {gain.high:+.3f}]"
