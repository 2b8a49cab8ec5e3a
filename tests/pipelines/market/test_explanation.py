"""Contributions: whether they add up, and what they say."""

from __future__ import annotations

import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.market.evaluation.explanation import additivity, in_words, summary

RNG = np.random.default_rng(6)
NAMES = [f"f{k}" for k in range(12)]
GROUPS = ["momentum"] * 5 + ["volume"] * 4 + ["events"] * 3
PARTS = RNG.standard_normal((40, 13)) * np.r_[np.arange(12, 0, -1), 1] / 100


def test_contributions_that_add_up_pass_and_others_are_named_with_their_gap():
    scores = PARTS.sum(axis=1)
    wrong = scores.copy()
    wrong[7] += 0.01
    found = additivity({"good": PARTS.astype(np.float32), "bad": PARTS}, {"good": scores, "bad": wrong})
    assert found["good"].passed and found["good"].gap < 1e-6
    assert not found["bad"].passed
    assert found["bad"].gap == pytest.approx(0.01 / np.abs(PARTS[7]).sum())


def test_scores_that_cancel_to_zero_are_judged_by_the_terms_they_are_made_of():
    row = np.array([[1000.0, -1000.0, 1e-3]])
    assert additivity({"m": row}, {"m": np.array([0.0])})["m"].passed


def test_contributions_of_other_rows_are_refused():
    with pytest.raises(UsageError, match="one row a score"):
        additivity({"m": PARTS}, {"m": np.zeros(3)})


def test_the_summary_ranks_features_and_shares_are_of_one():
    found = summary({"a": PARTS, "b": PARTS * 50}, NAMES, GROUPS)
    shares = [row["share"] for row in found["features"]]
    assert shares == sorted(shares, reverse=True)
    first = int(np.argmax(np.abs(PARTS[:, :-1]).mean(axis=0)))
    assert found["features"][0]["feature"] == f"f{first}"
    assert sum(shares) == pytest.approx(1) == sum(row["share"] for row in found["groups"])
    means = found["features"][0]["mean_by_model"]
    assert means["a"] == pytest.approx(np.abs(PARTS[:, first]).mean())
    assert means["b"] == pytest.approx(50 * means["a"])


def test_the_base_value_is_no_feature():
    heavy = PARTS.copy()
    heavy[:, -1] = 1e6
    assert summary({"a": heavy}, NAMES, GROUPS) == summary({"a": PARTS}, NAMES, GROUPS)


def test_a_model_that_says_nothing_has_no_shares():
    found = summary({"a": np.zeros((3, 13))}, NAMES, GROUPS)
    assert all(row["share"] == 0 for row in found["features"])


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="base value as the last column"):
        summary({"a": PARTS[:, :-1]}, NAMES, GROUPS)


def test_the_lines_of_a_prediction_add_up_to_its_score():
    text = in_words(PARTS[0], np.arange(12.0), NAMES, heading="AAPL on 2024-01-05", top=4)
    lines = text.splitlines()
    assert len(lines) == 1 + 1 + 4 + 1 and lines[0].startswith("AAPL on 2024-01-05: probability of a rise")
    told = float(lines[0].split("log-odds ")[1].rstrip(")"))
    assert told == pytest.approx(sum(float(line.split()[0]) for line in lines[1:]), abs=5e-4)
    biggest = int(np.argmax(np.abs(PARTS[0, :-1])))
    assert f"f{biggest} = {biggest}" in lines[2] and "other 8 features" in lines[-1]
