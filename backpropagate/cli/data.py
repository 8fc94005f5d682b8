"""`backprop validate` and `backprop data report`: what a model would learn from a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.services.data_report import FileReport

FILE = Annotated[Path, typer.Argument(metavar="FILE", help="The data file.")]
MODEL = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Count tokens as this model does. Default: the model of the settings."
    ),
]
LENGTH = Annotated[int, typer.Option("--max-seq-length", min=8, help="Tokens kept of a row.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "validate")(validate)
    group = typer.Typer(help="Training data: what is in a file.", no_args_is_help=True)
    command(group, "report")(report)
    app.add_typer(group, name="data")


def validate(file: FILE, model: MODEL = None, max_seq_length: LENGTH = 2048, as_json: AS_JSON = False) -> int:
    """Check every row of a file; exit code 1 when one cannot be used."""
    return _report(file, model, max_seq_length, strict=True, as_json=as_json)


def report(
    file: FILE,
    model: MODEL = None,
    max_seq_length: LENGTH = 2048,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 when a row cannot be used.")] = False,
    as_json: AS_JSON = False,
) -> int:
    """Show format, rows, tokens, and each row that cannot be used with its reason."""
    return _report(file, model, max_seq_length, strict=strict, as_json=as_json)


def _report(file: Path, model: str | None, max_seq_length: int, *, strict: bool, as_json: bool) -> int:
    from backprop_core.services.data_report import report_file
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json

    with workspace() as ws:
        found = report_file(ws, file, model, max_seq_length=max_seq_length)
    if as_json:
        put_json("report", dataclasses.asdict(found))
    else:
        _show(found)
    return ExitCode.USER if strict and found.n_problems else ExitCode.OK


def _show(found: FileReport) -> None:
    from backprop_core import units
    from backpropagate.cli.render import pairs, put, table, talk

    facts = {
        "File": found.file,
        "Format": f"{found.layout}, {found.reason}",
        "Rows": f"{units.count(found.rows)}, {units.count(found.usable_rows)} usable",
    }
    tokens = found.tokens
    if tokens is not None:
        about = "about " if tokens.is_estimate else ""
        facts |= {
            "Tokens": f"{about}{units.count(tokens.tokens_total)}, {tokens.share_with_loss:.0%} carry loss",
            "Length": f"half below {tokens.p50}, 95 % below {tokens.p95}, longest {tokens.longest_tokens}",
            "Cut": f"{units.count(tokens.truncated_rows)} rows",
        }
    pairs(facts)
    if tokens is None:
        talk(f"tokens are counted once {found.model} is here: `backprop models download {found.model}`")
    if found.problems:
        put()
        table(("ROW", "PROBLEM", "REASON"), [(str(p.row), str(p.code), p.reason) for p in found.problems])
    if found.n_problems > len(found.problems):
        talk(f"and {units.count(found.n_problems - len(found.problems))} more")
