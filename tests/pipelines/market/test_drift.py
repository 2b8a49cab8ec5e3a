"""The population stability index."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.market.evaluation.drift import drift, stability_index

RNG = np.random.default_rng(4)


def index(old, new):
    return stability_index(np.asarray(old, float)[:, None], np.asarray(new, float)[:, None])[0]


def test_shares_give_the_textbook_index():
    old, new = np.repeat([0.0, 1.0], (50, 50)), np.repeat([0.0, 1.0], (30, 70))
    assert index(old, new) == pytest.approx(-0.2 * math.log(0.3 / 0.5) + 0.2 * math.log(0.7 / 0.5))


def test_equal_distributions_are_stable_and_moved_ones_are_not():
    old, new = RNG.standard_normal(4000), RNG.standard_normal(2000)
    assert index(old, new) < 0.02
    assert index(old, new + 1) > 0.25
    assert index(old, new * 3) > 0.25


def test_a_constant_that_stays_is_stable_and_one_that_moves_is_not():
    assert index(np.full(50, 3.0), np.full(20, 3.0)) == 0
    assert index(np.full(50, 3.0), np.full(20, 4.0)) > 1
    assert index(np.full(50, 3.0), np.full(20, 2.0)) > 1


def test_a_rare_pattern_that_becomes_common_is_seen():
    old, new = np.zeros(1000), np.zeros(1000)
    old[:10], new[:400] = 100.0, 100.0
    assert index(old, new) > 0.25


def test_a_heap_of_zeros_with_a_tail_is_compared_by_both():
    old = np.r_[np.zeros(900), RNG.random(100)]
    assert index(old, np.r_[np.zeros(900), RNG.random(100)]) < 0.05
    assert index(old, np.r_[np.zeros(500), RNG.random(500)]) > 0.25


def test_missing_values_are_a_bin_of_their_own():
    old = RNG.standard_normal(1000)
    new = RNG.standard_normal(1000)
    new[:300] = np.nan
    assert index(old, new) > 0.25
    assert index(np.full(9, np.nan), np.full(9, np.nan)) == 0


def test_a_missing_flag_is_not_taken_for_one_that_was_never_seen():
    old, new = np.repeat([0.0, 1.0, np.nan], 20), np.repeat([0.0, 1.0, 5.0], 20)
    assert index(old, old) == 0
    assert index(old, new) > 1


def test_the_report_ranks_features_and_counts_the_stable():
    old = RNG.standard_normal((2000, 4))
    new = RNG.standard_normal((900, 4))
    new[:, 2] += 3
    found = drift(old, new, ["a", "b", "moved", "d"])
    assert found["features"][0]["name"] == "moved" and found["share_stable"] == 0.75


def test_matrices_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="same columns"):
        drift(np.zeros((3, 2)), np.zeros((3, 1)), ["a", "b"])
    with pytest.raises(UsageError, match="with rows"):
        drift(np.zeros((0, 1)), np.zeros((3, 1)), ["a"])
