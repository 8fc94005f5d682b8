"""Reads a whole data file once and says what a model would learn from it.

Every row is checked; tokens are counted exactly for the first rows and estimated beyond.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from backprop_core.datasets.convert import ColumnMap, convert, layout_if_plain
from backprop_core.datasets.detect import Detection, Layout, layout_of, summarize_layouts
from backprop_core.datasets.mask import Encoded, encode_many
from backprop_core.datasets.readers import RowReader
from backprop_core.datasets.rows import Conversation, RowProblem
from backprop_core.datasets.source import DEFAULT_LIMITS, Limits
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.errors import InputError

_KEPT_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class TokenSummary:
    """Token counts of the rows that were tokenized.

    Args:
        rows: rows tokenized.
        total: tokens in them after truncation.
        with_loss: those that carry loss.
        longest: tokens of the longest row before truncation.
        p50: median length before truncation; p95 and p99 likewise.
        truncated_rows: rows longer than the chosen length.
        lost_tokens: tokens cut off.
        neutralized_rows: rows whose text held control tokens.
    """

    rows: int
    total: int
    with_loss: int
    longest: int
    p50: int
    p95: int
    p99: int
    truncated_rows: int
    lost_tokens: int
    neutralized_rows: int


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """What one pass over a data file found.

    Args:
        rows: rows in the file, unusable ones included.
        usable_rows: rows that a model could learn from; estimated beyond the tokenized ones.
        layout: format of most rows; `confidence` and `reason` say how sure that is.
        is_mixed: whether several formats occur.
        problems: the first unusable rows; `n_problems` counts all.
        tokens_total: tokens of the whole file after truncation.
        tokens_with_loss: those that carry loss.
        share_with_loss: their share, 0 to 1.
        sha256: digest of the file.
        is_estimate: whether the token figures of the whole file are projected from its first rows.
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
    neutralized_rows: int
    sha256: str
    size_bytes: int
    is_estimate: bool


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    n_problems: int = 0
    problems: list[RowProblem] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    layouts: Counter[Layout] = field(default_factory=Counter)
    sample: list[Conversation] = field(default_factory=list)
    convertible: int = 0

    def refuse(self, problem: RowProblem) -> None:
        self.n_problems += 1
        self.codes[problem.code] += 1
        if len(self.problems) < _KEPT_PROBLEMS:
            self.problems.append(problem)


def inspect(
    path: Path,
    tokenizer: ChatTokenizer,
    max_seq_length: int,
    limit: int = 2000,
    *,
    train_on_responses: bool = True,
    mapping: ColumnMap | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> DatasetSummary:
    """Check every row of a file and count the tokens of its first `limit` usable rows.

    Args:
        path: the data file.
        tokenizer: tokenizer and template of the model.
        max_seq_length: tokens kept of each row.
        limit: usable rows to tokenize; beyond them the totals are projected.
        train_on_responses: loss on answers only.
        mapping: columns named by hand.
        limits: sizes at which reading stops.

    Raises:
        InputError: INPUT_DATASET_INVALID, no row is usable or no token would carry loss; and
            everything that `RowReader.batches` raises.
    """
    reader = RowReader(path, limits=limits)
    tally = _Tally()
    for batch in reader.batches():
        tally.rows += len(batch.rows) + len(batch.problems)
        for problem in batch.problems:
            tally.refuse(problem)
        for number, value in batch.rows:
            if mapping is None and len(tally.sample) >= limit:
                plain = layout_if_plain(value)
                if plain is not None:
                    tally.layouts[plain] += 1
                    tally.convertible += 1
                    continue
            tally.layouts[layout_of(value)] += 1
            converted = convert(value, number, mapping)
            if isinstance(converted, RowProblem):
                tally.refuse(converted)
                continue
            tally.convertible += 1
            if len(tally.sample) < limit:
                tally.sample.append(converted)
    detection = summarize_layouts(tally.layouts)
    tokens = _count_tokens(tally, tokenizer, max_seq_length, train_on_responses)
    _require_rows(path, tally, tokens, detection)
    return _summary(tally, tokens, detection, reader)


def _count_tokens(
    tally: _Tally, tokenizer: ChatTokenizer, max_seq_length: int, train_on_responses: bool
) -> TokenSummary:
    encoded: list[Encoded] = []
    lengths: list[int] = []
    for result in encode_many(tally.sample, tokenizer, max_seq_length, train_on_responses):
        if isinstance(result, RowProblem):
            tally.refuse(result)
        else:
            encoded.append(result)
            lengths.append(len(result.input_ids) + result.n_truncated)
    lengths.sort()
    return TokenSummary(
        rows=len(encoded),
        total=sum(len(row.input_ids) for row in encoded),
        with_loss=sum(row.n_loss for row in encoded),
        longest=lengths[-1] if lengths else 0,
        p50=percentile(lengths, 50),
        p95=percentile(lengths, 95),
        p99=percentile(lengths, 99),
        truncated_rows=sum(row.n_truncated > 0 for row in encoded),
        lost_tokens=sum(row.n_truncated for row in encoded),
        neutralized_rows=sum(row.n_neutralized > 0 for row in encoded),
    )


def percentile(ordered: list[int], percent: int) -> int:
    """Return the value that `percent` of the ordered values do not exceed (nearest rank); 0 for none."""
    if not ordered:
        return 0
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _require_rows(path: Path, tally: _Tally, tokens: TokenSummary, detection: Detection) -> None:
    if tokens.rows:
        return
    if not tally.rows:
        message = f"{path.name!r} has no rows."
    else:
        first = f"; row {tally.problems[0].row}: {tally.problems[0].reason}" if tally.problems else ""
        message = f"None of the {tally.rows:,} rows of {path.name!r} can be learned from{first}."
    raise InputError(
        "INPUT_DATASET_INVALID",
        message,
        rows=tally.rows,
        layout=str(detection.layout),
        problems={str(code): count for code, count in tally.codes.items()},
    )


def _summary(tally: _Tally, tokens: TokenSummary, detection: Detection, reader: RowReader) -> DatasetSummary:
    is_estimate = tally.convertible > len(tally.sample)
    scale = tally.convertible / len(tally.sample)
    return DatasetSummary(
        rows=tally.rows,
        usable_rows=round(tokens.rows * scale),
        layout=detection.layout,
        confidence=detection.confidence,
        reason=detection.reason,
        is_mixed=detection.is_mixed,
        problems=tuple(sorted(tally.problems, key=lambda problem: problem.row)),
        n_problems=tally.n_problems,
        problem_counts=tuple(tally.codes.most_common()),
        tokens_total=round(tokens.total * scale),
        tokens_with_loss=round(tokens.with_loss * scale),
        share_with_loss=tokens.with_loss / tokens.total,
        longest_tokens=tokens.longest,
        p50=tokens.p50,
        p95=tokens.p95,
        p99=tokens.p99,
        truncated_rows=round(tokens.truncated_rows * scale),
        neutralized_rows=round(tokens.neutralized_rows * scale),
        sha256=reader.counter.sha256,
        size_bytes=reader.counter.bytes_read,
        is_estimate=is_estimate,
    )
