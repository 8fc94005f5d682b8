"""Which rows a leg of a campaign learns, which it only measures, and which it learns again. Pure.

A row is known by the digest of what it says, so that the same words in two files are the same row.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from backprop_core.datasets.rows import Conversation
from backprop_core.errors import ConfigError

MAX_HELD_OUT: Final = 100
DEFAULT_SHARE: Final = 0.1

# Apart from the streams of data order and of the held-out rows of a plain run.
_HOLD_OUT_STREAM: Final = 0x1E6
_REPLAY_STREAM: Final = 0x4EA


def digest_of(conversation: Conversation) -> str:
    """Return what tells this row from others, whatever file or layout it came from."""
    said = (conversation.messages, conversation.text)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


def chunk(rows: int, *, part: int, parts: int, samples: int) -> range:
    """Return the rows of one chunk of a file: equal parts in the file's order, `samples` of each at most."""
    size = rows // parts
    first = (part - 1) * size
    return range(first, first + min(size, samples))


def held_out_count(rows: int, share: float) -> int:
    """Return how many rows of a leg only measure: the share, at least one, and never all of them."""
    return 0 if rows < 2 else min(MAX_HELD_OUT, rows - 1, max(1, round((share or DEFAULT_SHARE) * rows)))


def hold_out(legs: Sequence[Sequence[str]], number: int, *, share: float, seed: int) -> list[int]:
    """Return the indexes of the rows of a leg that only measure, drawn from those that stand once in all legs.

    Args:
        legs: digests of the rows of every leg.
        number: the leg, counting from 1.

    Returns:
        Fewer than the share asks for when so many rows are doubled; empty when all of them are.
    """
    seen = Counter(digest for leg in legs for digest in leg)
    own = legs[number - 1]
    alone = [index for index, digest in enumerate(own) if seen[digest] == 1]
    order = np.random.default_rng([seed, _HOLD_OUT_STREAM, number]).permutation(len(alone))
    return sorted(alone[place] for place in order[: held_out_count(len(own), share)])


def replay_count(own: int, fraction: float, pools: Sequence[int], strategy: str) -> int:
    """Return how many rows of earlier legs come back.

    Args:
        own: rows that the leg trains on itself.
        pools: rows that train in each earlier leg, in their order.
    """
    open_rows = sum(pools[-1:] if strategy == "recent" else pools)
    return min(round(fraction * own), open_rows)


def replayed(
    own: int,
    fraction: float,
    pools: Sequence[int],
    strategy: Literal["recent", "random", "all_previous"],
    seed: int,
) -> list[tuple[int, int]]:
    """Return the rows of earlier legs that come back, as (leg counting from 1, index of the row).

    `recent` draws from the last leg, `random` from all rows of the earlier legs alike, `all_previous` as
    evenly from each of them as their sizes allow. No row comes twice.
    """
    generator = np.random.default_rng([seed, _REPLAY_STREAM, len(pools)])
    left = replay_count(own, fraction, pools, strategy)
    if strategy == "random":
        everything = [(leg, index) for leg, size in enumerate(pools, 1) for index in range(size)]
        return [everything[place] for place in generator.permutation(len(everything))[:left]]
    found: list[tuple[int, int]] = []
    # The smallest first, so that what it cannot give is shared among the others.
    chosen = (
        [len(pools)]
        if strategy == "recent"
        else sorted(range(1, len(pools) + 1), key=lambda leg: pools[leg - 1])
    )
    for place, leg in enumerate(chosen):
        take = min(pools[leg - 1], left // (len(chosen) - place) + (left % (len(chosen) - place) > 0))
        found += [(leg, int(index)) for index in generator.permutation(pools[leg - 1])[:take]]
        left -= take
    return found


def learning_rate_of_leg(
    number: int,
    legs: int,
    *,
    first: float,
    final: float | None,
    decay: Literal["constant", "linear", "cosine"],
) -> float:
    """Return the peak learning rate of a leg; a leg after the last planned one keeps the last rate.

    Args:
        number: counts from 1.
        final: rate of the last leg; a tenth of the first when None.
    """
    if decay == "constant" or legs == 1:
        return first
    last = first / 10 if final is None else final
    passed = min(1.0, (number - 1) / (legs - 1))
    if decay == "cosine":
        passed = 0.5 * (1.0 - float(np.cos(np.pi * passed)))
    return first + (last - first) * passed


def overlap(what: str) -> ConfigError:
    """Return the error for held-out rows that would be learned, from what is wrong in words."""
    return ConfigError(
        "CONFIG_INVALID",
        f"{what}, so what is held out would be learned.",
        hint="Give each leg rows of its own, or measure nothing with --no-validate.",
        field="sources",
    )
