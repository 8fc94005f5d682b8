"""The memory estimate: the largest batch is exact, and a larger card never does worse."""

from __future__ import annotations

import pytest

from backprop_core.config.specs import TrainSpec
from backprop_core.planning.batch import Batch
from backprop_core.planning.estimate import CARDS_GIB, LARGEST_BATCH, estimate_memory, largest_batch
from backprop_core.planning.fit import Case
from backprop_core.planning.vram import forecast
from backprop_core.units import GIB
from tests.support.plans import LARGE, SMALL, facts, machine_with_card, model


def estimated(spec: TrainSpec | None = None, **changes):
    found = estimate_memory(spec or TrainSpec(model="smollm2-135m"), facts(**changes))
    assert found is not None
    return found


def test_the_components_sum_to_the_peak_and_fit_or_not_follows_from_it():
    found = estimated(machine=machine_with_card(14.9))
    assert sum(part.bytes for part in found.components) == found.peak_bytes
    assert found.fits is (found.peak_bytes <= found.free_bytes)
    assert (found.parameters, found.lora_r, found.is_exact) == (134_515_008, 256, True)


@pytest.mark.parametrize("free_gib", [3, 6, 14.9])
def test_one_row_more_than_the_largest_batch_does_not_fit(free_gib):
    case = Case(
        TrainSpec(model="smollm2-135m"), SMALL, None, "cuda", "bf16", int(free_gib * GIB), calibration=None
    )
    rows = largest_batch(case, 256, "none")

    def peak(rows):
        return forecast(case.load(256, Batch(rows, 1), "none", recompute=True)).peak_bytes

    assert 0 < rows < LARGEST_BATCH
    assert peak(rows) <= case.usable_bytes < peak(rows + 1)


def test_no_row_fits_where_the_weights_alone_do_not():
    case = Case(TrainSpec(model="m"), LARGE, None, "cuda", "bf16", 4 * GIB, calibration=None)
    assert largest_batch(case, 16, "none") == 0


def test_a_larger_card_holds_at_least_as_much():
    found = estimated(TrainSpec(model="m", lora_r=16), model=model(LARGE, "m"))
    assert [card.card_gib for card in found.cards] == list(CARDS_GIB)
    assert [card.fits for card in found.cards] == [False, True, True, True, True]
    assert [card.quantization for card in found.cards] == ["4bit", "4bit", "4bit", "none", "none"]
    in_four_bits = [card.largest_batch for card in found.cards if card.quantization == "4bit"]
    assert in_four_bits == sorted(in_four_bits)


def test_the_data_of_the_run_plays_no_part():
    assert estimated() == estimated(data=None)


def test_a_run_that_is_meant_for_the_processor_lists_no_cards():
    assert estimated(TrainSpec(model="smollm2-135m", device="cpu")).cards == ()


def test_what_this_machine_cannot_do_is_told_and_estimated_all_the_same():
    found = estimated(TrainSpec(model="m"), model=model(LARGE, "m"))
    assert [problem.code for problem in found.problems] == ["DEP_GPU_NOT_AVAILABLE"]
    assert found.peak_bytes > 14 * GIB


def test_full_mode_has_no_rank_and_every_parameter_learns():
    found = estimated(TrainSpec(model="smollm2-135m", mode="full"))
    assert (found.lora_r, found.trainable_parameters) == (None, found.parameters)


def test_without_a_shape_there_is_no_estimate():
    assert estimate_memory(TrainSpec(model="m"), facts(model=model(None, "m"))) is None
