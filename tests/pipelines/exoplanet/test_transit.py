import itertools

import numpy as np
import pytest

from perdure.pipelines.exoplanet.simulator.transit import Orbit, transit

TIME = np.linspace(-0.4, 0.4, 801)


def orbit(**changes):
    values = {"period": 3.0, "t0": 0.0, "ratio": 0.1, "a": 8.0, "impact": 0.2, "u1": 0.4, "u2": 0.3}
    return Orbit(**{**values, **changes})


def test_an_unlimbed_star_loses_exactly_the_disc_s_area():
    flux = transit(TIME, orbit(u1=0.0, u2=0.0), exposure=0.0, oversample=1)
    assert flux.min() == pytest.approx(1 - 0.1**2, abs=1e-7)
    assert flux.max() == 1.0


def test_the_centre_of_a_limb_darkened_star_is_brighter_than_its_mean():
    dark = 1 - transit(np.zeros(1), orbit(impact=0.0, ratio=0.01), exposure=0.0, oversample=1)[0]
    mean_intensity = 1 - 0.4 / 3 - 0.3 / 6
    assert dark == pytest.approx(0.01**2 / mean_intensity, rel=1e-3)


def test_a_disc_that_misses_the_star_blocks_nothing():
    assert (transit(TIME, orbit(impact=1.11), exposure=0.02) == 1.0).all()


def test_a_transit_is_symmetric_and_repeats_with_the_period():
    flux = transit(TIME, orbit(), exposure=0.02)
    np.testing.assert_allclose(flux, flux[::-1], atol=1e-12)
    np.testing.assert_allclose(transit(TIME + 3.0, orbit(), exposure=0.02), flux, atol=1e-9)


def test_flux_is_lost_just_within_the_stated_duration():
    lost = TIME[transit(TIME, orbit(), exposure=0.0, oversample=1) < 1 - 1e-9]
    assert lost.max() - lost.min() == pytest.approx(orbit().duration, abs=2.1e-3)


def test_a_longer_exposure_blurs_the_edges_and_keeps_the_lost_light():
    sharp = 1 - transit(TIME, orbit(), exposure=0.0, oversample=1)
    blurred = 1 - transit(TIME, orbit(), exposure=0.05, oversample=25)
    assert np.abs(np.diff(blurred)).max() < np.abs(np.diff(sharp)).max()
    assert blurred.sum() == pytest.approx(sharp.sum(), rel=1e-3)


@pytest.mark.parametrize("impact", [0.0, 0.3, 0.7, 0.95, 1.02])
def test_light_curves_agree_with_batman_to_one_in_a_hundred_thousand(impact):
    batman = pytest.importorskip(
        "batman", reason="batman-package, the independent reference, is not installed"
    )
    limbs = [(0.1, 0.05), (0.4, 0.3), (0.8, 0.0), (0.1, 0.6)]
    for ratio, a, (u1, u2), period in itertools.product(
        [0.005, 0.05, 0.1, 0.18, 0.4], [3.5, 12, 40], limbs, [1.3, 9.0]
    ):
        asked = batman.TransitParams()
        asked.t0, asked.per, asked.rp, asked.a = 0.0, period, ratio, a
        asked.inc, asked.ecc, asked.w = np.degrees(np.arccos(impact / a)), 0.0, 90.0
        asked.limb_dark, asked.u = "quadratic", [u1, u2]
        reference = batman.TransitModel(asked, TIME, max_err=0.01).light_curve(asked)
        ours = transit(TIME, Orbit(period, 0.0, ratio, a, impact, u1, u2), exposure=0.0, oversample=1)
        assert np.abs(ours - reference).max() < 1e-5, (ratio, a, u1, u2, period)
