"""How many tokens the largest micro-batch of a run holds."""

from __future__ import annotations

from typing import Any

import pytest

from backprop_core.config.specs import TrainSpec
from backprop_core.planning.batch import Batch
from backprop_core.planning.fit import Case
from backprop_core.planning.load import TrainingLoad
from backprop_core.planning.model_shape import ModelShape
from backprop_core.planning.records import DataFacts
from tests.support import configs
from tests.support.plans import SMALL, data


def _load(
    facts: DataFacts | None, batch: Batch, *, device: Any = "cpu", shape: ModelShape = SMALL, **spec: Any
) -> TrainingLoad:
    case = Case(TrainSpec(**spec), shape, facts, device, "bf16", 8 << 30, None)
    return case.load(16, batch, "none", recompute=False)


MIXED = data(100, tokens=200, longest_tokens=900, p95_tokens=600)


def test_a_packed_micro_batch_is_filled_to_its_limit():
    assert _load(MIXED, Batch(8, 1)).tokens == 1024
    assert _load(MIXED, Batch(2, 4), device="cuda").tokens == 1800


def test_a_packed_micro_batch_holds_no_more_than_its_step():
    # The longest row, and seven half way between the mean and what 19 of 20 stay below.
    assert _load(MIXED, Batch(8, 1), device="cuda").tokens == 900 + 7 * 400


def test_rows_that_are_all_alike_fill_a_micro_batch_with_whole_rows():
    assert _load(data(100, tokens=513), Batch(8, 1)).tokens == 513
    assert _load(data(100, tokens=300), Batch(8, 1)).tokens == 900


def test_without_packing_only_the_rows_of_the_micro_batch_count():
    assert _load(MIXED, Batch(2, 4), packing=False).tokens == 900 + 400


def test_few_rows_hold_no_more_than_the_whole_data():
    few = data(8, tokens=367, longest_tokens=1020, p95_tokens=1020)
    assert _load(few, Batch(8, 1), packing=False).tokens == 8 * 367


def test_rows_are_cut_at_the_length_of_the_run():
    load = _load(data(100, tokens=5000), Batch(1, 8), max_seq_length=2048)
    assert (load.row_tokens, load.tokens) == (2048, 2048)


def test_a_recurrent_model_is_given_padded_rows():
    shape = ModelShape.from_config(configs.QWEN35_HYBRID)
    assert _load(MIXED, Batch(2, 4), device="cuda", shape=shape).tokens == 1800
    assert _load(MIXED, Batch(8, 1), shape=shape).tokens == 7200


def test_unknown_data_count_as_rows_of_full_length():
    load = _load(None, Batch(2, 4), device="cuda")
    assert (load.tokens, load.supervised_tokens) == (4096, 4096)


def test_supervised_tokens_follow_the_share_of_the_data():
    assert _load(MIXED, Batch(8, 1)).supervised_tokens == 512


@pytest.mark.parametrize(("mode", "r"), [("lora", 16), ("full", None)])
def test_full_mode_has_no_rank(mode, r):
    assert _load(MIXED, Batch(8, 1), mode=mode).lora_r == r
