"""The bootstrap over days: exact arithmetic, honest width, seeded draws."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from perdure.pipelines.market.evaluation import metrics
from perdure.pipelines.market.evaluation.intervals import Resamples, interval, paired

RNG = np.random.default_rng(5)
DAY = np.repeat(np.datetime64("2020-01-01") + np.arange(40), 6)
P = np.round(RNG.random(240), 2)
Y = (RNG.random(240) < P).astype(np.int8)


def rows_of(drawn, k):
    """The rows of resample k, each as often as it was drawn."""
    return np.repeat(np.arange(len(drawn.member)), drawn.times[k][drawn.member])


def test_figures_of_a_resample_are_those_of_its_rows():
    order = RNG.permutation(240)
    day, p, y = DAY[order], P[order], Y[order]
    drawn = Resamples.of(day, resamples=5, seed=1, block=4)
    areas, means = drawn.aucs(y, p), drawn.means(metrics.losses(y, p))
    ratios = drawn.ratios(p)
    for k in range(5):
        rows = rows_of(drawn, k)
        assert areas[k] == pytest.approx(roc_auc_score(y[rows], p[rows]), abs=1e-12)
        assert means[k] == pytest.approx(metrics.log_loss(y[rows], p[rows]))
        assert ratios[k] == pytest.approx(p[rows].mean() / p[rows].std(ddof=1))


def test_a_resample_has_as_many_days_and_all_names_of_each():
    drawn = Resamples.of(DAY, resamples=20, seed=1)
    assert (drawn.times.sum(axis=1) == 40).all()
    assert (drawn.rows == 240).all()


def test_days_are_drawn_in_runs_of_the_asked_mean_length():
    """Neighbours come together (1 - 1/L) of the time, so counts of near days agree; single draws do not."""

    def agreement(block):
        times = Resamples.of(np.arange(400), resamples=200, seed=2, block=block).times.astype(float)
        return np.corrcoef(times[:, :-1].ravel(), times[:, 1:].ravel())[0, 1]

    assert agreement(1) == pytest.approx(0.0, abs=0.03)
    assert agreement(10) == pytest.approx(0.9, abs=0.03)


def test_calibration_errors_of_the_whole_are_the_metric():
    drawn = Resamples(np.unique(DAY), np.unique(DAY, return_inverse=True)[1], np.ones((1, 40), np.int16))
    assert drawn.calibration_errors(Y, P)[0] == pytest.approx(metrics.calibration_error(Y, P))
    assert drawn.aucs(Y, P)[0] == pytest.approx(metrics.auc(Y, P))


def test_some_rows_keep_the_draws_of_all():
    drawn, some = Resamples.of(DAY, resamples=4, seed=1), Y == 1
    part = drawn.of_rows(some).means(P[some])
    for k in range(4):
        rows = rows_of(drawn, k)
        assert part[k] == pytest.approx(P[rows][Y[rows] == 1].mean())


def test_equal_seeds_give_equal_bits_and_others_do_not():
    one, two, other = (Resamples.of(DAY, resamples=9, seed=seed).aucs(Y, P).tobytes() for seed in (1, 1, 2))
    assert one == two != other


def overlapping(rng, days=300):
    """Daily means of labels that share 3 of 4 sessions with the next day's; their true mean is 0."""
    noise = rng.standard_normal(days + 3)
    return sum(noise[k : k + days] for k in range(4)) / 2


def coverage(block):
    rng, covered = np.random.default_rng(11), 0
    for _ in range(150):
        x = overlapping(rng)
        low, high = interval(
            Resamples.of(np.arange(len(x)), resamples=120, seed=int(rng.integers(1e9)), block=block).means(x)
        )
        covered += low <= 0 <= high
    return covered / 150


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    assert 0.87 <= coverage(block=12) <= 0.99


def test_resampling_single_days_would_be_overconfident():
    assert coverage(block=1) < 0.8


def test_an_interval_passes_over_undefined_draws():
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert np.isnan(interval(np.full(3, np.nan))).all()
    assert np.isnan(Resamples.of(DAY, resamples=3, seed=0).aucs(np.ones(240), P)).all()


def test_a_day_that_was_not_drawn_leaves_its_mean_undefined():
    drawn = Resamples(np.arange(2), np.array([0]), np.array([[0, 2], [1, 1]], np.int16))
    assert np.isnan(drawn.means(np.ones(1))[0]) and drawn.means(np.ones(1))[1] == 1


def test_paired_comparison_finds_a_small_lead_that_separate_intervals_miss():
    rng = np.random.default_rng(8)
    day = np.repeat(np.arange(150), 20)
    true = rng.standard_normal(3000)
    y = (0.2 * true + rng.standard_normal(3000) > 0).astype(np.int8)
    worse, better = (1 / (1 + np.exp(-0.2 * (true + s * rng.standard_normal(3000)))) for s in (0.9, 0.3))
    both = paired(y, day, worse, better, resamples=200, seed=1)
    found = both["auc"]
    apart = [interval(Resamples.of(day, resamples=200, seed=1).aucs(y, p)) for p in (worse, better)]
    assert found.low > 0 and found.better > 0.97
    assert both["log_loss"].value < 0 and both["log_loss"].better > 0.9  # a lower loss is the better one
    assert apart[0][1] > apart[1][0]


def test_a_model_against_itself_is_no_better():
    found = paired(Y, DAY, P, P, resamples=20, seed=1)
    assert all((d.value, d.low, d.high, d.better) == (0, 0, 0, 0) for d in found.values())
