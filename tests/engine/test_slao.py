"""The algebra of continual merging, each transition against what the paper writes down."""

from __future__ import annotations

import pytest
import torch

from backprop_core.engine.slao import merge, merge_weight, orthonormal_rows, start_of_leg
from backprop_core.errors import RunError

A, B = "q.lora_A.weight", "q.lora_B.weight"


def adapter(seed, rank=4, inputs=16, outputs=12):
    generator = torch.Generator().manual_seed(seed)
    return {
        A: torch.randn(rank, inputs, generator=generator),
        B: torch.randn(outputs, rank, generator=generator),
    }


@pytest.mark.parametrize("rank, inputs", [(4, 16), (16, 16), (256, 576)])
def test_rows_are_orthonormal(rank, inputs):
    rows = orthonormal_rows(adapter(0, rank, inputs)[A])
    assert torch.allclose(rows @ rows.T, torch.eye(rank), atol=1e-5)


def test_rows_span_what_the_matrix_spans():
    a = adapter(1)[A]
    rows = orthonormal_rows(a)
    assert torch.allclose(a @ rows.T @ rows, a, atol=1e-5)


def test_the_sign_of_each_row_makes_the_diagonal_of_r_positive():
    a = adapter(2)[A]
    triangle = orthonormal_rows(a) @ a.T
    assert bool((torch.diagonal(triangle) > 0).all())
    assert torch.allclose(orthonormal_rows(a), orthonormal_rows(a * 3.0), atol=1e-5)
    assert not torch.allclose(orthonormal_rows(a), orthonormal_rows(-a), atol=1e-5)


def test_a_zero_matrix_gets_a_whole_basis():
    rows = orthonormal_rows(torch.zeros(3, 8))
    assert torch.allclose(rows @ rows.T, torch.eye(3), atol=1e-5)


def test_a_matrix_of_lower_rank_gets_a_whole_basis():
    a = torch.randn(1, 8, generator=torch.Generator().manual_seed(3)).repeat(3, 1)
    rows = orthonormal_rows(a)
    assert torch.allclose(rows @ rows.T, torch.eye(3), atol=1e-5)


def test_rows_beyond_the_input_size_are_zero():
    rows = orthonormal_rows(adapter(4, rank=6, inputs=4)[A])
    assert rows.shape == (6, 4)
    assert torch.allclose(rows[:4] @ rows[:4].T, torch.eye(4), atol=1e-5)
    assert not rows[4:].any()


def test_bf16_is_worked_out_in_float32_and_cast_back():
    a = adapter(5)[A].bfloat16()
    rows = orthonormal_rows(a)
    assert rows.dtype == torch.bfloat16
    assert torch.equal(rows, orthonormal_rows(a.float()).bfloat16())


def test_b_starts_from_the_previous_fine_tuned_one_and_not_from_the_merged():
    own, merged = adapter(6), adapter(7)
    begun = start_of_leg("slao", own, merged)
    assert torch.equal(begun[B], own[B])
    assert torch.equal(begun[A], orthonormal_rows(own[A]))


def test_the_named_variant_starts_from_the_merged_b():
    own, merged = adapter(6), adapter(7)
    begun = start_of_leg("slao-merged-b", own, merged)
    assert torch.equal(begun[B], merged[B])
    assert torch.equal(begun[A], orthonormal_rows(own[A]))


@pytest.mark.parametrize("mode", ["simple", "average"])
def test_the_baselines_go_on_where_the_last_leg_ended(mode):
    own = adapter(6)
    begun = start_of_leg(mode, own, adapter(7))
    assert torch.equal(begun[A], own[A]) and torch.equal(begun[B], own[B])


def test_the_first_leg_starts_orthonormal_too():
    fresh = adapter(8) | {B: torch.zeros(12, 4)}
    begun = start_of_leg("slao", fresh, None)
    assert torch.allclose(begun[A] @ begun[A].T, torch.eye(4), atol=1e-5)
    assert not begun[B].any()


def test_the_weight_counts_from_one():
    assert [merge_weight("slao", number) for number in (1, 4, 9)] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert [merge_weight("average", number) for number in (1, 2, 4)] == [1.0, 0.5, 0.25]
    assert merge_weight("simple", 7) == 1.0


def test_a_is_replaced_and_b_moves_by_one_over_the_root():
    before, own = adapter(9), adapter(10)
    after = merge("slao", before, own, 4)
    assert torch.equal(after[A], own[A])
    assert torch.allclose(after[B], before[B] + (own[B] - before[B]) / 2.0, atol=1e-6)


def test_the_first_merge_is_the_leg_itself():
    own = adapter(11)
    after = merge("slao", None, own, 1)
    assert torch.equal(after[A], own[A]) and torch.equal(after[B], own[B])


def test_the_average_is_the_mean_of_all_legs():
    legs = [adapter(seed) for seed in range(3)]
    merged = None
    for number, leg in enumerate(legs, 1):
        merged = merge("average", merged, leg, number)
    for name in (A, B):
        assert torch.allclose(merged[name], sum(leg[name] for leg in legs) / 3, atol=1e-6)


def test_simple_keeps_the_last_leg():
    own = adapter(13)
    assert torch.equal(merge("simple", adapter(12), own, 5)[B], own[B])


def test_a_merge_leaves_its_arguments_as_they_are():
    before, own = adapter(14), adapter(15)
    copies = {name: value.clone() for name, value in before.items()}
    merge("slao", before, own, 2)
    assert all(torch.equal(before[name], copies[name]) for name in before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_never_merged(value):
    own = adapter(16)
    own[B][0, 0] = value
    with pytest.raises(RunError) as failure:
        merge("slao", adapter(17), own, 2)
    assert failure.value.code == "RUNTIME_SLAO_MERGE_FAILED"


def test_adapters_of_two_ranks_are_never_merged():
    with pytest.raises(RunError) as failure:
        merge("slao", adapter(18, rank=4), adapter(19, rank=8), 2)
    assert failure.value.code == "RUNTIME_SLAO_MERGE_FAILED"
