import math

import pytest

from backprop_core import units


@pytest.mark.parametrize(
    ("value", "text"),
    [(18204, "18,204"), (-3, "\u22123"), (0, "0")],
)
def test_counts(value, text):
    assert units.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.4, "2.4\u00a0s"),
        (42, "42\u00a0s"),
        (95, "1\u00a0m 35\u00a0s"),
        (11_400, "3\u00a0h 10\u00a0m"),
        (90_000, "1\u00a0d 1\u00a0h"),
    ],
)
def test_durations(value, text):
    assert units.duration(value) == text


@pytest.mark.parametrize("value", [math.inf, math.nan, -1])
def test_an_impossible_duration_is_a_dash(value):
    assert units.duration(value) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [(93_000_000, "93\u00a0MB"), (4_700_000_000, "4.7\u00a0GB"), (1_234, "1.2\u00a0kB"), (12, "12\u00a0B")],
)
def test_file_sizes(value, text):
    assert units.file_size(value) == text


@pytest.mark.parametrize(("value", "text"), [(2e-4, "2e-4"), (8.59e-5, "8.59e-5"), (0, "0"), (1.0, "1e0")])
def test_learning_rates(value, text):
    assert units.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(15_300_000, "15.3\u00a0M"), (7.6e9, "7.6\u00a0B"), (950, "950")]
)
def test_compact_counts(value, text):
    assert units.compact(value) == text


def test_memory_and_losses():
    assert units.gib(14.2 * 2**30) == "14.2\u00a0GiB"
    assert (units.loss(0.9134), units.loss(None), units.loss(math.nan)) == ("0.913", "–", "not finite")
