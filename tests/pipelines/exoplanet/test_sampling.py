import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.learning.sampling import epoch_rows, prior_correct, repeats

LABELS = (np.arange(100) % 20 == 0).astype(np.int8)  # five positives


def test_an_epoch_is_a_pure_function_of_seed_and_epoch():
    first = epoch_rows(LABELS, seed=1, epoch=4, share=0.3)
    np.testing.assert_array_equal(first, epoch_rows(LABELS, seed=1, epoch=4, share=0.3))
    assert not np.array_equal(first, epoch_rows(LABELS, seed=1, epoch=5, share=0.3))
    assert not np.array_equal(first, epoch_rows(LABELS, seed=2, epoch=4, share=0.3))
    assert first.dtype == np.int64 and len(first) == 100


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(1, 300), st.integers(0, 50))
def test_the_share_is_exact_to_one_row(share, rows, epoch):
    chosen = epoch_rows(LABELS, seed=1, epoch=epoch, share=share, rows=rows)
    assert len(chosen) == rows
    assert LABELS[chosen].sum() == round(rows * share)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(10, 200), st.integers(1, 12))
def test_over_epochs_no_row_of_a_class_is_shown_twice_more_than_another(share, rows, epochs):
    shown = np.concatenate(
        [epoch_rows(LABELS, seed=1, epoch=e, share=share, rows=rows) for e in range(epochs)]
    )
    times = np.bincount(shown, minlength=len(LABELS))
    for kind in (0, 1):
        assert np.ptp(times[kind == LABELS]) <= 1


def test_positives_and_negatives_are_mixed():
    order = LABELS[epoch_rows(LABELS, seed=1, epoch=0, share=0.5, rows=1000)]
    assert 400 < np.count_nonzero(np.diff(order)) < 600


def test_repeats_count_earlier_showings_of_the_same_row():
    assert repeats(np.array([7, 3, 7, 7, 3, 1])).tolist() == [0, 0, 1, 2, 1, 0]
    assert repeats(np.zeros(0, dtype=np.int64)).tolist() == []


def test_a_class_that_is_wanted_and_empty_is_an_error():
    with pytest.raises(UsageError, match="positive rows are wanted and there are none"):
        epoch_rows(np.zeros(10), seed=1, epoch=0, share=0.5)
    assert len(epoch_rows(np.zeros(10), seed=1, epoch=0, share=0.0)) == 10


def test_unknown_labels_are_refused():
    with pytest.raises(UsageError, match="unknown"):
        epoch_rows(np.array([0, 1, -1]), seed=1, epoch=0, share=0.5)


def test_prior_correction_restores_calibration_under_the_natural_share():
    # One feature value with likelihood ratio 3: posterior odds are 3 times the prior odds, exactly.
    trained = 0.5 * 3 / (0.5 * 3 + 0.5)
    natural = 0.01 * 3 / (0.01 * 3 + 0.99)
    assert prior_correct(np.array([trained]), trained_share=0.5, natural_share=0.01)[0] == pytest.approx(
        natural
    )


def test_prior_correction_keeps_order_and_ends():
    p = np.linspace(0, 1, 101)
    corrected = prior_correct(p, trained_share=0.5, natural_share=0.01)
    assert corrected[0] == 0 and corrected[-1] == 1 and (np.diff(corrected) > 0).all()
    np.testing.assert_allclose(prior_correct(p, trained_share=0.2, natural_share=0.2), p)


def test_a_share_of_nothing_cannot_be_corrected():
    with pytest.raises(UsageError, match="natural_share is 0"):
        prior_correct(np.array([0.5]), trained_share=0.5, natural_share=0)
