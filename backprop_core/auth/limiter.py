"""How many wrong passwords are taken: five a minute and twelve an hour for one account from one address.

An attempt counts before its password is checked, so that many at once get no more tries, and is forgotten
when it succeeds. A second, wider bucket counts all attempts together. Kept in the store, so that a restart
of the app gives no new tries.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backprop_core.auth.store import AuthStore, digest

_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `count` failures within `window_s` seconds."""

    count: int
    window_s: float


ACCOUNT_RULES: Final = (Rule(5, 60.0), Rule(12, _HOUR_S))
GLOBAL_RULES: Final = (Rule(60, 60.0), Rule(300, _HOUR_S))


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether an attempt may be made.

    Attributes:
        wait_s: seconds until the next one may be, 0 when this one may.
        left: tries that are left in the minute after this one.
    """

    wait_s: float
    left: int = 0


def wait_s(times: Sequence[float], now: float, rules: Sequence[Rule]) -> float:
    """Return how long to wait before another attempt is within every rule, 0 when it is now.

    Args:
        times: wall times of the failures that count, in any order. One from the future, after the clock
            was set back, counts as one of now.
        now: wall time.
    """
    waits = [0.0]
    for rule in rules:
        recent = sorted(min(at, now) for at in times if now - at < rule.window_s)
        if len(recent) >= rule.count:
            waits.append(recent[-rule.count] + rule.window_s - now)
    return max(waits)


class Limiter:
    """Counts attempts in the store."""

    def __init__(self, store: AuthStore) -> None:
        self._store = store

    def admit(self, user: str, peer: str, now: float) -> Admission:
        """Count an attempt, or refuse it."""
        account = digest(user)
        with self._store.attempts() as connection:
            connection.execute("DELETE FROM attempts WHERE at < ? OR at > ?", (now - _HOUR_S, now + _HOUR_S))
            own = _times(connection, account, peer)
            wait = max(wait_s(own, now, ACCOUNT_RULES), wait_s(_times(connection), now, GLOBAL_RULES))
            if wait > 0:
                return Admission(wait)
            connection.execute("INSERT INTO attempts VALUES (?, ?, ?)", (account, peer, now))
        minute = ACCOUNT_RULES[0]
        used = 1 + sum(now - at < minute.window_s for at in own)
        return Admission(0.0, max(0, minute.count - used))

    def succeeded(self, user: str, peer: str) -> None:
        """Forget the attempts of an account that signed in."""
        with self._store.attempts() as connection:
            connection.execute("DELETE FROM attempts WHERE account = ? AND peer = ?", (digest(user), peer))


def _times(connection: sqlite3.Connection, account: str = "", peer: str = "") -> list[float]:
    rows = connection.execute(
        "SELECT at FROM attempts WHERE ? = '' OR (account = ? AND peer = ?)", (account, account, peer)
    )
    return [float(row[0]) for row in rows]
