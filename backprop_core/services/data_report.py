"""What a model would learn from a file: every row checked, tokens counted when the model is here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core.config.resolve import config_layer, environment_layer, resolve_train
from backprop_core.datasets.convert import convert
from backprop_core.datasets.detect import Layout, layout_of, summarize_layouts
from backprop_core.datasets.readers import RowReader
from backprop_core.datasets.report import DatasetSummary, inspect
from backprop_core.datasets.rows import RowProblem
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.errors import InputError
from backprop_core.services.facts import model_folder
from backprop_core.workspace import Workspace

_KEPT_PROBLEMS: Final = 100


@dataclass(frozen=True, slots=True)
class FileReport:
    """A data file.

    Attributes:
        model: whose tokens were counted, or would be.
        tokens: None when the model is not on this machine.
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


def report_file(ws: Workspace, path: Path, model: str | None, *, max_seq_length: int) -> FileReport:
    """Read a whole data file once.

    Args:
        model: the base model; the one of the settings when None.

    Raises:
        InputError: the file cannot be read, no row can be used, or no such model can be.
    """
    name = model or _model_of_settings(ws)
    folder = model_folder(ws, name)
    if folder is None:
        return _without_tokens(path, name)
    summary = inspect(path, ChatTokenizer.load(folder), max_seq_length)
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
    )


def _without_tokens(path: Path, name: str) -> FileReport:
    rows, layouts, problems = 0, Counter[Layout](), list[RowProblem]()
    for batch in RowReader(path, digest=False).batches():
        rows += len(batch.rows) + len(batch.problems)
        problems.extend(batch.problems)
        for number, value in batch.rows:
            layouts[layout_of(value)] += 1
            converted = convert(value, number)
            if isinstance(converted, RowProblem):
                problems.append(converted)
    if len(problems) == rows:
        first = f"; row {problems[0].row}: {problems[0].reason}" if problems else ""
        raise InputError(
            "INPUT_DATASET_INVALID", f"None of the {rows:,} rows of {path.name!r} can be learned from{first}."
        )
    detection = summarize_layouts(layouts)
    return FileReport(
        file=str(path),
        layout=str(detection.layout),
        confidence=detection.confidence,
        reason=detection.reason,
        rows=rows,
        usable_rows=rows - len(problems),
        n_problems=len(problems),
        problems=tuple(problems[:_KEPT_PROBLEMS]),
        model=name,
        tokens=None,
    )


def _model_of_settings(ws: Workspace) -> str:
    return resolve_train([config_layer(ws.home / "config.toml"), environment_layer()]).spec.model
