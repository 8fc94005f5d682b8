"""Which data files a face may read, where the shipped examples lie, and what is in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backprop_core.datasets.convert import convert
from backprop_core.datasets.readers import RowReader
from backprop_core.datasets.report import DatasetSummary, inspect
from backprop_core.datasets.rows import Conversation
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.errors import InputError, StateError
from backprop_core.planning.records import DataFacts
from backprop_core.workspace import Workspace

DEFAULT_EXAMPLE: Final = "quickstart.jsonl"

_CHARS_PER_TOKEN: Final = 4
_SAMPLE_ROWS: Final = 2000
_SUFFIXES: Final = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md", ".ndjson")


def examples_dir() -> Path:
    """Return the folder of the shipped examples: beside the packages in a checkout, inside in a wheel."""
    packaged = Path(__file__).parents[1] / "examples"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "examples"


def readable_roots(ws: Workspace) -> tuple[Path, ...]:
    """Return the folders from which the web app reads data."""
    root = ws.settings.sandbox_root
    return (examples_dir(), root / "datasets", root / "uploads", *ws.data_dirs)


def list_data_files(ws: Workspace, limit: int = 200) -> list[Path]:
    """Return the data files that the page offers, examples first."""
    found: list[Path] = []
    for root in readable_roots(ws):
        if root.is_dir():
            found.extend(
                path for path in sorted(root.iterdir()) if is_data_name(path.name) and path.is_file()
            )
    return found[:limit]


def is_data_name(name: str) -> bool:
    """Tell whether a file of this name holds rows; the recipe beside a version does not."""
    inner = name.lower().removesuffix(".gz")
    return inner.endswith(_SUFFIXES) and not inner.endswith(".recipe.json")


def check_readable(ws: Workspace, path: Path) -> Path:
    """Return `path` when the web app may read it.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE, the same whether it exists or not.
    """
    resolved = path.resolve()
    if not any(resolved.is_relative_to(root.resolve()) for root in readable_roots(ws)):
        raise StateError(
            "SANDBOX_PATH_OUTSIDE", f"{path.name or 'This path'} is not in a folder that the app may read."
        )
    return path


def data_facts(
    path: Path, tokenizer: ChatTokenizer | None, *, max_seq_length: int, responses_only: bool
) -> DataFacts:
    """Return the figures of a data file for the planner.

    Args:
        tokenizer: of the base model; None when it is not here yet, then tokens are estimated.

    Raises:
        InputError: the file cannot be read or has nothing to learn.
    """
    if tokenizer is None:
        return _rough_facts(path, max_seq_length, responses_only=responses_only)
    return _exact_facts(inspect(path, tokenizer, max_seq_length, train_on_responses=responses_only))


def _exact_facts(summary: DatasetSummary) -> DataFacts:
    return DataFacts(
        rows=summary.rows,
        usable_rows=summary.usable_rows,
        tokens=summary.tokens_total,
        supervised_tokens=summary.tokens_with_loss,
        longest_tokens=summary.longest_tokens,
        p95_tokens=summary.p95,
        truncated_rows=summary.truncated_rows,
        is_estimate=summary.is_estimate,
    )


def _rough_facts(path: Path, max_seq_length: int, *, responses_only: bool) -> DataFacts:
    """Estimate from characters: about four to a token in English."""
    rows = 0
    lengths: list[tuple[int, int]] = []
    for batch in RowReader(path).batches():
        rows += len(batch.rows) + len(batch.problems)
        for number, value in batch.rows:
            found = convert(value, number)
            if isinstance(found, Conversation):
                lengths.append(_token_lengths(found, responses_only=responses_only))
    if not lengths:
        raise InputError("INPUT_DATASET_INVALID", f"{path.name!r} has no row that a model could learn from.")
    whole = sorted(length for length, _ in lengths)
    return DataFacts(
        rows=rows,
        usable_rows=len(lengths),
        tokens=sum(min(length, max_seq_length) for length, _ in lengths),
        supervised_tokens=sum(min(learned, max_seq_length) for _, learned in lengths),
        longest_tokens=whole[-1],
        p95_tokens=_percentile(whole, 95),
        truncated_rows=sum(length > max_seq_length for length in whole),
        is_estimate=True,
    )


def _token_lengths(conversation: Conversation, *, responses_only: bool) -> tuple[int, int]:
    # A turn adds about five tokens of role and end marks.
    turns = [
        (message.role, len(message.content) // _CHARS_PER_TOKEN + 5) for message in conversation.messages
    ]
    whole = sum(length for _, length in turns)
    learned = sum(length for role, length in turns if role == "assistant") if responses_only else whole
    return whole, learned


def _percentile(values: Sequence[int], share: int) -> int:
    return values[min(len(values) - 1, len(values) * share // 100)]
