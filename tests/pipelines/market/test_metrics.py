"""Metrics against scikit-learn, SciPy and naive counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import brier_score_loss, log_loss

from perdure.pipelines.market.evaluation import metrics

RNG = np.random.default_rng(3)
P = np.round(RNG.random(300), 2)  # with ties
Y = (RNG.random(300) < 0.3 + 0.4 * P).astype(np.int8)
WEIGHT = RNG.random(300) + 0.1


def by_pairs(y, p, weight):
    """AUC straight from its definition."""
    pairs = weight[y == 1][:, None] * weight[y == 0]
    rise, fall = p[y == 1][:, None], p[y == 0]
    return float(np.sum(pairs * ((rise > fall) + 0.5 * (rise == fall))) / pairs.sum())


def test_auc_counts_pairs_ties_half_and_weights_multiply():
    assert metrics.auc(Y, P) == pytest.approx(by_pairs(Y, P, np.ones(300)), abs=1e-12)
    assert metrics.auc(Y, P, WEIGHT) == pytest.approx(by_pairs(Y, P, WEIGHT), abs=1e-12)
    assert metrics.auc(Y, np.full(300, 0.4)) == 0.5


def test_losses_agree_with_scikit_learn_and_survive_certainty():
    assert metrics.log_loss(Y, P) == pytest.approx(log_loss(Y, np.clip(P, 1e-7, 1 - 1e-7)))
    assert metrics.brier(Y, P) == pytest.approx(brier_score_loss(Y, P))
    assert metrics.log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-math.log(1e-7))


def test_a_constant_forecast_of_the_base_rate_is_calibrated_and_one_beside_it_is_not():
    rate = metrics.base_rate(Y)
    assert metrics.calibration_error(Y, np.full(300, rate)) == pytest.approx(0)
    assert metrics.calibration_error(Y, np.full(300, rate - 0.1)) == pytest.approx(0.1)


def test_the_calibration_table_has_equal_counts_and_loses_no_row():
    p = RNG.random(1000)
    rows = metrics.calibration_table((RNG.random(1000) < p).astype(np.int8), p, bins=10)
    assert sum(row["n"] for row in rows) == 1000
    assert max(row["n"] for row in rows) - min(row["n"] for row in rows) <= 2
    assert all(abs(row["probability"] - row["share"]) < 0.2 for row in rows)


def test_tied_forecasts_share_a_bin_in_any_order():
    order = RNG.permutation(300)
    assert metrics.calibration_table(Y, P) == [
        pytest.approx(row) for row in metrics.calibration_table(Y[order], P[order])
    ]


def test_the_hit_rate_takes_a_half_as_half_a_hit():
    assert metrics.hit_rate(np.array([1, 1, 0, 0]), np.array([0.9, 0.5, 0.5, 0.9])) == 0.5
    assert metrics.hit_rate(np.array([1, 0]), np.array([0.6, 0.4])) == 1.0


def test_rank_ic_is_spearmans_of_each_day_whatever_the_order_of_rows():
    day = np.repeat(np.array(["2020-01-02", "2020-01-03", "2020-01-07"], "datetime64[D]"), (100, 4, 196))
    excess = np.round(RNG.standard_normal(300), 1)
    order = RNG.permutation(300)
    days, ic = metrics.rank_ic(day[order], P[order], excess[order])
    assert list(days.astype(str)) == ["2020-01-02", "2020-01-07"]  # four names are too few
    for one, value in zip(days, ic, strict=True):
        rows = day == one
        assert value == pytest.approx(spearmanr(P[rows], excess[rows]).statistic)


def test_a_day_of_equal_forecasts_has_no_rank_ic():
    day = np.full(9, np.datetime64("2020-01-02"))
    assert len(metrics.rank_ic(day, np.full(9, 0.5), np.arange(9.0))[0]) == 0


def test_icir_is_mean_over_spread():
    assert metrics.icir(np.array([0.1, 0.3])) == pytest.approx(0.2 / np.std([0.1, 0.3], ddof=1))


def test_what_is_undefined_is_nan():
    none = np.zeros(0)
    ones = np.ones(5, np.int8)
    assert math.isnan(metrics.auc(ones, P[:5]))
    for figure in (metrics.log_loss, metrics.brier, metrics.hit_rate, metrics.auc, metrics.calibration_error):
        assert math.isnan(figure(none, none))
    assert math.isnan(metrics.base_rate(none)) and math.isnan(metrics.icir(np.ones(1)))
    assert len(metrics.rank_ic(np.zeros(0, "datetime64[D]"), none, none)[1]) == 0
