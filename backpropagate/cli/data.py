"""`backprop validate` and `backprop data report|preview`: what a model would learn from a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli import data_versions
from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.datasets.preview import ShownRow, ShownToken
    from backprop_core.datasets.review import DataReview
    from backprop_core.services.data_report import FileReport
    from backprop_core.services.datasets import RowsPage

FILE = Annotated[Path, typer.Argument(metavar="FILE", help="The data file.")]
MODEL = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Count tokens as this model does. Default: the model of the settings."
    ),
]
LENGTH = Annotated[int, typer.Option("--max-seq-length", min=8, help="Tokens kept of a row.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

# What stands around tokens of a kind, so that nothing is said by colour alone.
_MARKS: Final = {"loss": ("⟦", "⟧"), "cut": ("⟪", "⟫"), "context": ("", "")}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "validate")(validate)
    group = typer.Typer(
        help="Training data: what is in a file, and new versions of it.", no_args_is_help=True
    )
    command(group, "report")(report)
    command(group, "preview")(preview)
    data_versions.add_to(group)
    app.add_typer(group, name="data")


def validate(file: FILE, model: MODEL = None, max_seq_length: LENGTH = 2048, as_json: AS_JSON = False) -> int:
    """Check every row of a file; exit code 1 when one cannot be used."""
    from backprop_core.services.data_report import report_file
    from backpropagate.cli.opening import workspace

    with workspace() as ws:
        found = report_file(ws, file, model, max_seq_length=max_seq_length)
    return _answer(found, strict=True, as_json=as_json)


def report(
    file: FILE,
    model: MODEL = None,
    max_seq_length: LENGTH = 2048,
    heldout: Annotated[
        Path | None,
        typer.Option(
            "--heldout", help="A file whose rows must not be among those of FILE.", show_default=False
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", dir_okay=False, help="Also write the report as a page to this file.", show_default=False
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 when a row cannot be used or the verdict is fail.")
    ] = False,
    as_json: AS_JSON = False,
) -> int:
    """Show rows, tokens, duplicates, leaks, keys in the text, and a verdict with its reasons."""
    from backprop_core import files
    from backprop_core.datasets.review_html import to_html
    from backprop_core.services.data_report import report_file
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import talk

    with workspace() as ws:
        found = report_file(ws, file, model, max_seq_length=max_seq_length, is_full=True, heldout=heldout)
    if html is not None and found.review is not None:
        files.write_text(html, to_html(found.review))
        talk(f"the report is also in {html}")
    return _answer(found, strict=strict, as_json=as_json)


def preview(
    file: FILE,
    model: MODEL = None,
    max_seq_length: LENGTH = 2048,
    rows: Annotated[int, typer.Option("--rows", min=1, max=1000, help="How many rows to show.")] = 3,
    skip: Annotated[int, typer.Option("--skip", min=0, help="Rows to pass over.")] = 0,
    train_on_responses: Annotated[
        bool, typer.Option("--train-on-responses/--no-train-on-responses", help="Loss on answers only.")
    ] = True,
    as_json: AS_JSON = False,
) -> None:
    """Show rows as the model sees them, with every token that carries loss."""
    from backprop_core.services.data_report import model_of_settings
    from backprop_core.services.datasets import DataChoices
    from backprop_core.services.own_data import preview_rows
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json

    with workspace() as ws:
        name = model or model_of_settings(ws)
        choices = DataChoices(name, max_seq_length, train_on_responses)
        page = preview_rows(ws, file, choices, skip=skip, count=rows)
    if as_json:
        put_json("preview", dataclasses.asdict(page))
    else:
        _show_rows(page, name)


def _answer(found: FileReport, *, strict: bool, as_json: bool) -> int:
    from backpropagate.cli.render import put_json

    if as_json:
        review = found.review.to_json() if found.review is not None else None
        put_json("report", {**dataclasses.asdict(dataclasses.replace(found, review=None)), "review": review})
    else:
        _show(found)
    fails = found.review is not None and found.review.verdict.level == "fail"
    return ExitCode.USER if strict and (found.n_problems or fails) else ExitCode.OK


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
    if found.review is not None:
        facts |= _review_facts(found.review)
    pairs(facts)
    if found.review is not None:
        for reason in found.review.verdict.reasons:
            put(f"  {reason.level}: {reason.sentence}")
    if tokens is None:
        talk(f"tokens are counted once {found.model} is here: `backprop models download {found.model}`")
    if found.problems:
        put()
        table(("ROW", "PROBLEM", "REASON"), [(str(p.row), str(p.code), p.reason) for p in found.problems])
    if found.n_problems > len(found.problems):
        talk(f"and {units.count(found.n_problems - len(found.problems))} more")


def _review_facts(review: DataReview) -> dict[str, str]:
    from backprop_core import units

    near = review.duplicates.near_rows
    facts = {
        "Lengths": f"{units.sparkline(review.histogram.counts)}  0 to {units.count(review.histogram.edges[-1])} tokens",
        "Repeats": f"{units.count(review.duplicates.exact_rows)} equal rows, "
        + ("nearly equal ones not looked for" if near is None else f"{units.count(near)} nearly equal"),
        "Keys": f"{units.count(review.secrets.rows)} rows hold what looks like a key",
    }
    if review.leaks is not None:
        facts["Leaks"] = f"{units.count(review.leaks.rows)} rows are also held out"
    return facts | {"Verdict": review.verdict.level}


def _show_rows(page: RowsPage, model: str) -> None:
    from backpropagate.cli.render import put, talk

    for row in page.rows:
        put(_heading(row, has_tokens=page.has_tokens))
        for line in _body(row).splitlines():
            put(f"  {line}")
        put()
    if page.has_tokens:
        talk("⟦…⟧ carries loss, ⟪…⟫ is cut off; the rest is only read")
    else:
        talk(f"tokens are shown once {model} is here: `backprop models download {model}`")


def _heading(row: ShownRow, *, has_tokens: bool) -> str:
    if row.problem is not None:
        return f"row {row.row}: {row.problem.reason}"
    if not has_tokens:
        return f"row {row.row}"
    cut = f", {row.n_cut} cut off" if row.n_cut else ""
    return f"row {row.row}: {len(row.tokens)} tokens, {row.n_loss} carry loss{cut}"


def _body(row: ShownRow) -> str:
    if row.tokens:
        return marked(row.tokens)
    if row.text is not None:
        return row.text
    return "\n".join(f"{message.role}: {message.content}" for message in row.messages)


def marked(tokens: Iterable[ShownToken]) -> str:
    """Return the text of a row with marks around the tokens that carry loss or are cut off."""
    parts = []
    for kind, run in groupby(tokens, key=lambda token: token.kind):
        left, right = _MARKS[kind]
        parts.append(f"{left}{''.join(token.text for token in run)}{right}")
    return "".join(parts)
