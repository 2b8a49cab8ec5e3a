"""Samples that share their days share their weight, and old ones count less."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.pipelines.market.samples.weights import average_uniqueness, time_decay


def test_a_label_that_overlaps_none_is_wholly_unique():
    assert average_uniqueness(np.array([0, 5]), np.array([4, 9]), 12).tolist() == [1, 1]


def test_labels_of_the_same_days_share_them():
    found = average_uniqueness(np.array([2, 2, 2]), np.array([5, 5, 5]), 12)
    assert found == pytest.approx([1 / 3] * 3)


def test_a_half_overlap_counts_each_day_by_its_labels():
    assert average_uniqueness(np.array([0, 2]), np.array([3, 5]), 8) == pytest.approx([0.75, 0.75])


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=1, max_size=12))
def test_uniqueness_is_the_mean_share_of_each_day(spans):
    first = np.array([begin for begin, _ in spans])
    last = first + np.array([length for _, length in spans])
    alive = [sum(a <= day <= b for a, b in zip(first, last, strict=True)) for day in range(30)]
    expected = [
        np.mean([1 / alive[day] for day in range(a, b + 1)]) for a, b in zip(first, last, strict=True)
    ]
    assert average_uniqueness(first, last, 30) == pytest.approx(expected)


def test_a_weight_halves_every_half_life_and_is_whole_on_the_newest_day():
    days = np.array(["2025-12-31", "2020-12-31", "2015-12-31"], "datetime64[D]")
    found = time_decay(days, days[0], half_life=5)
    assert found == pytest.approx([1, 0.5, 0.25], abs=1e-3)
    assert found[0] == 1
