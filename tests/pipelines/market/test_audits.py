"""Audits of the evaluation: each finds the fault it is for, and is quiet without it."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.market.evaluation.audits import label_shuffle, purge_overlap, random_split_gap

DAYS, NAMES = 100, 20


def series(*, overlap, seed=0):
    """Features that change slowly, and labels without any relation to them; each label spans `overlap` days."""
    rng = np.random.default_rng(seed)
    steps = rng.standard_normal((DAYS, NAMES, 6))
    x = np.cumsum(steps, axis=0) if overlap > 1 else steps
    noise = rng.standard_normal((DAYS + overlap, NAMES))
    y = sum(noise[k : k + DAYS] for k in range(overlap)) > 0
    day = np.repeat(np.datetime64("2020-01-01") + np.arange(DAYS), NAMES)
    return x.reshape(-1, 6), y.ravel().astype(np.int8), day


def forward(day, overlap, edges=(40, 70, 100)):
    """(train, test) rows of forward blocks, purged."""
    number = (day - day.min()).astype(int)
    return [
        (np.flatnonzero(number < a - overlap), np.flatnonzero((number >= a) & (number < b)))
        for a, b in pairwise(edges)
    ]


def neighbours(x, y, x_new):
    """A quick model that learns by heart."""
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(5).fit(x, y).predict_proba(x_new)[:, 1]


def constant(x, y, x_new):
    return np.zeros(len(x_new))


def test_the_leak_of_overlapping_labels_is_seen_in_a_random_split_only():
    x, y, day = series(overlap=8)
    found = random_split_gap(x, y, day, forward(day, 8), seed=1)
    assert found.leaks and found.random > 0.6
    assert found.forward == pytest.approx(0.5, abs=0.06)


def test_a_clean_series_shows_no_gap():
    x, y, day = series(overlap=1)
    assert not random_split_gap(x, y, day, forward(day, 1), seed=1, model=neighbours).leaks


def test_sound_folds_learn_nothing_from_shuffled_labels():
    x, y, day = series(overlap=8)
    found = label_shuffle(x, y, day, forward(day, 8), seed=1)
    assert found.passed and abs(found.value - 0.5) < 0.05


def test_folds_that_train_on_test_rows_are_caught_by_shuffled_labels():
    x, y, day = series(overlap=8)
    leaking = [(np.concatenate(fold), fold[1]) for fold in forward(day, 8)]
    found = label_shuffle(x, y, day, leaking, seed=1)
    assert not found.passed and found.value > found.limit > 0.5
    assert "standard errors" in found.text


def test_shuffling_keeps_each_days_number_of_rises():
    x, y, day = series(overlap=1)
    seen = []

    def model(x_old, y_old, x_new):
        seen.append(y_old)
        return np.zeros(len(x_new))

    folds = forward(day, 0)
    label_shuffle(x, y, day, folds, seed=1, model=model)
    for (train, _), dealt in zip(folds, seen, strict=True):
        for one in np.unique(day[train]):
            rows = day[train] == one
            assert dealt[rows].sum() == y[train][rows].sum()
        assert (dealt != y[train]).any()


def test_days_that_rise_as_a_whole_do_not_fool_the_shuffle():
    """The level of a day can be forecast from its market; only pairs within a day count."""
    rng = np.random.default_rng(2)
    mood = np.repeat(rng.standard_normal(DAYS), NAMES)
    y = (2 * mood + rng.standard_normal(DAYS * NAMES) > 0).astype(np.int8)
    x = np.c_[mood, rng.standard_normal(DAYS * NAMES)]
    day = series(overlap=1)[2]
    assert label_shuffle(x, y, day, forward(day, 0), seed=1).passed


def test_a_shuffle_without_any_pair_is_refused():
    x, _, day = series(overlap=1)
    with pytest.raises(UsageError, match="both a rise and a fall"):
        label_shuffle(x, np.ones(len(x), np.int8), day, forward(day, 0), seed=1, model=constant)


def test_a_model_that_tells_nothing_apart_has_learnt_nothing():
    x, y, day = series(overlap=1)
    found = label_shuffle(x, y, day, forward(day, 0), seed=1, model=constant)
    assert found.passed and found.value == 0.5


def test_a_purged_fold_passes_and_one_label_too_long_does_not():
    _, _, day = series(overlap=1)
    t1 = day + 8
    train, test = forward(day, 8)[0]
    assert purge_overlap(day, t1, train, test).passed
    late = np.append(train, np.flatnonzero(day == day[test].min() - 8)[0])
    found = purge_overlap(day, t1, late, test)
    assert not found.passed and found.value == 1 and "1 of" in found.text


def test_training_rows_after_the_test_block_need_a_gap_as_well():
    _, _, day = series(overlap=1)
    t1 = day + 8
    test = np.flatnonzero(day < day.min() + 20)
    number = (day - day.min()).astype(int)
    assert purge_overlap(day, t1, np.flatnonzero(number > 27), test).passed
    assert purge_overlap(day, t1, np.flatnonzero(number > 26), test).value == NAMES


def test_a_label_without_an_end_counts_as_reaching():
    _, _, day = series(overlap=1)
    t1 = day + 1
    t1[0] = np.datetime64("NaT")
    train, test = forward(day, 8)[0]
    assert purge_overlap(day, t1, train, test).value == 1


def test_what_audits_find_can_be_written_as_json():
    x, y, day = series(overlap=1)
    train, test = forward(day, 0)[0]
    found = [
        label_shuffle(x, y, day, [(train, test)], seed=1, model=constant), purge_overlap(day, day, train, test),
    ]  # fmt: skip
    assert [json.loads(json.dumps(asdict(audit))) for audit in found] == [asdict(audit) for audit in found]


def test_an_empty_fold_is_refused():
    _, _, day = series(overlap=1)
    with pytest.raises(UsageError, match="0 training rows"):
        purge_overlap(day, day, np.zeros(0, int), np.arange(5))
