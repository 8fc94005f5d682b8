"""A card that spills into the system's memory is noticed by its pace."""

from __future__ import annotations

from backprop_core.engine.spilling import SpillWatch

FULL, ROOMY = 7_900 << 20, 4_000 << 20
TOTAL = 8_000 << 20


def watch(*steps):
    """Return what a watch says to each step of 100 tokens, given as seconds and used memory."""
    found = SpillWatch()
    return [
        found.sees_spill(step_s=seconds, tokens=100, used_bytes=used, total_bytes=TOTAL)
        for seconds, used in steps
    ]


def test_a_sudden_slow_step_on_a_full_card_is_told_once():
    assert watch(*[(1.0, FULL)] * 8, (4.0, FULL), (4.0, FULL)) == [*[False] * 8, True, False]


def test_a_slow_step_on_a_card_with_room_is_no_spill():
    assert not any(watch(*[(1.0, ROOMY)] * 8, (4.0, ROOMY)))


def test_a_full_card_at_its_usual_pace_is_no_spill():
    assert not any(watch(*[(1.0, FULL)] * 20))


def test_a_card_that_tells_nothing_is_not_judged():
    assert not any(watch(*[(1.0, None)] * 8, (9.0, None)))


def test_longer_rows_are_no_spill():
    found = SpillWatch()
    for tokens in [100] * 8 + [900]:
        assert not found.sees_spill(step_s=tokens / 100, tokens=tokens, used_bytes=FULL, total_bytes=TOTAL)
