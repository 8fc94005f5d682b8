from __future__ import annotations

import pytest

from backprop_core.config.specs import TrainSpec
from backprop_core.planning.batch import (
    Batch,
    Length,
    choose_batch,
    choose_checkpoint_every,
    micro_batch_tokens,
    run_length,
)


def _up_to(limit: int):
    return lambda batch: batch.micro <= limit


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(8, Batch(8, 1)), (7, Batch(4, 2)), (3, Batch(2, 4)), (1, Batch(1, 8)), (0, Batch(1, 8))],
)
def test_the_largest_micro_batch_that_fits_with_eight_rows_a_step(limit, expected):
    assert choose_batch(TrainSpec(), 100, _up_to(limit)) == expected


@pytest.mark.parametrize(
    ("limit", "expected"), [(8, Batch(5, 1)), (4, Batch(4, 2)), (2, Batch(2, 3)), (1, Batch(1, 5))]
)
def test_a_step_never_wants_more_rows_than_there_are(limit, expected):
    assert choose_batch(TrainSpec(), 5, _up_to(limit)) == expected


def test_a_given_batch_is_kept_and_accumulated_to_eight_rows():
    assert choose_batch(TrainSpec(batch_size=2), 100, _up_to(0)) == Batch(2, 4)
    assert choose_batch(TrainSpec(batch_size=16), 100, _up_to(0)) == Batch(16, 1)


def test_a_given_accumulation_is_kept():
    assert choose_batch(TrainSpec(gradient_accumulation=4), 100, _up_to(8)) == Batch(2, 4)


def test_both_given_are_kept():
    assert choose_batch(TrainSpec(batch_size=3, gradient_accumulation=5), 4, _up_to(0)) == Batch(3, 5)


def test_unknown_rows_count_as_enough():
    assert choose_batch(TrainSpec(), None, _up_to(8)) == Batch(8, 1)


def test_epochs_become_steps():
    length = run_length(TrainSpec(steps=None, epochs=2), 17, Batch(8, 1))
    assert length == Length(5, 40 / 17)


def test_steps_become_epochs():
    assert run_length(TrainSpec(steps=50), 200, Batch(2, 4)) == Length(50, 2.0)


def test_whichever_ends_first_ends_the_run():
    assert run_length(TrainSpec(steps=10, epochs=3), 80, Batch(8, 1)).steps == 10
    assert run_length(TrainSpec(steps=100, epochs=3), 80, Batch(8, 1)).steps == 30


def test_a_part_of_an_epoch_takes_at_least_one_step():
    assert run_length(TrainSpec(steps=None, epochs=0.001), 80, Batch(8, 1)).steps == 1


def test_rounding_of_fractions_adds_no_step():
    assert run_length(TrainSpec(steps=None, epochs=0.1), 30, Batch(1, 1)).steps == 3


def test_neither_steps_nor_epochs_means_a_hundred_steps():
    assert run_length(TrainSpec(steps=None), 80, Batch(8, 1)).steps == 100


def test_without_rows_the_epochs_are_unknown():
    assert run_length(TrainSpec(steps=7), None, Batch(8, 1)) == Length(7, None)


@pytest.mark.parametrize(("steps", "every"), [(100, 10), (5, 1), (101, 11), (1, 1)])
def test_about_ten_checkpoints_a_run(steps, every):
    assert choose_checkpoint_every(TrainSpec(), steps) == every


def test_a_given_checkpoint_distance_is_kept():
    assert choose_checkpoint_every(TrainSpec(checkpoint_every=7), 100) == 7


def test_a_card_takes_as_many_tokens_as_the_longest_rows_would():
    assert micro_batch_tokens("cuda", 4, 700) == 2800


@pytest.mark.parametrize(("micro", "longest", "tokens"), [(1, 300, 300), (8, 300, 1024), (2, 2048, 2048)])
def test_a_processor_takes_about_a_thousand_tokens(micro, longest, tokens):
    assert micro_batch_tokens("cpu", micro, longest) == tokens
