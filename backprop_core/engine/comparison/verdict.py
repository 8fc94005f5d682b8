"""Whether figures are evidence of a gain. Pure.

A tune also learns how answers look, which lowers the loss of any answer. So the loss must fall more for
the answer that belongs to a row than for answers of other rows before it counts as a gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from backprop_core.config.evaluations import Gain, Interval, Leaks, Measure

MIN_ROWS: Final = 8


def judge(
    rows: int,
    loss: Interval,
    own: Interval | None,
    measures: Sequence[Measure],
    leaks: Leaks | None,
) -> tuple[Gain, str]:
    """Return the verdict and why.

    Args:
        rows: that were compared.
        loss: how much the loss fell.
        own: how much more it fell for the rows' own answers than for those of other rows.
        measures: shares of right replies.
        leaks: rows that are also training rows.
    """
    verdict, cause = _judge(rows, loss, own, measures)
    if leaks is None:
        return verdict, cause
    word = "row is" if leaks.rows == 1 else "rows are"
    return verdict, (
        f"{cause} But {leaks.rows} training {word} also held out, the first as row {leaks.training_row} "
        f"and row {leaks.held_out_row}: the figures flatter the run."
    )


def _judge(rows: int, loss: Interval, own: Interval | None, measures: Sequence[Measure]) -> tuple[Gain, str]:
    if rows < MIN_ROWS:
        return "none", f"{rows} held-out rows are too few to tell; it takes {MIN_ROWS}."
    worse = [measure.name for measure in measures if measure.gain.is_loss]
    if worse:
        return "worse", f"Fewer replies are right by {worse[0]} match."
    if loss.is_loss:
        return "worse", "The held-out answers became less likely."
    better = [measure.name for measure in measures if measure.gain.is_gain]
    if not loss.is_gain and not better:
        return "none", "The difference may be an accident of these rows."
    if own is not None and not own.is_gain:
        return "none", (
            "Answers of other rows became likelier as much as the right ones: "
            "it learned how answers look, not which one belongs to a question."
        )
    if better:
        return "gain", f"More replies are right by {better[0]} match."
    return "gain", "The held-out answers became likelier, and more so than answers of other rows."
