"""What a model would learn from a file: every row checked, tokens counted when the model is here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backprop_core.config.resolve import config_layer, environment_layer, resolve_train
from backprop_core.datasets.report import DatasetSummary, inspect, inspect_structure
from backprop_core.datasets.review import DataReview, review
from backprop_core.datasets.rows import RowProblem
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.services.facts import model_folder
from backprop_core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class FileReport:
    """A data file.

    Attributes:
        model: whose tokens were counted, or would be.
        tokens: None when the model is not on this machine.
        review: duplicates, leaks, secrets and verdict, when they were asked for and the model is here.
        problems: the first rows that cannot be used; `n_problems` counts all.
    """

    file: str
    layout: str
    confidence: float
    reason: str
    rows: int
    usable_rows: int
    n_problems: int
    problems: tuple[RowProblem, ...]
    model: str
    tokens: DatasetSummary | None
    review: DataReview | None = None


def report_file(
    ws: Workspace,
    path: Path,
    model: str | None,
    *,
    max_seq_length: int,
    is_full: bool = False,
    heldout: Path | None = None,
) -> FileReport:
    """Read a whole data file once.

    Args:
        model: the base model; the one of the settings when None.
        is_full: whether duplicates, leaks and secrets are looked for and a verdict is given.
        heldout: a file whose rows must not be among those of `path`.

    Raises:
        InputError: the file cannot be read, no row can be used, or no such model can be.
    """
    name = model or model_of_settings(ws)
    folder = model_folder(ws, name)
    if folder is None:
        return _without_tokens(path, name)
    tokenizer = ChatTokenizer.load(folder)
    found = review(path, tokenizer, max_seq_length, heldout=heldout) if is_full else None
    summary = inspect(path, tokenizer, max_seq_length) if found is None else found.summary
    return FileReport(
        file=str(path),
        layout=str(summary.layout),
        confidence=summary.confidence,
        reason=summary.reason,
        rows=summary.rows,
        usable_rows=summary.usable_rows,
        n_problems=summary.n_problems,
        problems=summary.problems,
        model=name,
        tokens=summary,
        review=found,
    )


def _without_tokens(path: Path, name: str) -> FileReport:
    found = inspect_structure(path)
    return FileReport(
        file=str(path),
        layout=str(found.layout),
        confidence=found.confidence,
        reason=found.reason,
        rows=found.rows,
        usable_rows=found.usable_rows,
        n_problems=found.n_problems,
        problems=found.problems,
        model=name,
        tokens=None,
    )


def model_of_settings(ws: Workspace) -> str:
    """Return the base model that a run takes when nobody names one."""
    return resolve_train([config_layer(ws.home / "config.toml"), environment_layer()]).spec.model
