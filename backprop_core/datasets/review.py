"""The full report on a data file: figures, histogram, duplicates, leaks, secrets, and a verdict.

It reads the whole file and counts every token, so it runs in the background for large files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from backprop_core.datasets.duplicates import DuplicateFinder, DuplicateFindings
from backprop_core.datasets.leaks import LeakFinder, LeakFindings
from backprop_core.datasets.report import DatasetSummary, summarize
from backprop_core.datasets.rows import Conversation
from backprop_core.datasets.scan import Observer, Scan, ScanChoices, scan_file
from backprop_core.datasets.secret_rows import SecretFinder, SecretFindings
from backprop_core.datasets.source import DEFAULT_LIMITS, Limits
from backprop_core.datasets.texts import answer_text, digest, words_of
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.datasets.verdict import Verdict, judge

SCHEMA_VERSION: Final = 1
_BINS: Final = 24


@dataclass(frozen=True, slots=True)
class Histogram:
    """Rows per length: `counts[i]` rows have `edges[i] <= tokens < edges[i + 1]`."""

    edges: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DataReview:
    """The full report.

    Args:
        file: name of the data file.
        max_seq_length: the chosen length in tokens.
        template_origin: where the chat template came from.
        end_of_turn: the token that ends an answer, empty when there is none.
        summary: the figures.
        histogram: lengths before truncation.
        duplicates: rows that repeat others.
        leaks: rows that are also held out; None when no held-out file was named.
        secrets: rows that hold what looks like keys.
        commonest_answer_share: share of rows with the most frequent answer, 0 to 1.
        verdict: pass, warn or fail, with reasons.
    """

    file: str
    max_seq_length: int
    template_origin: Literal["model", "given", "chatml", "plain"]
    end_of_turn: str
    summary: DatasetSummary
    histogram: Histogram
    duplicates: DuplicateFindings
    leaks: LeakFindings | None
    secrets: SecretFindings
    commonest_answer_share: float
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        value: dict[str, Any] = orjson.loads(orjson.dumps(self))
        return {"schema_version": SCHEMA_VERSION, **value}


class _Answers:
    def __init__(self) -> None:
        self.counts: Counter[bytes] = Counter()

    def add(self, conversation: Conversation) -> None:
        if conversation.text is None:
            self.counts[digest(words_of(answer_text(conversation)))] += 1

    def commonest_share(self) -> float:
        if not self.counts:
            return 0.0
        return self.counts.most_common(1)[0][1] / self.counts.total()


def review(
    path: Path,
    tokenizer: ChatTokenizer,
    max_seq_length: int,
    *,
    heldout: Path | None = None,
    limit: int | None = None,
    near: bool = True,
    train_on_responses: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    watcher: Observer | None = None,
) -> DataReview:
    """Return the full report on a file.

    Args:
        path: the data file.
        tokenizer: tokenizer and template of the model.
        max_seq_length: tokens kept of each row.
        heldout: a file whose rows must not be among the training rows.
        limit: usable rows to tokenize; None for all.
        near: whether nearly equal rows are looked for; needs the `validation` extra.
        train_on_responses: loss on answers only.
        limits: sizes at which reading stops.
        watcher: sees each usable row too, to tell how far the report is; what it raises ends it.

    Raises:
        InputError: INPUT_DATASET_INVALID, no row is usable or no token would carry loss; and
            everything that `RowReader.batches` raises, for either file.
    """
    watchers = _Watchers(DuplicateFinder(near=near), SecretFinder(), _Answers())
    if heldout is not None:
        watchers.leaks = LeakFinder(heldout, near=near, limits=limits)
    choices = ScanChoices(max_seq_length, limit, train_on_responses, limits)
    scan = scan_file(path, tokenizer, choices, watchers.all() + ([watcher] if watcher else []))
    return _concluded(path, tokenizer, choices, scan, watchers)


@dataclass(slots=True)
class _Watchers:
    duplicates: DuplicateFinder
    secrets: SecretFinder
    answers: _Answers
    leaks: LeakFinder | None = None

    def all(self) -> list[Observer]:
        always: list[Observer] = [self.duplicates, self.secrets, self.answers]
        return always if self.leaks is None else [*always, self.leaks]


def _concluded(
    path: Path, tokenizer: ChatTokenizer, choices: ScanChoices, scan: Scan, watchers: _Watchers
) -> DataReview:
    summary = summarize(path, scan)
    duplicates, secrets = watchers.duplicates.findings(), watchers.secrets.findings()
    leaks = watchers.leaks.findings() if watchers.leaks is not None else None
    share = watchers.answers.commonest_share()
    verdict = judge(
        summary,
        duplicates,
        leaks,
        secrets,
        commonest_answer_share=share,
        train_on_responses=choices.train_on_responses,
        template_origin=tokenizer.template_origin,
        has_end_of_turn=bool(tokenizer.shape.end),
    )
    return DataReview(
        file=path.name,
        max_seq_length=choices.max_seq_length,
        template_origin=tokenizer.template_origin,
        end_of_turn=tokenizer.shape.end,
        summary=summary,
        histogram=histogram(scan.tokens.lengths),
        duplicates=duplicates,
        leaks=leaks,
        secrets=secrets,
        commonest_answer_share=share,
        verdict=verdict,
    )


def histogram(lengths: Sequence[int], bins: int = _BINS) -> Histogram:
    """Return rows per length in bins of equal, round width.

    Args:
        lengths: tokens of each row.
        bins: the most bins to use.
    """
    if not lengths:
        return Histogram((0,), ())
    width = _round_width(max(lengths) // bins + 1)
    counts = Counter(length // width for length in lengths)
    last = max(counts)
    return Histogram(
        tuple(index * width for index in range(last + 2)), tuple(counts[index] for index in range(last + 1))
    )


def _round_width(least: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50 ... that is not below `least`."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= least:
                return factor * power
        power *= 10
