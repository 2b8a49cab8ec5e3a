"""A curve's prepared form depends on that curve alone, bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from perdure.errors import FormatError, UsageError
from perdure.pipelines.exoplanet.preparation.detrend import median_in_place, rolling_median
from perdure.pipelines.exoplanet.preparation.preprocess import Preprocessor

LENGTH = 600
SMALL = Preprocessor(length=LENGTH)


def raw(rows: int = 20, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    flux = 1000 + random.normal(0, 1, (rows, LENGTH)).cumsum(axis=1) + random.normal(0, 2, (rows, LENGTH))
    flux[random.random(flux.shape) < 0.03] = np.nan
    flux[:, 200:230] = np.nan
    return flux.astype(np.float32)


def test_a_curve_has_the_same_bits_alone_in_a_batch_and_in_any_number_of_threads():
    flux = raw()
    together = SMALL.apply(flux)
    assert together.dtype == np.float32 and together.shape == (20, LENGTH)
    assert SMALL.apply(flux, threads=3).tobytes() == together.tobytes()
    assert np.concatenate([SMALL.apply(row[None]) for row in flux]).tobytes() == together.tobytes()


def test_changing_one_curve_leaves_the_others_byte_identical():
    flux = raw()
    before = SMALL.apply(flux)
    flux[7] *= 3
    flux[7, 100] = 1e9
    after = SMALL.apply(flux)
    others = np.arange(20) != 7
    assert after[others].tobytes() == before[others].tobytes()
    assert after[7].tobytes() != before[7].tobytes()


def test_the_input_is_not_changed_and_may_be_a_memory_map(tmp_path):
    np.save(tmp_path / "raw.npy", raw())
    mapped = np.load(tmp_path / "raw.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float32, shape=(20, LENGTH))
    assert SMALL.apply(mapped, out=out) is out
    assert out.tobytes() == SMALL.apply(raw()).tobytes()
    assert np.array_equal(np.load(tmp_path / "raw.npy"), raw(), equal_nan=True)


@pytest.mark.parametrize("scale", [0.001, 1.0, 250.0])
def test_scale_and_level_of_the_flux_do_not_matter(scale):
    flux = np.random.default_rng(0).normal(0, 1, (3, LENGTH))
    assert np.allclose(SMALL.apply(flux), SMALL.apply(flux * scale + 7 * scale), atol=2e-3)


def test_white_noise_becomes_unit_scatter_without_its_trend():
    random = np.random.default_rng(3)
    trend = 50 * np.sin(np.linspace(0, 2, LENGTH))
    prepared = SMALL.apply((random.normal(0, 2, (50, LENGTH)) + trend).astype(np.float32))
    assert 1.4826 * np.median(np.abs(prepared)) == pytest.approx(1, abs=0.02)
    assert np.abs(np.median(prepared, axis=1)).max() < 0.2


def test_a_transit_stays_and_is_clipped_at_the_floor_and_a_flare_at_the_ceiling():
    flux = np.random.default_rng(4).normal(0, 1, (1, LENGTH)).astype(np.float32)
    flux[0, 100:110] -= 12
    flux[0, 300] -= 500
    flux[0, 400] += 500
    prepared = SMALL.apply(flux)[0]
    assert -16 < prepared[100:110].mean() < -8
    assert prepared[300] == -30 and prepared[400] == 5


def test_gaps_of_five_cadences_are_bridged_and_of_six_are_zero():
    flux = np.random.default_rng(5).normal(0, 1, (1, LENGTH)).astype(np.float32)
    flux[0, 100:105] = np.nan
    flux[0, 200:206] = np.nan
    flux[0, :3] = flux[0, -3:] = np.nan
    prepared = SMALL.apply(flux)[0]
    line = np.linspace(prepared[99], prepared[105], 7)[1:-1]
    assert np.allclose(prepared[100:105], line, atol=1e-6) and np.any(prepared[100:105] != 0)
    assert not prepared[200:206].any() and not prepared[:3].any() and not prepared[-3:].any()


def test_a_shorter_curve_is_padded_with_zeros():
    prepared = SMALL.apply(raw()[:, :400])
    assert prepared.shape == (20, LENGTH) and not prepared[:, 400:].any() and prepared[:, :400].any()


def test_a_longer_curve_is_refused_rather_than_cut():
    with pytest.raises(UsageError, match="601"):
        SMALL.apply(np.zeros((1, 601), np.float32))


@pytest.mark.parametrize("flux", [np.zeros(LENGTH), np.full(LENGTH, np.nan), np.full(LENGTH, np.inf)])
def test_hopeless_curves_become_zeros_and_nothing_else(flux):
    assert not SMALL.apply(flux[None].astype(np.float32)).any()


def test_a_curve_of_few_levels_is_still_scaled():
    flux = np.zeros((1, LENGTH), np.float32)
    flux[0, ::7] = 1
    assert np.isfinite(SMALL.apply(flux)).all() and SMALL.apply(flux).max() > 0


@pytest.mark.parametrize("width", [3, 15, 101])
def test_the_rolling_median_is_the_median_of_the_measured_values_in_the_window(width):
    values = raw(1)[0]
    half = width // 2
    windows = [values[max(0, k - half) : k + half + 1] for k in range(LENGTH)]
    expected = [np.nanmedian(w) if np.isfinite(w).any() else np.nan for w in windows]
    assert np.array_equal(rolling_median(values, width), np.array(expected, np.float32), equal_nan=True)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 501])
def test_quickselect_finds_the_upper_median(size):
    for seed in range(20):
        values = np.random.default_rng(seed).integers(0, 9, size).astype(np.float32)
        assert median_in_place(values.copy(), size) == np.sort(values)[size // 2]


def test_the_options_survive_json_and_other_formats_are_refused():
    options = Preprocessor(length=500, window=51)
    document = json.loads(json.dumps(options.document()))
    assert Preprocessor.from_document(document) == options
    for damaged in ({**document, "format": 99}, {**document, "extra": 1}, {}):
        with pytest.raises(FormatError, match="format"):
            Preprocessor.from_document(damaged)


@pytest.mark.parametrize("options", [{"window": 100}, {"length": 0}, {"floor": 1.0}, {"longest_bridge": -1}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(UsageError):
        Preprocessor(**options)
