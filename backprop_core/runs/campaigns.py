"""What is known of a campaign: its planned legs, and its state as a pure function of its journal.

Also the figures of forgetting. Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from backprop_core.events import types as ev

LegStatus = Literal["waiting", "training", "merging", "merged", "rejected"]
Measure = Literal["exact", "loss"]


class PlannedLeg(BaseModel):
    """One leg as it was planned; a leg that has begun never changes.

    Attributes:
        number: counts from 1.
        source: the data file, with its SHA-256 when the leg was planned.
        part, parts: which of how many equal chunks of the file's usable rows; 1 of 1 for the whole file.
        samples: own rows at most, the held-out ones included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    name: str
    source: str
    sha256: str
    part: int = 1
    parts: int = 1
    samples: int
    steps: int | None
    epochs: float | None = None
    learning_rate: float


class CampaignLegs(BaseModel):
    """The legs of a campaign in their order: `legs/plan.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    legs: tuple[PlannedLeg, ...]


class LegRecord(BaseModel):
    """A leg that has been merged or whose merge was rejected.

    Attributes:
        number: 0 is the adapter that the campaign began with, when it began with one.
        step, tokens, supervised_tokens: of the run when the leg ended.
        weight: of the leg in the merge.
        own_sha256, merged_sha256: of the two adapters' weights.
        held_out_loss: mean over all legs of what the merged adapter scores; None when nothing is measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    step: int
    tokens: int
    supervised_tokens: int
    weight: float
    is_accepted: bool
    own_sha256: str
    merged_sha256: str
    held_out_loss: float | None = None


class CampaignMemory(BaseModel):
    """What is committed of a campaign: `legs/state.json`, replaced as a whole by each merge.

    Attributes:
        product: the leg whose merged adapter is the campaign's.
        rows: everything that was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    legs: tuple[LegRecord, ...] = ()
    product: int | None = None
    rows: tuple[ev.ForgetRow, ...] = ()

    @property
    def accepted(self) -> tuple[LegRecord, ...]:
        """The legs that stand, in their order."""
        return tuple(leg for leg in self.legs if leg.is_accepted)

    @property
    def done(self) -> int:
        """The newest leg that needs no more work."""
        return self.legs[-1].number if self.legs else 0

    @property
    def step(self) -> int:
        """Steps of the run that are committed."""
        return self.legs[-1].step if self.legs else 0


@dataclass(frozen=True, slots=True)
class Leg:
    """A leg as its journal tells it; counts are those of the plan until it has begun.

    Attributes:
        merge_s: of its merge.
        note: why a merge was rejected, or who decided.
        began_at: when it first learned; `ended_at` when it was first merged or rejected.
    """

    number: int
    name: str
    source: str
    status: LegStatus
    learning_rate: float
    first_step: int | None = None
    steps: int | None = None
    rows: int | None = None
    replay_rows: int | None = None
    held_out: int | None = None
    weight: float | None = None
    merge_s: float | None = None
    note: str = ""
    began_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ForgetSummary:
    """The three figures that only mean something together; higher is better in each.

    Attributes:
        measure: exact answers as shares, or losses with their sign turned.
        average: mean over the legs after the last one.
        backward: mean change of the earlier legs since each was learned; None with one leg.
        learned: mean of each leg right after it was merged.
    """

    measure: Measure
    average: float
    backward: float | None
    learned: float


@dataclass(frozen=True, slots=True)
class ForgetMatrix:
    """Rows in the order of the legs: base first, then each leg's own adapter and the merged one.

    Attributes:
        sets: names of the columns, the held-out rows of each leg.
    """

    sets: tuple[str, ...]
    rows: tuple[ev.ForgetRow, ...]

    def row(self, leg: int, adapter: Literal["base", "unmerged", "merged"]) -> ev.ForgetRow | None:
        """Return one row, None when it was not measured."""
        return next((row for row in self.rows if (row.leg, row.adapter) == (leg, adapter)), None)


@dataclass(frozen=True, slots=True)
class CampaignState:
    """Everything that the journal tells of a campaign.

    Attributes:
        product_leg: the leg whose merged adapter is the campaign's; None before the first merge.
    """

    legs: tuple[Leg, ...]
    matrix: ForgetMatrix
    product_leg: int | None

    def summary(self, measure: Measure) -> ForgetSummary | None:
        """Return the figures of the merges that stand, None while a value they need is missing."""
        stands = {leg.number for leg in self.legs if leg.status == "merged"}
        merged = [row for row in self.matrix.rows if row.adapter == "merged" and row.leg in stands]
        return summarise([(row.leg, _values(row, measure)) for row in merged], measure)


def campaign_state(planned: Sequence[PlannedLeg], events: Iterable[ev.Event]) -> CampaignState:
    """Return the state of a campaign; what is told twice counts as told last."""
    legs = {
        leg.number: Leg(leg.number, leg.name, leg.source, "waiting", leg.learning_rate) for leg in planned
    }
    rows: dict[tuple[int, str], ev.ForgetRow] = {}
    product = None
    for event in events:
        body = event.body
        if isinstance(body, ev.ForgetRow):
            rows[body.leg, body.adapter] = body
        elif isinstance(body, ev.LegStarted | ev.LegEnded | ev.LegMerged) and body.leg in legs:
            legs[body.leg] = _after(legs[body.leg], body, event.ts)
        elif isinstance(body, ev.LegChosen):
            product = body.leg
    order = {"base": 0, "unmerged": 1, "merged": 2}
    matrix = sorted(rows.values(), key=lambda row: (row.leg, order[row.adapter]))
    return CampaignState(
        tuple(legs.values()), ForgetMatrix(tuple(leg.name for leg in planned), tuple(matrix)), product
    )


def summarise(rows: Sequence[tuple[int, Sequence[float | None]]], measure: Measure) -> ForgetSummary | None:
    """Return average, backward transfer and learned accuracy of a matrix.

    With a[i, j] the score on leg j after leg i and T the last leg (Lopez-Paz and Ranzato, 2017): average
    = mean of a[T, j] over j <= T; backward = mean of a[T, j] - a[j, j] over j < T; learned = mean of a[j, j].

    Args:
        rows: by leg, counting from 1, the score on each leg, higher is better. A leg without a row, whose
            merge was never measured, counts in none of the means.
    """
    scores = dict(rows)
    if not scores:
        return None
    last = max(scores)
    final, own = scores[last], {leg: values[leg - 1] for leg, values in scores.items()}
    pairs = [(final[leg - 1], value) for leg, value in own.items()]
    known = [(after, value) for after, value in pairs if after is not None and value is not None]
    if len(known) < len(pairs):
        return None
    earlier = [after - value for (after, value), leg in zip(known, own, strict=True) if leg != last]
    return ForgetSummary(
        measure,
        sum(after for after, _ in known) / len(known),
        sum(earlier) / len(earlier) if earlier else None,
        sum(value for _, value in known) / len(known),
    )


def _values(row: ev.ForgetRow, measure: Measure) -> list[float | None]:
    if measure == "exact":
        return list(row.exact)
    return [None if loss is None else -loss for loss in row.loss]


def _after(leg: Leg, body: ev.LegStarted | ev.LegEnded | ev.LegMerged, at: datetime) -> Leg:
    if isinstance(body, ev.LegStarted):
        return replace(
            leg,
            status="training",
            learning_rate=body.learning_rate,
            first_step=body.first_step,
            steps=body.steps,
            rows=body.rows,
            replay_rows=body.replay_rows,
            held_out=body.held_out,
            began_at=leg.began_at or at,
        )
    if isinstance(body, ev.LegEnded):
        return replace(leg, status="merging")
    return replace(
        leg,
        status="merged" if body.is_accepted else "rejected",
        weight=body.weight,
        merge_s=body.seconds,
        note=body.reason,
        ended_at=leg.ended_at or at,
    )
