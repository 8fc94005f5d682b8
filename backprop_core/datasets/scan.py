"""One pass over a data file: every row checked, the first rows tokenized, observers shown each row."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from backprop_core.datasets.convert import convert, layout_if_plain
from backprop_core.datasets.detect import Layout, layout_of
from backprop_core.datasets.mask import encode_many
from backprop_core.datasets.readers import RowReader
from backprop_core.datasets.rows import Conversation, RowProblem
from backprop_core.datasets.source import DEFAULT_LIMITS, Limits
from backprop_core.datasets.tokenizer import ChatTokenizer

_KEPT_PROBLEMS: Final = 100
_BATCH: Final = 1024


class Observer(Protocol):
    """Sees each usable row once, in order."""

    def add(self, conversation: Conversation) -> None:
        """Take the next row."""
        ...


@dataclass(frozen=True, slots=True)
class ScanChoices:
    """How a file is read and counted.

    Args:
        max_seq_length: tokens kept of each row.
        limit: usable rows to tokenize; None for all.
        train_on_responses: loss on answers only.
        limits: sizes at which reading stops.
    """

    max_seq_length: int
    limit: int | None = 2000
    train_on_responses: bool = True
    limits: Limits = DEFAULT_LIMITS


@dataclass(slots=True)
class TokenTally:
    """Tokens of the rows that were tokenized; `lengths` are those before truncation."""

    rows: int = 0
    total: int = 0
    with_loss: int = 0
    truncated_rows: int = 0
    first_truncated: list[int] = field(default_factory=list)
    lost_tokens: int = 0
    neutralized_rows: int = 0
    reasoning_lost_rows: int = 0
    lengths: array[int] = field(default_factory=lambda: array("L"))


@dataclass(slots=True)
class Scan:
    """What one pass found."""

    rows: int = 0
    convertible: int = 0
    looked_at: int = 0
    unanswered_rows: int = 0
    n_problems: int = 0
    problems: list[RowProblem] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    layouts: Counter[Layout] = field(default_factory=Counter)
    tokens: TokenTally = field(default_factory=TokenTally)
    sha256: str = ""
    size_bytes: int = 0

    def refuse(self, problem: RowProblem) -> None:
        """Count a row that cannot be used."""
        self.n_problems += 1
        self.codes[str(problem.code)] += 1
        if len(self.problems) < _KEPT_PROBLEMS:
            self.problems.append(problem)


def scan_file(
    path: Path, tokenizer: ChatTokenizer | None, choices: ScanChoices, observers: Sequence[Observer] = ()
) -> Scan:
    """Read a file once.

    Args:
        path: the data file.
        tokenizer: tokenizer and template of the model; None to check rows and count no tokens.
        choices: how to read and count.
        observers: see every usable row.

    Raises:
        InputError: as `RowReader.batches`.
    """
    reader = RowReader(path, limits=choices.limits)
    scan = Scan()
    waiting: list[Conversation] = []
    for batch in reader.batches():
        scan.rows += len(batch.rows) + len(batch.problems)
        for problem in batch.problems:
            scan.refuse(problem)
        for number, value in batch.rows:
            is_counted = tokenizer is not None and (choices.limit is None or scan.looked_at < choices.limit)
            if not (is_counted or observers) and (plain := layout_if_plain(value)):
                scan.layouts[plain] += 1
                scan.convertible += 1
                continue
            scan.layouts[layout_of(value)] += 1
            converted = convert(value, number)
            if isinstance(converted, RowProblem):
                scan.refuse(converted)
                continue
            scan.convertible += 1
            for observer in observers:
                observer.add(converted)
            if is_counted:
                scan.looked_at += 1
                waiting.append(converted)
        if tokenizer is not None and len(waiting) >= _BATCH:
            _count_tokens(waiting, tokenizer, choices, scan)
            waiting = []
    if tokenizer is not None:
        _count_tokens(waiting, tokenizer, choices, scan)
    scan.sha256 = reader.counter.sha256
    scan.size_bytes = reader.counter.bytes_read
    return scan


def _count_tokens(
    conversations: Sequence[Conversation], tokenizer: ChatTokenizer, choices: ScanChoices, scan: Scan
) -> None:
    tally = scan.tokens
    results = encode_many(conversations, tokenizer, choices.max_seq_length, choices.train_on_responses)
    for conversation, result in zip(conversations, results, strict=True):
        if isinstance(result, RowProblem):
            scan.refuse(result)
            continue
        tally.rows += 1
        tally.total += len(result.input_ids)
        tally.with_loss += result.n_loss
        if result.n_truncated:
            tally.truncated_rows += 1
            if len(tally.first_truncated) < _KEPT_PROBLEMS:
                tally.first_truncated.append(conversation.row)
        tally.lost_tokens += result.n_truncated
        tally.neutralized_rows += result.n_neutralized > 0
        tally.reasoning_lost_rows += result.loses_reasoning
        tally.lengths.append(len(result.input_ids) + result.n_truncated)
    scan.unanswered_rows += sum(
        bool(item.messages) and item.messages[-1].role != "assistant" for item in conversations
    )
