import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.learning.augmentation import Augmentation, augment

N, LENGTH = 60, 512
NOTHING = Augmentation(
    inverted=0, injected=0, reversed_=0, noisy=0, gapped=0, shifted=False, amplitude=1.0, noise=0.0
)
_RNG = np.random.default_rng(8)
FLUX = _RNG.standard_normal((N, LENGTH)).astype(np.float32)
FLUX[:, 100:110] = 0
FLUX[:, 300] = -8
LABEL = (np.arange(N) % 3 == 0).astype(np.int8)
ROWS = np.arange(1000, 1000 + N)
QUIET = LABEL == 0


def run(chosen=slice(None), *, seed=1, epoch=2, policy=None, **options):
    options = {"quiet": QUIET[chosen], **options}
    if policy is not None:
        options["policy"] = policy
    return augment(FLUX[chosen], LABEL[chosen], seed=seed, epoch=epoch, rows=ROWS[chosen], **options)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, N - 1), min_size=1, max_size=12), st.integers(0, 2**63), st.integers(0, 1000))
def test_rows_alone_in_any_order_and_number_give_what_they_give_in_the_batch(chosen, seed, epoch):
    whole, labels = run(seed=seed, epoch=epoch)
    some, some_labels = run(np.array(chosen), seed=seed, epoch=epoch)
    assert some.tobytes() == whole[chosen].tobytes()
    assert some_labels.tobytes() == labels[chosen].tobytes()


def test_another_seed_epoch_or_repeat_gives_other_curves():
    first, _ = run()
    for other in (run(seed=2)[0], run(epoch=3)[0], run(repeat=np.ones(N, dtype=int))[0]):
        assert (first != other).any(axis=1).all()


def test_a_new_process_gives_the_same_bits():
    code = (
        "import numpy as np; from hashlib import sha256\n"
        "from perdure.pipelines.exoplanet.learning.augmentation import augment\n"
        "x = np.tile(np.linspace(-3, 3, 512, dtype=np.float32), (9, 1))\n"
        "y = np.arange(9) % 2\n"
        "a, b = augment(x, y, seed=1, epoch=2, rows=np.arange(9), quiet=y == 0)\n"
        "print(sha256(a.tobytes() + b.tobytes()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    x, y = np.tile(np.linspace(-3, 3, 512, dtype=np.float32), (9, 1)), np.arange(9) % 2
    a, b = augment(x, y, seed=1, epoch=2, rows=np.arange(9), quiet=y == 0)
    assert other.stdout.strip() == sha256(a.tobytes() + b.tobytes()).hexdigest(), other.stderr


def test_inputs_are_not_touched_and_outputs_stay_within_the_clip():
    flux, label = FLUX.copy(), LABEL.copy()
    out, out_label = run()
    np.testing.assert_array_equal(FLUX, flux)
    np.testing.assert_array_equal(LABEL, label)
    assert out.dtype == out_label.dtype == np.float32
    assert out.min() >= -30 and out.max() <= 5
    assert set(out_label.tolist()) <= {0.0, 1.0}


def test_a_policy_of_nothing_changes_nothing():
    out, label = run(policy=NOTHING)
    np.testing.assert_array_equal(out, FLUX)
    np.testing.assert_array_equal(label, LABEL)


def test_a_shift_turns_the_curve_in_a_circle():
    out, _ = run(policy=replace(NOTHING, shifted=True))
    turns = {int(np.flatnonzero(out[i] == -8)[0]) - 300 for i in range(N)}
    for i in range(N):
        np.testing.assert_array_equal(np.roll(out[i], -(int(np.flatnonzero(out[i] == -8)[0]) - 300)), FLUX[i])
    assert len(turns) > N / 2


def test_a_reversal_runs_time_backwards():
    out, _ = run(policy=replace(NOTHING, reversed_=1.0))
    np.testing.assert_array_equal(out, FLUX[:, ::-1])


def test_amplitudes_stay_within_their_bounds_and_reach_near_them():
    out, _ = run(policy=replace(NOTHING, amplitude=1.25))
    factor = out[:, 300] / -8
    assert factor.min() >= 0.8 - 1e-6 and factor.max() <= 1.25 + 1e-6
    assert factor.min() < 0.85 and factor.max() > 1.18


def test_noise_leaves_gaps_alone():
    out, _ = run(policy=replace(NOTHING, noisy=1.0, noise=0.3))
    assert (out[:, 100:110] == 0).all()
    added = (out - FLUX)[:, 120:290]
    assert added.std(axis=1).max() < 0.32 and added.std(axis=1).max() > 0.2
    assert abs(added.mean()) < 0.01


def test_gaps_are_runs_of_zeros():
    out, _ = run(policy=replace(NOTHING, gapped=1.0))
    assert ((out == 0).sum(axis=1) > (FLUX == 0).sum(axis=1)).mean() > 0.9
    assert (out == 0).mean() < 0.15
    np.testing.assert_array_equal(out[out != 0], FLUX[out != 0])


def test_inverted_planets_become_negatives():
    out, label = run(policy=replace(NOTHING, inverted=1.0))
    planet = LABEL == 1
    assert (label == 0).all()
    np.testing.assert_array_equal(out[planet], np.clip(-FLUX[planet], -30, 5))
    np.testing.assert_array_equal(out[~planet], FLUX[~planet])


def test_transits_go_into_quiet_stars_only_and_make_them_positive():
    quiet = QUIET & (np.arange(N) % 2 == 0)
    out, label = run(policy=replace(NOTHING, injected=1.0), quiet=quiet)
    np.testing.assert_array_equal(label == 1, (LABEL == 1) | quiet)
    np.testing.assert_array_equal(out[~quiet], FLUX[~quiet])
    assert (out[quiet] <= FLUX[quiet]).all()
    assert (out[:, 100:110] == 0).all()
    strength = np.sqrt(((out - FLUX)[quiet] ** 2).sum(axis=1))
    assert strength.min() > 5 and strength.max() <= 81


def test_the_share_of_positives_after_augmentation_is_as_foretold():
    count, policy = 4000, Augmentation()
    label = (np.arange(count) % 4 == 0).astype(np.int8)
    flux = np.ones((count, 64), dtype=np.float32)
    _, after = augment(flux, label, seed=1, epoch=1, rows=np.arange(count), quiet=label == 0)
    assert after.mean() == pytest.approx(policy.positive_share(0.25, quiet_share=1.0), abs=0.02)


def test_a_label_too_few_is_refused():
    with pytest.raises(UsageError, match="60 curves, 59 labels"):
        augment(FLUX, LABEL[1:], seed=1, epoch=1, rows=ROWS)
