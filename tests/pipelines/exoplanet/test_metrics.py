import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.evaluation import metrics, ranking
from perdure.pipelines.exoplanet.evaluation.ranking import Ranking

PREDICTIONS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), st.integers(0, 1), st.integers(0, 3)),
    min_size=1,
    max_size=40,
)


def columns(rows):
    p, y, w = (np.array(values) for values in zip(*rows, strict=True))
    return p.astype(float), y, w


def noisy(n=2000, share=0.1, seed=0, separation=2.0):
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < share).astype(int)
    return 1 / (1 + np.exp(-(rng.standard_normal(n) + separation * label - 2))), label


@settings(max_examples=200, deadline=None)
@given(PREDICTIONS)
def test_auc_is_the_share_of_pairs_in_order_with_ties_half(rows):
    p, y, _ = columns(rows)
    positive, negative = p[y == 1], p[y == 0]
    pairs = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    area = ranking.auc(Ranking.of(p, y).counts())
    assert math.isnan(area) if pairs.size == 0 else area == pytest.approx(pairs.mean(), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(PREDICTIONS)
def test_integer_weights_mean_the_same_as_repeated_rows(rows):
    p, y, w = columns(rows)
    weighted = metrics._metrics(Ranking.of(p, y), p, y, w.astype(float))
    p, y = np.repeat(p, w), np.repeat(y, w)
    repeated = metrics._metrics(Ranking.of(p, y), p, y, None)
    np.testing.assert_allclose(weighted, repeated, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(PREDICTIONS)
def test_threshold_metrics_equal_a_search_over_all_thresholds(rows):
    p, y, _ = columns(rows)
    counts = Ranking.of(p, y).counts()
    strict = precise = 0.0
    for threshold in p:
        called = p >= threshold
        recall = (called & (y == 1)).sum() / max(1, (y == 1).sum())
        if (called & (y == 0)).sum() <= 0.01 * (y == 0).sum():
            strict = max(strict, recall)
        if y[called].mean() >= 0.99:
            precise = max(precise, recall)
    if 0 < y.sum() < len(y):
        assert ranking.recall_at_false_positive_rate(counts) == pytest.approx(strict)
    if y.sum():
        assert ranking.recall_at_precision(counts) == pytest.approx(precise)


def test_average_precision_of_a_worked_example():
    p, y = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0])
    assert ranking.average_precision(Ranking.of(p, y).counts()) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_perfect_and_a_constant_model():
    y = np.arange(20) % 4 == 0
    perfect = metrics.evaluate(y.astype(float), y, np.arange(20), {}, seed=0, resamples=50)["metrics"]
    assert [perfect[name]["value"] for name in metrics.NAMES] == [1, 1, 1, 1, 0, 0]
    constant = metrics.evaluate(np.full(20, 0.25), y, np.arange(20), {}, seed=0, resamples=50)["metrics"]
    assert constant["auc"]["value"] == 0.5
    assert constant["average_precision"]["value"] == 0.25
    assert constant["calibration_error"]["value"] == pytest.approx(0)
    assert constant["brier"]["value"] == pytest.approx(0.25 * 0.75)


def test_calibration_error_is_the_distance_from_truth():
    p, y = np.repeat([0.2, 0.8], 50), np.tile([0, 1], 50)
    assert ranking.calibration_error(p, y) == pytest.approx(0.3)


def test_the_interval_of_a_calibration_error_holds_its_value():
    rng = np.random.default_rng(3)
    p = rng.uniform(size=100)
    y = rng.uniform(size=100) < p
    found = metrics.evaluate(p, y, np.arange(100), {}, seed=0, resamples=200)["metrics"]["calibration_error"]
    assert found["low"] < found["value"] < found["high"]


def test_an_evaluation_is_plain_json_and_repeats():
    p, y = noisy()
    kind = np.where(y == 1, "planet", np.where(np.arange(len(y)) % 2, "quiet", "binary"))
    mes = np.where(y == 1, np.linspace(5, 60, len(y)), np.nan)
    given_columns = {"kind": kind, "mes": mes}
    first = metrics.evaluate(p, y, np.arange(len(y)), given_columns, seed=4, resamples=100)
    again = metrics.evaluate(p, y, np.arange(len(y)), given_columns, seed=4, resamples=100)
    assert json.loads(json.dumps(first, allow_nan=False)) == again
    assert first["n"] == 2000 and first["prevalence"] == y.mean()
    assert [row["kind"] for row in first["by_kind"]] == ["binary", "quiet"]
    assert sum(row["n"] for row in first["by_kind"]) == (y == 0).sum()
    assert sum(row["n"] for row in first["by_mes"]) == y.sum()
    assert sum(first["confusion"].values()) == 2000
    for value in first["metrics"].values():
        assert value["low"] <= value["value"] <= value["high"]


def test_the_auc_interval_has_the_width_that_theory_gives():
    p, y = noisy(n=3000, separation=1.0)
    low, high = metrics.bootstrap(p, y, np.arange(3000), seed=0, resamples=400)[0]
    area = ranking.auc(Ranking.of(p, y).counts())
    m, n = y.sum(), (1 - y).sum()
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)  # Hanley & McNeil 1982
    spread = np.sqrt((area * (1 - area) + (m - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / (m * n))
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.2)


def test_curves_of_one_star_are_not_counted_as_independent():
    p, y = noisy(n=500, share=0.3)
    single = metrics.bootstrap(p, y, np.arange(500), seed=0, resamples=300)[0]
    copies = metrics.bootstrap(
        np.tile(p, 8), np.tile(y, 8), np.tile(np.arange(500), 8), seed=0, resamples=300
    )[0]
    assert copies[1] - copies[0] == pytest.approx(single[1] - single[0], rel=1e-9)


def test_shuffled_labels_fall_into_the_null_interval_and_a_real_model_does_not():
    p, y = noisy()
    low, high = metrics.null_interval(p, y, seed=1, permutations=300)
    assert low < 0.5 < high
    shuffled = np.random.default_rng(9).permutation(y)
    assert low <= ranking.auc(Ranking.of(p, shuffled).counts()) <= high
    assert ranking.auc(Ranking.of(p, y).counts()) > high


def test_a_test_set_of_one_class_is_said_to_be_undefined():
    document = metrics.evaluate(
        np.array([0.2, 0.4]), np.zeros(2, int), np.arange(2), {}, seed=0, resamples=20
    )
    assert document["metrics"]["auc"] == {"value": None, "low": None, "high": None}
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    ("p", "y", "word"),
    [
        ([0.5, 1.5], [0, 1], r"\[0, 1\]"),
        ([0.5, np.nan], [0, 1], "diverged"),
        ([0.5, 0.5], [0, -1], "unknown"),
    ],
)
def test_what_is_no_prediction_is_refused(p, y, word):
    with pytest.raises(UsageError, match=word):
        metrics.evaluate(np.array(p), np.array(y), np.arange(2), {}, seed=0)
