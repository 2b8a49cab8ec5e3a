"""The deepest dips are found where planets h and g of Kepler-90 crossed, as deep as they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.preparation.dips import find_dips
from perdure.pipelines.exoplanet.reading import read_series
from perdure.pipelines.exoplanet.reading.columns import FITS

KEPLER = Path(os.environ.get("PERDURE_KEPLER_DATA", Path(__file__).parents[4] / "shared/data/kepler-90"))


@pytest.mark.skipif(not KEPLER.is_dir(), reason=f"the Kepler-90 files are not at {KEPLER}")
@pytest.mark.parametrize(
    ("name", "time", "depth"),
    [
        ("kplr011442793-2010174085026_llc.fits", 472.160, 8291),
        ("kplr011442793-2010009091648_llc.fits", 357.465, 4017),
    ],
)
def test_the_planets_of_kepler_90_are_the_deepest_dips(name, time, depth):
    (series,) = read_series(KEPLER / name, FITS)
    deepest, second = find_dips(series.time, series.flux, count=2)
    assert deepest.time == pytest.approx(time, abs=0.12)
    assert deepest.depth_ppm == pytest.approx(depth, rel=0.05)
    assert second.depth_ppm < 0.2 * depth


def with_dips(*places, depth=0.005):
    time = 50 + 0.02 * np.arange(2000)
    flux = 1e4 * (1 + np.random.default_rng(0).normal(0, 1e-4, 2000) + 0.001 * np.sin(time / 8))
    for k, place in enumerate(places):
        flux[place - 10 : place + 11] *= 1 - depth / (k + 1)
    return time, flux


def test_each_planted_dip_is_found_once_and_the_deepest_comes_first():
    time, flux = with_dips(500, 1400)
    first, second, third = find_dips(time, flux, count=3)
    assert (first.time, second.time) == (pytest.approx(60, abs=0.2), pytest.approx(78, abs=0.2))
    assert first.depth_ppm == pytest.approx(5000, rel=0.05) and second.depth_ppm == pytest.approx(
        2500, rel=0.1
    )
    assert third.depth_ppm < 300


def test_gaps_and_their_edges_are_no_dips():
    time, flux = with_dips(500)
    flux[900:1100] = np.nan
    flux[1050] = 5000  # a lone bad point in the gap
    time[1500:1510] = np.nan
    assert find_dips(time, flux, count=1)[0].time == pytest.approx(60, abs=0.2)


@pytest.mark.parametrize("flux", [np.full(300, np.nan), np.ones(300), np.ones(4), np.ones(0)])
def test_a_series_without_dips_has_none(flux):
    assert find_dips(np.arange(len(flux), dtype=float), flux) == []


def test_flux_without_a_positive_level_is_refused():
    with pytest.raises(UsageError, match="positive flux"):
        find_dips(np.arange(300.0), np.random.default_rng(0).normal(0, 1, 300))


def test_series_of_different_lengths_are_refused():
    with pytest.raises(UsageError, match="one length"):
        find_dips(np.arange(3.0), np.ones(4))
