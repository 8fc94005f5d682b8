"""When a run ends by itself before its last step: the rules on held-out loss and on time. Pure.

The other two rules stop a run as a failure: three steps without a finite loss (callbacks.py), and heat
that outlasts every pause (thermal.py). Whatever stops it, the result is the step with the lowest
held-out loss, so a rule costs no quality, it only saves the rest of the night.

**Plateau** is patience, as Keras' `EarlyStopping` and the early-stopping callback of transformers have
it: so many measures in a row without progress. What counts as progress is the relative threshold of
PyTorch's `ReduceLROnPlateau`, 1e-4: a loss that creeps down in the fifth digit all night is a plateau.
Off by default, as in all three.

**Divergence** is the generalization loss of L. Prechelt, "Early Stopping - But When?" (1998),
GL = measured / lowest - 1, against a limit. Prechelt stops at 0.01 to 0.05 to find the optimum; here the
optimum is kept anyway and the rule must only find runs that went wrong, so the default is 0.5, and two
measures in a row, since one may be a passing spike. A loss that is no number counts as above any limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from backprop_core.config.specs import TrainSpec
from backprop_core.events.types import StopRule

PROGRESS: Final = 1e-4
DIVERGED_MEASURES: Final = 2
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Trend:
    """What the measures of held-out loss so far amount to.

    Attributes:
        reference: the loss at the last measure that was progress.
        stale: measures in a row since then.
        diverging: measures in a row above the limit of divergence.
    """

    reference: float | None = None
    stale: int = 0
    diverging: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """A rule that is met, and its figures as a sentence."""

    rule: StopRule
    reason: str


def after_measure(trend: Trend, loss: float, lowest: float | None, limit: float | None) -> Trend:
    """Return the trend with one more measure.

    Args:
        loss: the measure; may be no number.
        lowest: the lowest loss so far, this measure included; None before the first number.
        limit: share above the lowest that counts as divergence; None for no limit.
    """
    is_number = math.isfinite(loss)
    is_progress = is_number and (trend.reference is None or loss < trend.reference * (1 - PROGRESS))
    is_above = not is_number or (limit is not None and lowest is not None and loss > lowest * (1 + limit))
    return Trend(
        reference=loss if is_progress else trend.reference,
        stale=0 if is_progress else trend.stale + 1,
        diverging=trend.diverging + 1 if is_above else 0,
    )


def held_out_stop(spec: TrainSpec, trend: Trend, loss: float, lowest: float | None) -> Stop | None:
    """Return the rule on held-out loss that the newest measure meets, divergence first."""
    if spec.divergence_limit is not None and trend.diverging >= DIVERGED_MEASURES:
        where = "is no number" if not math.isfinite(loss) else f"{loss:.4g}"
        best = "" if lowest is None else f", the lowest was {lowest:.4g}"
        return Stop("divergence", f"held-out loss {where}{best}, {trend.diverging} measures in a row")
    if spec.early_stopping is not None and trend.stale >= spec.early_stopping:
        return Stop("plateau", f"no new lowest held-out loss in {trend.stale} measures")
    return None


def budget_stop(spec: TrainSpec, seconds: float) -> Stop | None:
    """Return the rule on time when an attempt that works for `seconds` has used up its hours."""
    if spec.budget_hours is None or seconds < spec.budget_hours * _HOUR_S:
        return None
    return Stop("budget", f"its budget of {spec.budget_hours:g} h is used up")
