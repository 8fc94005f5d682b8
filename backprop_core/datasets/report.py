"""Says what a model would learn from a data file, and stops a run that would learn nothing.

Every row is checked; tokens are counted exactly for the first rows and projected beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backprop_core.datasets.detect import Detection, Layout, summarize_layouts
from backprop_core.datasets.rows import RowProblem
from backprop_core.datasets.scan import Scan, ScanChoices, scan_file
from backprop_core.datasets.source import DEFAULT_LIMITS, Limits
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.errors import InputError


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """What one pass over a data file found.

    Args:
        rows: rows in the file, unusable ones included.
        usable_rows: rows that a model could learn from; projected beyond the tokenized ones.
        layout: format of most rows; `confidence` and `reason` say how sure that is.
        is_mixed: whether several formats occur.
        problems: the first unusable rows; `n_problems` counts all, `problem_counts` by code.
        tokens_total: tokens of the whole file after truncation.
        tokens_with_loss: those that carry loss; `share_with_loss` is their share, 0 to 1.
        longest_tokens: tokens of the longest row before truncation; p50, p95 and p99 likewise.
        truncated_rows: rows longer than the chosen length; `first_truncated` names the first of them.
        neutralized_rows: rows whose text held control tokens.
        reasoning_lost_rows: rows with thinking that the template does not print.
        unanswered_rows: rows whose last turn is not an answer.
        sha256: digest of the file.
        is_estimate: whether token figures of the whole file are projected from its first rows.
    """

    rows: int
    usable_rows: int
    layout: Layout
    confidence: float
    reason: str
    is_mixed: bool
    problems: tuple[RowProblem, ...]
    n_problems: int
    problem_counts: tuple[tuple[str, int], ...]
    tokens_total: int
    tokens_with_loss: int
    share_with_loss: float
    longest_tokens: int
    p50: int
    p95: int
    p99: int
    truncated_rows: int
    first_truncated: tuple[int, ...]
    neutralized_rows: int
    reasoning_lost_rows: int
    unanswered_rows: int
    sha256: str
    size_bytes: int
    is_estimate: bool


@dataclass(frozen=True, slots=True)
class StructureSummary:
    """What one pass over a data file found without counting tokens.

    Args:
        rows: rows in the file, unusable ones included.
        usable_rows: rows that say something and have an answer.
        layout: format of most rows; `confidence` and `reason` say how sure that is.
        is_mixed: whether several formats occur.
        problems: the first unusable rows; `n_problems` counts all, `problem_counts` by code.
        sha256: digest of the file.
    """

    rows: int
    usable_rows: int
    layout: Layout
    confidence: float
    reason: str
    is_mixed: bool
    problems: tuple[RowProblem, ...]
    n_problems: int
    problem_counts: tuple[tuple[str, int], ...]
    sha256: str
    size_bytes: int


def inspect_structure(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> StructureSummary:
    """Check every row of a file, without a model.

    Args:
        path: the data file.
        limits: sizes at which reading stops.

    Raises:
        InputError: INPUT_DATASET_INVALID, no row is usable; and everything that
            `RowReader.batches` raises.
    """
    scan = scan_file(path, None, ScanChoices(0, None, True, limits))
    detection = summarize_layouts(scan.layouts)
    if not scan.convertible:
        raise _nothing_to_learn(path, scan, detection)
    return StructureSummary(
        rows=scan.rows,
        usable_rows=scan.convertible,
        layout=detection.layout,
        confidence=detection.confidence,
        reason=detection.reason,
        is_mixed=detection.is_mixed,
        problems=tuple(sorted(scan.problems, key=lambda problem: problem.row)),
        n_problems=scan.n_problems,
        problem_counts=tuple(scan.codes.most_common()),
        sha256=scan.sha256,
        size_bytes=scan.size_bytes,
    )


def inspect(
    path: Path,
    tokenizer: ChatTokenizer,
    max_seq_length: int,
    limit: int = 2000,
    *,
    train_on_responses: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> DatasetSummary:
    """Check every row of a file and count the tokens of its first `limit` usable rows.

    Args:
        path: the data file.
        tokenizer: tokenizer and template of the model.
        max_seq_length: tokens kept of each row.
        limit: usable rows to tokenize; beyond them the totals are projected.
        train_on_responses: loss on answers only.
        limits: sizes at which reading stops.

    Raises:
        InputError: INPUT_DATASET_INVALID, no row is usable or no token would carry loss; and
            everything that `RowReader.batches` raises.
    """
    choices = ScanChoices(max_seq_length, limit, train_on_responses, limits)
    return summarize(path, scan_file(path, tokenizer, choices))


def summarize(path: Path, scan: Scan) -> DatasetSummary:
    """Return the figures of a finished pass.

    Raises:
        InputError: INPUT_DATASET_INVALID, no row is usable or no token would carry loss.
    """
    detection = summarize_layouts(scan.layouts)
    tokens = scan.tokens
    if not tokens.rows:
        raise _nothing_to_learn(path, scan, detection)
    # The last rows of a batch may be looked at beyond the limit, so the share is of what was.
    scale = scan.convertible / scan.looked_at
    lengths = sorted(tokens.lengths)
    return DatasetSummary(
        rows=scan.rows,
        usable_rows=round(tokens.rows * scale),
        layout=detection.layout,
        confidence=detection.confidence,
        reason=detection.reason,
        is_mixed=detection.is_mixed,
        problems=tuple(sorted(scan.problems, key=lambda problem: problem.row)),
        n_problems=scan.n_problems,
        problem_counts=tuple(scan.codes.most_common()),
        tokens_total=round(tokens.total * scale),
        tokens_with_loss=round(tokens.with_loss * scale),
        share_with_loss=tokens.with_loss / tokens.total,
        longest_tokens=lengths[-1],
        p50=percentile(lengths, 50),
        p95=percentile(lengths, 95),
        p99=percentile(lengths, 99),
        truncated_rows=round(tokens.truncated_rows * scale),
        first_truncated=tuple(tokens.first_truncated),
        neutralized_rows=round(tokens.neutralized_rows * scale),
        reasoning_lost_rows=round(tokens.reasoning_lost_rows * scale),
        unanswered_rows=round(scan.unanswered_rows * scale),
        sha256=scan.sha256,
        size_bytes=scan.size_bytes,
        is_estimate=scan.convertible > scan.looked_at,
    )


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Return the value that `percent` of the ordered values do not exceed (nearest rank); 0 for none."""
    if not ordered:
        return 0
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _nothing_to_learn(path: Path, scan: Scan, detection: Detection) -> InputError:
    if not scan.rows:
        message = f"{path.name!r} has no rows."
    else:
        first = f"; row {scan.problems[0].row}: {scan.problems[0].reason}" if scan.problems else ""
        message = f"None of the {scan.rows:,} rows of {path.name!r} can be learned from{first}."
    return InputError(
        "INPUT_DATASET_INVALID",
        message,
        rows=scan.rows,
        layout=str(detection.layout),
        problems=dict(scan.codes),
    )
