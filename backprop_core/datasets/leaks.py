"""Rows of a training file that also stand in a held-out file, so that its score would say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core.datasets.convert import convert
from backprop_core.datasets.duplicates import NearIndex, can_find_near
from backprop_core.datasets.readers import RowReader
from backprop_core.datasets.rows import Conversation
from backprop_core.datasets.source import DEFAULT_LIMITS, Limits
from backprop_core.datasets.texts import digest, question_text, whole_text, words_of

_BATCH: Final = 1024
_KEPT: Final = 50


@dataclass(frozen=True, slots=True)
class LeakFindings:
    """Training rows that repeat held-out rows.

    Args:
        heldout_rows: usable rows of the held-out file.
        same_question: training rows whose question is also held out.
        near_rows: training rows nearly equal to a held-out row; None when not looked for.
        pairs: the first (training row, held-out row) of both kinds.
    """

    heldout_rows: int
    same_question: int
    near_rows: int | None
    pairs: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        """Training rows that leak, of either kind."""
        return self.same_question + (self.near_rows or 0)


class LeakFinder:
    """Watches the rows of a training file and compares them with a held-out file.

    Args:
        heldout: the held-out file.
        near: whether nearly equal rows are looked for.
        limits: sizes at which reading stops.

    Raises:
        InputError: the held-out file cannot be read.
    """

    def __init__(
        self,
        heldout: Path,
        *,
        near: bool = True,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._near = NearIndex() if near and can_find_near() else None
        self._questions: dict[bytes, int] = {}
        self._rows = 0
        for conversation in _conversations(heldout, limits):
            self._rows += 1
            self._questions.setdefault(digest(words_of(question_text(conversation))), conversation.row)
            if self._near is not None:
                self._near.add([conversation.row], [words_of(whole_text(conversation))])
        self._same = 0
        self._near_rows = 0
        self._pairs: list[tuple[int, int]] = []
        self._waiting: list[tuple[int, list[str]]] = []

    def add(self, conversation: Conversation) -> None:
        """Take the next training row."""
        heldout_row = self._questions.get(digest(words_of(question_text(conversation))))
        if heldout_row is not None:
            self._same += 1
            self._note(conversation.row, heldout_row)
        elif self._near is not None:
            self._waiting.append((conversation.row, words_of(whole_text(conversation))))
            if len(self._waiting) >= _BATCH:
                self._compare()

    def findings(self) -> LeakFindings:
        """Return what was found."""
        self._compare()
        near_rows = self._near_rows if self._near is not None else None
        return LeakFindings(self._rows, self._same, near_rows, tuple(self._pairs))

    def _compare(self) -> None:
        if self._near is None or not self._waiting:
            return
        rows, texts = zip(*self._waiting, strict=True)
        self._waiting = []
        for row, heldout_row in zip(rows, self._near.look_up(texts), strict=True):
            if heldout_row is not None:
                self._near_rows += 1
                self._note(row, heldout_row)

    def _note(self, row: int, heldout_row: int) -> None:
        if len(self._pairs) < _KEPT:
            self._pairs.append((row, heldout_row))


def _conversations(path: Path, limits: Limits) -> Iterator[Conversation]:
    for batch in RowReader(path, limits=limits, digest=False).batches():
        for number, value in batch.rows:
            converted = convert(value, number)
            if isinstance(converted, Conversation):
                yield converted
