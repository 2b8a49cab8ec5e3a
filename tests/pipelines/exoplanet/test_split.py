"""Parts share no star and no copy of a curve; the split is a pure function, and one row moves no other."""

from __future__ import annotations

import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.preparation.split import split
from perdure.pipelines.exoplanet.preparation.twins import near_copies

CADENCES = 1200


def simulated(rows: int = 240, seed: int = 0):
    """Curves of spotted stars with noise, every sixth with transits: flux, star, label."""
    random = np.random.default_rng(seed)
    time = np.arange(CADENCES)
    period = random.uniform(150, 900, (rows, 1))
    spots = random.lognormal(1, 1, (rows, 1)) * np.sin(2 * np.pi * (time / period + random.random((rows, 1))))
    flux = 1000 + spots + random.normal(0, 1, (rows, CADENCES))
    label = (np.arange(rows) % 6 == 0).astype(np.int8)
    for row in np.flatnonzero(label):
        flux[row, (time + random.integers(0, 99)) % random.integers(90, 300) < 8] -= 6
    flux[random.random(flux.shape) < 0.01] = np.nan
    return flux.astype(np.float32), np.array([f"star {row}" for row in range(rows)]), label


def by_what(result, what):
    return [finding for finding in result.findings if finding.what == what]


def test_shares_hold_for_each_label_and_nothing_is_found_among_different_curves():
    flux, star, label = simulated(600)
    result = split([flux], star, label, seed=1)
    assert result.counts() == {}
    for value, rows in ((0, 500), (1, 100)):
        counts = np.bincount(result.part[label == value], minlength=3)
        assert np.abs(counts / rows - [0.70, 0.15, 0.15]).max() < 0.02


def test_many_small_strata_together_still_have_the_right_shares():
    flux, star, label = simulated(600)
    kind = np.array([f"kind {row % 200}" for row in range(600)])
    result = split([flux], star, label, seed=1, kind=kind)
    assert np.abs(np.bincount(result.part, minlength=3) / 600 - [0.70, 0.15, 0.15]).max() < 0.06


def test_stars_are_disjoint_between_parts():
    flux, _, label = simulated()
    star = np.array([f"star {row // 4}" for row in range(240)])
    result = split([flux], star, label, seed=3)
    for name in set(star):
        assert len(set(result.part[star == name])) == 1


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_a_planted_copy_of_a_positive_under_another_star_is_caught(noise):
    flux, star, label = simulated()
    random = np.random.default_rng(9)
    positives = np.flatnonzero(label)[:20]
    copies = 0.6 * flux[positives] + 77
    copies += noise * np.nanstd(copies, axis=1, keepdims=True) * random.normal(0, 1, copies.shape)
    stars = np.append(star, [f"other {row}" for row in positives])
    blocks = [flux, copies.astype(np.float32)]
    for seed in range(3):
        result = split(blocks, stars, np.append(label, label[positives]), seed=seed)
        found = {(finding.row, finding.other) for finding in by_what(result, "near-copy")}
        assert found == {(240 + k, int(row)) for k, row in enumerate(positives)}
        assert (result.part[240:] == result.part[positives]).all()
        assert (result.group[240:] == result.group[positives]).all()


def test_copies_join_all_curves_of_both_stars():
    flux, star, label = simulated()
    star[[10, 11]] = "a"
    star[[20, 21]] = "b"
    flux[21] = flux[11] * 2 + np.random.default_rng(0).normal(0, 0.05, CADENCES)
    label[[10, 11, 20, 21]] = 0
    result = split([flux], star, label, seed=0)
    assert len(set(result.group[[10, 11, 20, 21]])) == len(set(result.part[[10, 11, 20, 21]])) == 1


def test_an_exact_copy_is_kept_once_and_ties_its_stars():
    flux, star, label = simulated()
    star[[7, 8]] = "twin"
    flux[8], label[8], label[1], label[7] = flux[1], 0, 0, 0
    result = split([flux], star, label, seed=0)
    assert result.part[8] == -1 and result.part[1] >= 0
    (finding,) = by_what(result, "copy")
    assert (finding.row, finding.other) == (8, 1)
    assert result.part[7] == result.part[1]


def test_conflicting_labels_of_one_curve_quarantine_all_its_rows():
    flux, star, label = simulated()
    flux[8] = flux[14] = flux[6]
    label[[6, 8, 14]] = 1, 0, 1
    result = split([flux], star, label, seed=0)
    assert result.part[[6, 8, 14]].tolist() == [-1, -1, -1]
    assert {finding.row for finding in by_what(result, "conflict")} == {6, 8, 14}


def test_a_curve_without_a_label_is_set_aside_and_a_labelled_copy_is_kept():
    flux, star, label = simulated()
    label[3] = -1
    flux[4], label[4], label[5] = flux[5], -1, 0
    result = split([flux], star, label, seed=0)
    assert result.part[[3, 4]].tolist() == [-1, -1] and result.part[5] >= 0
    assert result.counts() == {"copy": 1, "unlabelled": 1}


def test_a_given_split_is_kept_and_its_leaks_are_taken_out_of_the_earlier_part():
    flux, star, label = simulated()
    part = np.repeat([0, 1, 2], 80).astype(np.int8)
    flux[200], label[200] = flux[5], label[5]  # an exact copy in test of a training row
    flux[210] = 3 * flux[90] + np.random.default_rng(0).normal(0, 0.1, CADENCES)  # a near-copy of validation
    result = split([flux], star, label, seed=0, part=part)
    assert {finding.row for finding in by_what(result, "leak")} == {5, 90}
    kept = np.delete(np.arange(240), [5, 90])
    assert (result.part[kept] == part[kept]).all()
    assert result.part[[5, 90]].tolist() == [-1, -1]


def test_rows_without_a_given_part_follow_their_star():
    flux, star, label = simulated()
    part = np.full(240, -1, np.int8)
    part[:3] = 2
    star[100:103] = star[:3]
    result = split([flux], star, label, seed=0, part=part)
    assert result.part[100:103].tolist() == [2, 2, 2]
    assert set(result.part) == {0, 1, 2}


def test_the_split_depends_on_seed_only_and_not_on_blocks_or_threads(tmp_path):
    flux, star, label = simulated()
    np.save(tmp_path / "flux.npy", flux)
    mapped = np.load(tmp_path / "flux.npy", mmap_mode="r")
    first = split([flux], star, label, seed=5)
    second = split([mapped[:33], mapped[33:100], mapped[100:]], star, label, seed=5, threads=3)
    assert first.part.tobytes() == second.part.tobytes() and first.group.tobytes() == second.group.tobytes()
    assert first.part.tobytes() != split([flux], star, label, seed=6).part.tobytes()


def test_changing_one_curve_moves_no_other():
    flux, star, label = simulated()
    before = split([flux], star, label, seed=5)
    flux[50] = np.random.default_rng(1).normal(0, 1, CADENCES)
    assert split([flux], star, label, seed=5).part.tobytes() == before.part.tobytes()


def test_every_part_has_both_labels_even_if_planets_are_few():
    flux, star, label = simulated()
    label[:] = 0
    label[[3, 60, 200]] = 1
    for seed in range(5):
        part = split([flux], star, label, seed=seed).part
        assert sorted(part[[3, 60, 200]]) == [0, 1, 2]


def test_too_few_stars_of_a_label_are_refused_with_the_reason():
    flux, star, label = simulated()
    label[:] = 0
    label[[3, 60]] = 1
    with pytest.raises(UsageError, match=r"planet.*three"):
        split([flux], star, label, seed=0)


def test_arrays_of_other_lengths_are_refused():
    flux, star, label = simulated()
    with pytest.raises(UsageError, match="239 stars"):
        split([flux], star[:-1], label, seed=0)


def test_noise_of_a_few_percent_of_an_active_stars_spots_does_not_hide_a_copy():
    random = np.random.default_rng(2)
    flux, _, _ = simulated()
    slow = 1000 * np.cumsum(random.normal(0, 1, (240, CADENCES)), axis=1) / np.sqrt(CADENCES)
    active = (flux + np.apply_along_axis(np.convolve, 1, slow, np.ones(80) / 80, mode="same")).astype(
        np.float32
    )
    copies = active[:10] + 0.01 * np.nanstd(active[:10], axis=1, keepdims=True) * random.normal(
        0, 1, (10, CADENCES)
    )
    pairs = near_copies([active, copies.astype(np.float32)])
    assert {tuple(pair) for pair in pairs.tolist()} >= {(k, 240 + k) for k in range(10)}
    assert len(pairs) <= 12


def test_noise_of_a_third_of_a_quiet_stars_own_does_not_hide_a_copy():
    random = np.random.default_rng(4)
    quiet = random.normal(0, 1, (200, CADENCES)).astype(np.float32)
    copies = 5 * (quiet[:10] + 0.33 * random.normal(0, 1, (10, CADENCES)))
    pairs = near_copies([quiet, copies.astype(np.float32)])
    assert pairs.tolist() == [[k, 200 + k] for k in range(10)]


def test_flat_and_empty_curves_are_copies_of_nothing_nearly():
    flux = np.zeros((4, CADENCES), np.float32)
    flux[2:] = np.nan
    assert len(near_copies([flux])) == 0
    assert len(near_copies([flux[:1]])) == 0
