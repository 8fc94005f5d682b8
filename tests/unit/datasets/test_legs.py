"""Which rows a leg learns, holds out and learns again."""

from __future__ import annotations

import pytest

from backprop_core.datasets.convert import convert
from backprop_core.datasets.legs import (
    chunk,
    digest_of,
    held_out_count,
    hold_out,
    learning_rate_of_leg,
    replay_count,
    replayed,
)


def test_chunks_follow_the_order_of_the_file_and_do_not_touch():
    assert [list(chunk(10, part=part, parts=3, samples=100)) for part in (1, 2, 3)] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
    ]


def test_a_chunk_holds_no_more_than_the_samples():
    assert list(chunk(100, part=2, parts=2, samples=3)) == [50, 51, 52]


def test_the_same_words_are_the_same_row_in_every_layout():
    one = convert({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, 1)
    other = convert(
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}, 7
    )
    assert digest_of(one) == digest_of(other)


@pytest.mark.parametrize("rows, share, held", [(1, 0.5, 0), (2, 0.1, 1), (50, 0.0, 5), (50, 0.2, 10)])
def test_a_share_is_held_out_and_at_least_one_row(rows, share, held):
    assert held_out_count(rows, share) == held


def test_no_more_than_a_hundred_rows_are_held_out():
    assert held_out_count(10_000, 0.5) == 100


def test_only_rows_that_stand_once_are_held_out():
    legs = [["a", "b", "c", "d"], ["a", "b", "c", "e"]]
    assert hold_out(legs, 1, share=0.9, seed=1) == [3]
    assert hold_out(legs, 2, share=0.9, seed=1) == [3]


def test_what_is_held_out_depends_on_the_seed_alone():
    legs = [[str(number) for number in range(50)]]
    assert hold_out(legs, 1, share=0.1, seed=1) == hold_out(legs, 1, share=0.1, seed=1)
    assert hold_out(legs, 1, share=0.1, seed=1) != hold_out(legs, 1, share=0.1, seed=2)


def test_recent_takes_rows_of_the_last_leg_only():
    assert {leg for leg, _ in replayed(10, 0.5, [20, 20], "recent", seed=1)} == {2}


def test_all_previous_takes_from_each_leg_as_evenly_as_it_goes():
    found = [leg for leg, _ in replayed(9, 1.0, [1, 20, 20], "all_previous", seed=1)]
    assert [found.count(leg) for leg in (1, 2, 3)] == [1, 4, 4]


@pytest.mark.parametrize("strategy", ["recent", "random", "all_previous"])
def test_no_row_comes_back_twice(strategy):
    found = replayed(100, 1.0, [7, 5, 6], strategy, seed=3)
    assert len(set(found)) == len(found) == replay_count(100, 1.0, [7, 5, 6], strategy)


def test_the_first_leg_replays_nothing():
    assert replayed(10, 1.0, [], "all_previous", seed=1) == []


def test_the_rate_falls_in_equal_parts_to_the_last_leg():
    rates = [learning_rate_of_leg(leg, 3, first=3.0, final=1.0, decay="linear") for leg in (1, 2, 3)]
    assert rates == [3.0, 2.0, 1.0]


def test_the_rate_falls_to_a_tenth_when_nothing_is_said():
    assert learning_rate_of_leg(4, 4, first=1.0, final=None, decay="cosine") == pytest.approx(0.1)


def test_a_leg_beyond_the_plan_keeps_the_last_rate():
    assert learning_rate_of_leg(9, 3, first=3.0, final=1.0, decay="linear") == 1.0


def test_a_constant_rate_stays():
    assert learning_rate_of_leg(3, 3, first=3.0, final=1.0, decay="constant") == 3.0
