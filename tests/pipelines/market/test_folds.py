"""Forward folds: nothing that trains a block had its outcome still open when the block began."""

import itertools

import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.market.learning.folds import FINAL, forward_folds

OPTIONS = {"first_share": 0.35, "lockbox_share": 0.2, "embargo": 10}


def samples(sessions=400, symbols=3, horizon=10, stride=3):
    """day, t1 of samples of several symbols on one grid of business days."""
    days = np.busday_offset(np.datetime64("2015-01-02"), np.arange(sessions), roll="forward")
    day = days[: sessions - horizon : stride]
    t1 = days[horizon::stride][: len(day)]
    return np.tile(day, symbols), np.tile(t1, symbols)


def test_each_fold_trains_on_labels_that_ended_an_embargo_before_its_block():
    day, t1 = samples()
    for fold in forward_folds(day, t1, **OPTIONS):
        gap = np.busday_count(t1[fold.train].max(), day[fold.test].min())
        assert gap > OPTIONS["embargo"]


def test_no_more_is_purged_than_must_be():
    day, t1 = samples()
    for fold in forward_folds(day, t1, **OPTIONS):
        begin = day[fold.test].min()
        left_out = np.setdiff1d(np.flatnonzero(day < begin), fold.train)
        assert len(left_out) == fold.purged
        assert (np.busday_count(t1[left_out], begin) <= OPTIONS["embargo"]).all()


def test_the_purge_agrees_with_that_of_another_library():
    purgedcv = pytest.importorskip("purgedcv")
    day, t1 = samples()
    moments = day.astype("datetime64[ns]"), t1.astype("datetime64[ns]")
    for fold in forward_folds(day, t1, **{**OPTIONS, "embargo": 0}):
        before = np.flatnonzero(day < day[fold.test].min())
        theirs = purgedcv.purge(before, fold.test, *moments)
        # Theirs lets a label end on the day that the block begins, for its intervals are half open.
        assert set(fold.train) <= set(theirs)
        assert (t1[np.setdiff1d(theirs, fold.train)] == day[fold.test].min()).all()


def test_blocks_follow_one_another_and_end_where_the_lockbox_begins():
    day, t1 = samples()
    *blocks, final = forward_folds(day, t1, **OPTIONS)
    tested = [day[fold.test] for fold in [*blocks, final]]
    for earlier, later in itertools.pairwise(tested):
        assert earlier.max() < later.min()
    assert final.name == FINAL
    assert day[final.test].max() == day.max()
    assert len(np.unique(day[final.test])) == round(0.2 * len(np.unique(day)))
    everything = np.concatenate([fold.test for fold in [*blocks, final]])
    assert len(np.unique(everything)) == len(everything)


def test_a_symbol_that_was_listed_late_is_purged_on_the_same_days():
    day, t1 = samples(symbols=2)
    late = np.arange(len(day)) >= len(day) // 2
    keep = ~late | (day > np.unique(day)[60])
    for fold in forward_folds(day[keep], t1[keep], **OPTIONS):
        assert (t1[keep][fold.train] < day[keep][fold.test].min()).all()


def test_too_few_sessions_are_refused_with_the_folds_that_would_be_empty():
    day, t1 = samples(sessions=40)
    with pytest.raises(UsageError, match=r"sessions are too few for 5 blocks .*block 1"):
        forward_folds(day, t1, **OPTIONS)


def test_a_label_moved_into_the_block_is_purged():
    day, t1 = samples()
    fold = forward_folds(day, t1, **OPTIONS)[2]
    reaching = t1.copy()
    reaching[fold.train[0]] = day[fold.test].max()
    changed = forward_folds(day, reaching, **OPTIONS)[2]
    assert fold.train[0] not in changed.train
    assert changed.purged == fold.purged + 1
