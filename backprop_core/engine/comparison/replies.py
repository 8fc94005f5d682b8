"""Whether replies are right: equal to the answer of the row, containing it, or matching it by a pattern. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from backprop_core.config.evaluations import Flip, Measure, MeasureName
from backprop_core.engine.comparison.bootstrap import ratio_interval

_FLIPS_KEPT: Final = 40
_TEXT_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Answered:
    """A row with what both models replied."""

    row: int
    question: str
    answer: str
    before: str
    after: str


def measure(answered: Sequence[Answered], pattern: re.Pattern[str] | None) -> tuple[Measure, ...]:
    """Return the share of right replies by each way of comparing that applies."""
    if not answered:
        return ()
    found = [_measure("exact", answered, None), _measure("contains", answered, None)]
    matching = [row for row in answered if pattern is not None and pattern.search(row.answer)]
    if matching:
        found.append(_measure("regex", matching, pattern))
    return tuple(found)


def flips(answered: Sequence[Answered], pattern: re.Pattern[str] | None) -> tuple[Flip, ...]:
    """Return the rows that changed between right and wrong, by the pattern if there is one, else by containing."""
    name: MeasureName = "contains" if pattern is None else "regex"
    found = []
    for row in answered:
        was, became = (is_right(name, reply, row.answer, pattern) for reply in (row.before, row.after))
        if was != became:
            texts = (text[:_TEXT_LENGTH] for text in (row.question, row.answer, row.before, row.after))
            question, answer, before, after = texts
            found.append(
                Flip(
                    row=row.row,
                    is_fixed=became,
                    question=question,
                    answer=answer,
                    before=before,
                    after=after,
                )
            )
    return tuple(found[:_FLIPS_KEPT])


def is_right(name: MeasureName, reply: str, answer: str, pattern: re.Pattern[str] | None) -> bool:
    """Return whether a reply counts; case, blanks and a final stop do not."""
    if name == "regex" and pattern is not None:
        wanted, given = pattern.search(answer), pattern.search(reply)
        return wanted is not None and given is not None and _caught(wanted) == _caught(given)
    if name == "exact":
        return _plain(reply) == _plain(answer)
    return f" {_plain(answer)} " in f" {_plain(reply)} "


def _measure(name: MeasureName, answered: Sequence[Answered], pattern: re.Pattern[str] | None) -> Measure:
    before = np.array([is_right(name, row.before, row.answer, pattern) for row in answered], dtype=float)
    after = np.array([is_right(name, row.after, row.answer, pattern) for row in answered], dtype=float)
    return Measure(
        name=name,
        rows=len(answered),
        before=float(before.mean()),
        after=float(after.mean()),
        gain=ratio_interval(after - before, np.ones(len(answered))),
    )


def _caught(match: re.Match[str]) -> tuple[str | None, ...]:
    return match.groups() or (match.group(),)


def _plain(text: str) -> str:
    words = re.findall(r"\w+|[^\w\s]", text.casefold())
    return " ".join(words).rstrip(" .!")
