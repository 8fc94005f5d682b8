"""Rows that say the same: exactly, up to case and punctuation, or nearly (MinHash).

Near duplicates need the `validation` extra; without it only exact ones are found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import Any, Final

from backprop_core.datasets.rows import Conversation
from backprop_core.datasets.texts import digest, shingles, whole_text, words_of
from backprop_core.errors import DependencyError

# Rows that are all alike make every one a candidate of every other; both limits keep that bounded.
NEAR_ROWS: Final = 20_000
_CANDIDATES: Final = 64
_PERMUTATIONS: Final = 128
_BANDS: Final = 32
_SEED: Final = 20
_BATCH: Final = 1024
_KEPT_GROUPS: Final = 50


@dataclass(frozen=True, slots=True)
class DuplicateFindings:
    """Rows that repeat another row.

    Args:
        exact_rows: rows beyond the first of each group of equal ones.
        near_rows: the same for nearly equal ones that are not equal; None when not looked for.
        groups: row numbers of the first groups, largest first; the first number of each is kept.
        near_groups: the same for nearly equal rows.
        near_looked_at: rows that were compared for nearness.
    """

    exact_rows: int
    near_rows: int | None
    groups: tuple[tuple[int, ...], ...]
    near_groups: tuple[tuple[int, ...], ...]
    near_looked_at: int


def can_find_near() -> bool:
    """Return whether the extra that finds near duplicates is installed."""
    return find_spec("rensa") is not None


class NearIndex:
    """Finds nearly equal texts among those added before.

    Args:
        threshold: share of common word triples from which two texts count as nearly equal.

    Raises:
        DependencyError: DEP_EXTRA_MISSING.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        if not can_find_near():
            raise DependencyError(
                "DEP_EXTRA_MISSING",
                "Finding near duplicates needs the extra `validation`.",
                hint="pip install 'backpropagate[validation]'",
            )
        import rensa

        self._sketch = rensa.RMinHash
        self._index = rensa.RMinHashLSH(threshold, _PERMUTATIONS, _BANDS)
        self._threshold = threshold
        self._kept: dict[int, Any] = {}

    def add(self, keys: Sequence[int], texts: Iterable[Sequence[str]]) -> dict[int, int]:
        """Add texts, given as words, under their keys; return the earlier key for each that repeats one.

        A repeated text is not kept: what repeats it too is found by the first of its kind.
        """
        found: dict[int, int] = {}
        for key, sketch in zip(keys, self._sketches(texts), strict=True):
            earlier = self._nearest(sketch)
            if earlier is None:
                self._index.insert(key, sketch)
                self._kept[key] = sketch
            else:
                found[key] = earlier
        return found

    def look_up(self, texts: Iterable[Sequence[str]]) -> list[int | None]:
        """Return the key of a nearly equal text for each text, given as words, adding none."""
        return [self._nearest(sketch) for sketch in self._sketches(texts)]

    def _sketches(self, texts: Iterable[Sequence[str]]) -> list[Any]:
        pieces = [shingles(words) for words in texts]
        return list(self._sketch.from_token_sets(pieces, num_perm=_PERMUTATIONS, seed=_SEED))

    def _nearest(self, sketch: Any) -> int | None:
        for key in islice(self._index.query(sketch), _CANDIDATES):
            if sketch.jaccard(self._kept[key]) >= self._threshold:
                return int(key)
        return None


class DuplicateFinder:
    """Watches the rows of a file go by and says which repeat others.

    Args:
        near: whether nearly equal rows are looked for.
        threshold: from which likeness rows are nearly equal.
    """

    def __init__(self, *, near: bool = True, threshold: float = 0.8) -> None:
        self._first: dict[bytes, int] = {}
        self._groups: defaultdict[int, list[int]] = defaultdict(list)
        self._near_groups: defaultdict[int, list[int]] = defaultdict(list)
        self._near = NearIndex(threshold) if near and can_find_near() else None
        self._waiting: list[tuple[int, list[str]]] = []
        self._looked_at = 0

    def add(self, conversation: Conversation) -> None:
        """Take the next row."""
        words = words_of(whole_text(conversation))
        first = self._first.setdefault(digest(words), conversation.row)
        if first != conversation.row:
            self._groups[first].append(conversation.row)
        elif self._near is not None and self._looked_at < NEAR_ROWS:
            self._looked_at += 1
            self._waiting.append((conversation.row, words))
            if len(self._waiting) >= _BATCH:
                self._compare()

    def findings(self) -> DuplicateFindings:
        """Return what was found."""
        self._compare()
        return DuplicateFindings(
            exact_rows=sum(map(len, self._groups.values())),
            near_rows=sum(map(len, self._near_groups.values())) if self._near is not None else None,
            groups=_largest(self._groups),
            near_groups=_largest(self._near_groups),
            near_looked_at=self._looked_at,
        )

    def repeated_rows(self) -> frozenset[int]:
        """Return every row that repeats an earlier one."""
        self._compare()
        groups = [*self._groups.values(), *self._near_groups.values()]
        return frozenset(row for rows in groups for row in rows)

    def _compare(self) -> None:
        if self._near is None or not self._waiting:
            return
        rows, texts = zip(*self._waiting, strict=True)
        self._waiting = []
        for row, earlier in self._near.add(rows, texts).items():
            self._near_groups[earlier].append(row)


def _largest(groups: dict[int, list[int]]) -> tuple[tuple[int, ...], ...]:
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple((first, *rows) for first, rows in ordered[:_KEPT_GROUPS])
