"""When a card is too hot to go on, and when it is cool enough again. Pure: judges readings in order.

Heat is the margin to the card's own slowdown temperature: fixed limits are wrong, because cards
differ by ten degrees. A power limit is normal and no alarm; unknown figures never pause a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOT_MARGIN_C: Final = 5.0
# A card that says that heat slows it is believed only near its limit: some laptops always say so.
LIMITED_MARGIN_C: Final = 10.0
COOL_MARGIN_C: Final = 15.0
HOT_FOR_S: Final = 30.0
COOL_FOR_S: Final = 60.0
MAX_PAUSES: Final = 6


@dataclass(frozen=True, slots=True)
class Heat:
    """One reading; None where the card does not tell."""

    at_s: float
    margin_c: float | None
    is_limited: bool | None

    @property
    def is_hot(self) -> bool:
        """Whether the card is about to slow down, or does."""
        if self.margin_c is None:
            return bool(self.is_limited)
        return self.margin_c < HOT_MARGIN_C or (bool(self.is_limited) and self.margin_c < LIMITED_MARGIN_C)

    @property
    def is_cool(self) -> bool:
        """Whether the card has room again; a card that tells nothing counts as cool."""
        if self.margin_c is None:
            return not self.is_limited
        return self.margin_c >= COOL_MARGIN_C


class HeatJudge:
    """Follows the readings; hot and cool must each hold for a while, so that neither flickers."""

    def __init__(self) -> None:
        self._hot_since: float | None = None
        self._cool_since: float | None = None
        self._last: Heat | None = None

    def see(self, heat: Heat) -> None:
        """Take the next reading."""
        self._hot_since = _since(self._hot_since, heat.at_s, holds=heat.is_hot)
        self._cool_since = _since(self._cool_since, heat.at_s, holds=heat.is_cool)
        self._last = heat

    @property
    def must_pause(self) -> bool:
        """Whether the card has been hot for long enough."""
        return self._has_held(self._hot_since, HOT_FOR_S)

    @property
    def may_continue(self) -> bool:
        """Whether the card has been cool for long enough."""
        return self._has_held(self._cool_since, COOL_FOR_S)

    @property
    def margin_c(self) -> float | None:
        """The newest margin."""
        return None if self._last is None else self._last.margin_c

    def _has_held(self, since: float | None, seconds: float) -> bool:
        return since is not None and self._last is not None and self._last.at_s - since >= seconds


def _since(before: float | None, now: float, *, holds: bool) -> float | None:
    if not holds:
        return None
    return now if before is None else before
