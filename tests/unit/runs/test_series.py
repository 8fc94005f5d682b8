import math
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from backprop_core.events.types import Event
from backprop_core.runs.series import Point, points_of, thin
from tests.support.fake_worker import metrics


def event(seq, step, loss=1.0):
    return Event(seq, datetime.now(UTC), 0.0, metrics(step, 10).model_copy(update={"loss": loss}))


def test_a_step_that_was_taken_again_stands_once_with_its_newest_value():
    points = points_of([event(1, 1, 3.0), event(2, 2, 2.0), event(3, 2, 1.5), event(4, 3, 1.0)])
    assert [(point.step, point.loss) for point in points] == [(1, 3.0), (2, 1.5), (3, 1.0)]


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=False, width=32), min_size=1, max_size=300),
    st.integers(10, 60),
)
def test_thinning_keeps_order_ends_extremes_and_the_limit(losses, limit):
    points = [Point(step, loss, 0.0, 0.0, 0.0) for step, loss in enumerate(losses)]
    kept = thin(points, limit)
    assert len(kept) <= limit
    assert [point.step for point in kept] == sorted({point.step for point in kept})
    assert (kept[0].step, kept[-1].step) == (0, len(points) - 1)
    finite = [loss for loss in losses if math.isfinite(loss)]
    if finite:
        seen = [point.loss for point in kept if math.isfinite(point.loss)]
        assert (min(seen), max(seen)) == (min(finite), max(finite))


def test_an_unknown_loss_is_not_a_number_on_the_chart():
    [point] = points_of([event(1, 1, None)])
    assert math.isnan(point.loss)
