"""How a step is cut into micro-batches, and how the cut gets finer."""

from __future__ import annotations

from dataclasses import dataclass

from backprop_core.engine.cutting import Cut, packed


@dataclass(frozen=True)
class Length:
    length: int


def rows(*lengths):
    return [Length(length) for length in lengths]


def shape(parts):
    return [[row.length for row in part] for part in parts]


def test_a_step_is_cut_by_rows():
    assert shape(Cut(2, None).apply(rows(1, 2, 3, 4, 5))) == [[1, 2], [3, 4], [5]]


def test_a_step_is_packed_by_tokens():
    assert shape(Cut(None, 10).apply(rows(3, 6, 4, 7, 9))) == [[9], [7, 3], [6, 4]]


def test_a_row_longer_than_a_bin_gets_its_own():
    assert shape(packed(rows(20, 3, 4), 10)) == [[20], [4, 3]]


def test_every_row_is_in_one_bin():
    lengths = [7, 1, 9, 3, 3, 8, 2, 5, 5, 4]
    assert sorted(length for part in shape(packed(rows(*lengths), 10)) for length in part) == sorted(lengths)


def test_bins_keep_to_a_number_of_rows():
    assert shape(packed(rows(1, 1, 1), 10, most_rows=2)) == [[1, 1], [1]]


def test_a_failed_micro_batch_is_halved():
    assert Cut(8, None).finer(rows(*[5] * 8)) == Cut(4, None, 1)


def test_a_failed_bin_is_halved_in_rows_and_tokens():
    assert Cut(None, 100).finer(rows(40, 30, 20)) == Cut(2, 45, 1)


def test_after_three_halvings_activations_are_recomputed():
    assert Cut(2, None, 3).finer(rows(5, 5)) == Cut(2, None, 3, recomputes=True)


def test_a_single_row_gets_its_activations_recomputed():
    assert Cut(1, None).finer(rows(5)) == Cut(1, None, 0, recomputes=True)


def test_nothing_is_left_after_that():
    assert Cut(1, None, 3, recomputes=True).finer(rows(5)) is None
