"""`backprop data convert|fetch|split|dedupe|filter|sample|order`: new versions of a file, which stays as it is."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.datasets.operations import Operation

FILE = Annotated[Path, typer.Argument(metavar="FILE", help="The data file; it is not changed.")]
OUTPUT = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        dir_okay=False,
        help="The new file, which must not exist. Default: the next version beside FILE.",
        show_default=False,
    ),
]
SEED = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same rows.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def _column(name: str, help_text: str) -> Any:
    return typer.Option(f"--{name}-column", metavar="COLUMN", help=f"{help_text}.", show_default=False)


def fetch_progress(repo: str) -> Callable[[int], None]:
    """Return what tells, at most once a second, how many rows of a data set are here."""
    from backprop_core import units
    from backpropagate.cli.render import talk

    told_at = time.monotonic()

    def on_rows(rows: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= 1:
            told_at = time.monotonic()
            talk(f"{repo}: {units.count(rows)} rows")

    return on_rows


def add_to(group: typer.Typer) -> None:
    """Add the commands of this file to `backprop data`."""
    command(group, "convert")(convert)
    command(group, "fetch")(fetch)
    command(group, "split")(split)
    command(group, "dedupe")(dedupe)
    command(group, "filter")(filter_rows)
    command(group, "sample")(sample)
    command(group, "order")(order)


def convert(
    file: FILE,
    to: Annotated[
        Literal["openai", "sharegpt", "csv"], typer.Option("--to", help="Format of the new file.")
    ] = "openai",
    prompt: Annotated[str, _column("prompt", "Column of what the user says")] = "",
    completion: Annotated[str, _column("completion", "Column of what the assistant answers")] = "",
    system: Annotated[str, _column("system", "Column of the system turn")] = "",
    text: Annotated[str, _column("text", "Column of raw text")] = "",
    chat: Annotated[str, _column("chat", "Column of a list of turns")] = "",
    output: OUTPUT = None,
    as_json: AS_JSON = False,
) -> None:
    """Write every usable row in one format; columns can be named where their names say nothing."""
    values = {
        "to": to,
        "prompt": prompt,
        "completion": completion,
        "system": system,
        "text": text,
        "chat": chat,
    }
    _make(file, [("convert", values, output)], as_json=as_json)


def fetch(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Data set of the hub.")],
    split: Annotated[str, typer.Option("--split", help="Which split.")] = "train",
    config: Annotated[
        str, typer.Option("--config", help="Which configuration.", show_default="the only one")
    ] = "",
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Take so many rows.", show_default="all")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", dir_okay=False, help="The new file.", show_default="OWNER--NAME-SPLIT.jsonl"
        ),
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Fetch a data set of the hub into a file."""
    from backprop_core import units
    from backprop_core.datasets.hub_rows import HubSource
    from backprop_core.services import data_fetch
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put, put_json, talk

    source = HubSource(repo, split, config or None, limit=rows)
    with workspace() as ws:
        made = data_fetch.fetch(
            ws, source, output or Path(data_fetch.file_name(source)), fetch_progress(repo)
        )
    if as_json:
        put_json("versions", [dataclasses.asdict(made)])
        return
    put(str(made.path))
    talk(f"{units.count(made.recipe.rows if made.recipe else 0)} rows in {made.path.name}")


def split(
    file: FILE,
    share: Annotated[
        float, typer.Option("--share", help="Share that is held out, above 0 and below 1.")
    ] = 0.1,
    seed: SEED = 0,
    output: OUTPUT = None,
    heldout: Annotated[
        Path | None,
        typer.Option(
            "--heldout",
            dir_okay=False,
            help="File of the held-out rows, which must not exist. Default: the version after the next.",
            show_default=False,
        ),
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Write two files: rows to train on, and rows held out. Rows with the same question stay together."""
    values = {"share": share, "seed": seed}
    parts = [
        ("split", {**values, "part": "train"}, output),
        ("split", {**values, "part": "heldout"}, heldout),
    ]
    _make(file, parts, as_json=as_json)


def dedupe(
    file: FILE,
    near: Annotated[
        bool | None,
        typer.Option(
            "--near/--exact",
            help="Drop nearly equal rows too, or only equal ones. Default: near, where the validation extra is installed.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Likeness from which rows are nearly equal, 0.5 to 1.")
    ] = 0.8,
    output: OUTPUT = None,
    as_json: AS_JSON = False,
) -> None:
    """Keep the first of equal rows, and of nearly equal ones."""
    from backprop_core.datasets.duplicates import can_find_near
    from backpropagate.cli.render import talk

    if near is None and not can_find_near():
        talk(
            "only equal rows are looked for; pip install 'backpropagate[validation]' finds nearly equal ones"
        )
    values = {"near": can_find_near() if near is None else near, "threshold": threshold}
    _make(file, [("dedupe", values, output)], as_json=as_json)


def filter_rows(
    file: FILE,
    min_chars: Annotated[int, typer.Option("--min-chars", min=0, help="Least characters of a row.")] = 0,
    max_chars: Annotated[
        int | None, typer.Option("--max-chars", min=0, help="Most characters of a row.")
    ] = None,
    min_turns: Annotated[int, typer.Option("--min-turns", min=0, help="Least turns of a row.")] = 0,
    max_turns: Annotated[int | None, typer.Option("--max-turns", min=0, help="Most turns of a row.")] = None,
    matching: Annotated[
        str, typer.Option("--matching", metavar="REGEX", help="Keep rows in which this occurs.")
    ] = "",
    not_matching: Annotated[
        str, typer.Option("--not-matching", metavar="REGEX", help="Drop rows in which this occurs.")
    ] = "",
    usable_only: Annotated[
        bool,
        typer.Option("--usable-only/--keep-unusable", help="Drop or keep rows that cannot be trained on."),
    ] = True,
    output: OUTPUT = None,
    as_json: AS_JSON = False,
) -> None:
    """Keep the rows that meet every condition."""
    values = {
        "min_chars": min_chars,
        "max_chars": max_chars,
        "min_turns": min_turns,
        "max_turns": max_turns,
        "matching": matching,
        "not_matching": not_matching,
        "usable_only": usable_only,
    }
    _make(file, [("filter", values, output)], as_json=as_json)


def sample(
    file: FILE,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows to keep.")],
    seed: SEED = 0,
    output: OUTPUT = None,
    as_json: AS_JSON = False,
) -> None:
    """Keep some rows, chosen by a fixed seed, in their order."""
    _make(file, [("sample", {"rows": rows, "seed": seed}, output)], as_json=as_json)


def order(
    file: FILE,
    by: Annotated[
        Literal["short_first", "long_first"], typer.Option("--by", help="Which rows come first.")
    ] = "short_first",
    output: OUTPUT = None,
    as_json: AS_JSON = False,
) -> None:
    """Order the rows by length: a curriculum that teaches easy rows first."""
    _make(file, [("curriculum", {"order": by}, output)], as_json=as_json)


def _make(file: Path, steps: Sequence[tuple[str, dict[str, Any], Path | None]], *, as_json: bool) -> None:
    """Run operations on one file, each into its own target, and print what was made."""
    from backprop_core import units
    from backprop_core.datasets.operations import operation_from
    from backprop_core.services.own_data import make_versions
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put, put_json, talk

    # Every value is checked before the first file is written.
    operations: list[tuple[Operation, Path | None]] = [
        (operation_from(name, values), target) for name, values, target in steps
    ]
    with workspace() as ws:
        made = make_versions(ws, file, operations)
    if as_json:
        put_json("versions", [dataclasses.asdict(version) for version in made])
        return
    for version in made:
        put(str(version.path))
        rows = version.recipe.rows if version.recipe is not None else 0
        talk(f"{units.count(rows)} rows in {version.path.name}")
