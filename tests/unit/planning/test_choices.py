"""Rank, device, full mode and disk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_core.config.specs import TrainSpec
from backprop_core.planning.ceiling import full_mode_problem
from backprop_core.planning.device import choose_device, choose_precision, device_problems
from backprop_core.planning.disk import disk_problems, reserve_bytes, run_disk_bytes
from backprop_core.planning.model_shape import ModelShape
from backprop_core.planning.rank import RankChoice, choose_rank
from backprop_core.units import GIB
from tests.support import configs
from tests.support.plans import LARGE, PROCESSOR, SMALL, machine_with_card, model


def _all(r: int) -> bool:
    return True


@pytest.mark.parametrize(
    ("tokens", "rank"),
    [(0, 16), (4_884_480, 16), (4_884_481, 32), (9_768_961, 64), (78_151_680, 256)],
)
def test_the_smallest_rank_that_covers_the_supervised_tokens(tokens, rank):
    assert choose_rank(SMALL, tokens, "all-linear", _all) == RankChoice(rank, covers=True)


def test_data_that_no_rank_covers_take_the_largest():
    assert choose_rank(SMALL, 10**9, "all-linear", _all) == RankChoice(256, covers=False)


def test_a_rank_that_does_not_fit_is_not_chosen():
    assert choose_rank(SMALL, 10**9, "all-linear", lambda r: r <= 64) == RankChoice(64, covers=False)


def test_where_no_rank_fits_the_smallest_stands():
    assert choose_rank(SMALL, 10**9, "all-linear", lambda r: False).r == 16


def test_fewer_layers_need_a_higher_rank():
    assert choose_rank(SMALL, 4_000_000, "q_proj,v_proj", _all).r == 128


def test_a_card_is_taken_where_there_is_one():
    assert choose_device(TrainSpec(), machine_with_card()) == "cuda"
    assert choose_device(TrainSpec(device="cpu"), machine_with_card()) == "cpu"
    assert choose_device(TrainSpec(), PROCESSOR) == "cpu"


def test_bf16_only_where_the_device_has_it():
    assert (choose_precision(has_bf16=True), choose_precision(has_bf16=False)) == ("bf16", "fp32")


def test_macos_never_trains():
    problems = device_problems(TrainSpec(device="cpu"), replace(PROCESSOR, system="macos"), model())
    assert [problem.code for problem in problems] == ["DEP_GPU_NOT_AVAILABLE"]


def test_a_small_model_trains_on_a_processor():
    assert device_problems(TrainSpec(), PROCESSOR, model()) == []


def test_a_large_model_on_a_processor_is_refused_and_doctor_named():
    (problem,) = device_problems(TrainSpec(), PROCESSOR, model(LARGE, "Qwen/Qwen2.5-7B-Instruct"))
    assert (problem.field, problem.code) == ("device", "DEP_GPU_NOT_AVAILABLE")
    assert problem.message == (
        "Qwen/Qwen2.5-7B-Instruct has 7.62\u00a0B parameters and no CUDA card can be used. "
        "No NVIDIA driver answered."
    )
    assert "doctor" in problem.hint


def test_a_large_model_on_a_processor_is_allowed_when_asked_for():
    assert device_problems(TrainSpec(device="cpu"), PROCESSOR, model(LARGE)) == []


def test_half_a_billion_parameters_are_the_limit():
    below = replace(SMALL, small_parameters=SMALL.small_parameters + 500_000_000 - SMALL.total_parameters)
    above = replace(below, small_parameters=below.small_parameters + 1)
    assert device_problems(TrainSpec(), PROCESSOR, model(below)) == []
    assert len(device_problems(TrainSpec(), PROCESSOR, model(above))) == 1


def test_demanding_a_card_that_is_not_there_is_refused():
    (problem,) = device_problems(TrainSpec(device="cuda"), PROCESSOR, model())
    assert (problem.code, "No NVIDIA driver answered." in problem.message) == ("DEP_GPU_NOT_AVAILABLE", True)


@pytest.mark.parametrize(
    ("field", "value"), [("quantization", "4bit"), ("quantization", "8bit"), ("optim", "paged_adamw_8bit")]
)
def test_what_needs_cuda_is_refused_on_a_processor(field, value):
    (problem,) = device_problems(TrainSpec(**{field: value}), PROCESSOR, model())
    assert (problem.field, problem.code) == (field, "INPUT_VALIDATION_FAILED")
    assert device_problems(TrainSpec(**{field: value}), machine_with_card(), model()) == []


def test_seven_billion_parameters_are_refused_in_full_mode_on_every_card():
    problem = full_mode_problem("qwen2.5-7b", LARGE, 10 * GIB, 1000 * GIB)
    assert problem is not None
    assert problem.code == "RUNTIME_FULL_FT_MODEL_TOO_LARGE"
    assert problem.hint == "Use LoRA, or full mode with smollm3-3b, llama-3.2-1b or smollm2-135m."


def test_three_billion_parameters_are_allowed_in_full_mode_where_they_fit():
    shape = ModelShape.from_config(configs.SMOLLM3_3B)
    assert full_mode_problem("smollm3-3b", shape, 15 * GIB, 16 * GIB) is None
    problem = full_mode_problem("smollm3-3b", shape, 17 * GIB, 16 * GIB)
    assert problem is not None
    assert problem.message == "Full mode of smollm3-3b needs about 17.0\u00a0GiB; 16.0\u00a0GiB are free."


@pytest.mark.parametrize(
    ("weight_bytes", "is_8bit", "checkpoints", "expected"),
    [
        # 1 M weights: 4 MB of adapter, 8 MB of states, 20 MB of small files.
        (4, False, 10, 5 * 32_000_000 + 28_000_000),
        (4, False, 1, 32_000_000 + 28_000_000),
        (4, True, 1, 26_000_000 + 28_000_000),
        (2, True, 1, 24_000_000 + 24_000_000),
    ],
)
def test_disk_holds_five_checkpoints_at_most_and_two_results(weight_bytes, is_8bit, checkpoints, expected):
    needed = run_disk_bytes(
        1_000_000, weight_bytes=weight_bytes, has_8bit_optimizer=is_8bit, checkpoints=checkpoints
    )
    assert needed == expected


def test_two_gib_or_five_percent_stay_free():
    assert reserve_bytes(10 * GIB) == 2 * GIB
    assert reserve_bytes(100 * GIB) == 5 * GIB
    assert reserve_bytes(None) == 2 * GIB


def test_a_run_that_would_eat_into_the_reserve_is_refused():
    (problem,) = disk_problems(1_000_000_000, 5_000_000_000, 100_000_000_000)
    assert (problem.field, problem.code) == ("output_dir", "RUNTIME_DISK_FULL")
    assert problem.message == (
        "The run writes up to 1.0\u00a0GB; 5.0\u00a0GB are free and 5.0\u00a0GB stay in reserve."
    )
    assert problem.hint == "Free 1.0\u00a0GB there, or choose a folder on another disk."


def test_a_disk_with_room_or_of_unknown_size_is_no_problem():
    assert disk_problems(1_000_000_000, 6_000_000_000, 100_000_000_000) == []
    assert disk_problems(1_000_000_000, None, None) == []
