import os
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import CADENCE_DAYS
from perdure.pipelines.exoplanet.simulator import export_kaggle, simulate
from perdure.pipelines.exoplanet.simulator.signal import DIFFICULTIES, NEGATIVES
from perdure.pipelines.exoplanet.simulator.star import cdpp6

LENGTH = 512


def small(stars, *, seed=3, **options):
    return simulate(seed, stars, **{"planet_share": 0.5, "length": LENGTH, **options})


def test_a_star_made_alone_has_the_bits_it_has_in_the_batch():
    batch = small(range(40))
    for index in (0, 17, 39):
        alone = small([index])
        assert alone.flux.tobytes() == batch.flux[index].tobytes()
        assert alone.star[0] == batch.star[index] == f"sim-{index:06d}"
        for name, values in alone.columns.items():
            np.testing.assert_array_equal(values[0], batch.columns[name][index])


def test_a_new_process_makes_the_same_bits():
    code = (
        "from hashlib import sha256; from perdure.pipelines.exoplanet.simulator import simulate; "
        f"print(sha256(simulate(3, range(8), planet_share=0.5, length={LENGTH}).flux.tobytes()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert other.stdout.strip() == sha256(small(range(8)).flux.tobytes()).hexdigest(), other.stderr


def test_another_seed_makes_other_curves():
    assert not np.array_equal(small(range(2)).flux, small(range(2), seed=4).flux, equal_nan=True)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_the_share_of_planets_holds_to_within_one_star_in_any_stretch(share):
    for stars in (range(50), range(133, 233)):
        assert abs(small(stars, planet_share=share).label.sum() - share * len(stars)) <= 1


def test_negatives_come_in_the_stated_shares():
    kinds = simulate(1, range(3000), planet_share=0.0, length=128).columns["kind"]
    for kind, share in NEGATIVES.items():
        spread = 4 * np.sqrt(share * (1 - share) / 3000)
        assert (kinds == kind).mean() == pytest.approx(share, abs=spread)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_planets_are_as_strong_as_their_difficulty_says(difficulty):
    planets = simulate(2, range(60), planet_share=1.0, difficulty=difficulty)
    low, high = DIFFICULTIES[difficulty]
    mes = planets.columns["mes"]
    assert (
        (mes > 0.8 * low) & (mes < 1.05 * high)
    ).mean() > 0.9  # gaps and the bounds of the radius take some


def test_the_stored_strength_can_be_recomputed_from_the_curve():
    planets = simulate(2, range(30), planet_share=1.0, difficulty="easy")
    brightest = int(np.argmax(planets.columns["mes"]))
    values = {name: column[brightest] for name, column in planets.columns.items()}
    time = np.arange(planets.flux.shape[1]) * CADENCE_DAYS
    offset = (time - values["t0_d"] + values["period_d"] / 2) % values["period_d"] - values["period_d"] / 2
    inside = (np.abs(offset) < values["duration_d"] / 2) & np.isfinite(planets.flux[brightest])
    box = values["depth_ppm"] * np.sqrt(inside.sum()) / (values["cdpp6_ppm"] * np.sqrt(0.25 / CADENCE_DAYS))
    assert 0.6 * box < values["mes"] < 1.05 * box


def test_transits_lost_in_gaps_do_not_count_towards_the_strength(monkeypatch):
    seen = small(range(40), planet_share=1.0).columns["mes"]
    monkeypatch.setattr("perdure.pipelines.exoplanet.simulator.batch.observe", lambda *_: None)
    whole = small(range(40), planet_share=1.0).columns["mes"]
    assert (seen <= whole * (1 + 1e-12)).all() and (seen < 0.9999 * whole).sum() > 5


@pytest.mark.parametrize("length", [128, 512, 3197])
def test_two_transits_fit_into_every_curve(length):
    planets = simulate(5, range(40), planet_share=1.0, length=length)
    last = (length - 1) * CADENCE_DAYS
    assert (planets.columns["t0_d"] + planets.columns["period_d"] <= last).all()
    assert (planets.columns["mes"] > 0).all()


def test_only_eclipses_have_a_period():
    curves = small(range(200), planet_share=0.2)
    eclipsing = np.isin(curves.columns["kind"], ["planet", "binary", "grazing", "blend"])
    for name in ("period_d", "t0_d", "depth_ppm", "duration_d", "mes"):
        np.testing.assert_array_equal(np.isfinite(curves.columns[name]), eclipsing)


def test_curves_have_gaps_and_levels_around_one():
    curves = small(range(50))
    assert 0 < np.isnan(curves.flux).mean() < 0.1
    np.testing.assert_allclose(np.nanmedian(curves.flux, axis=1), 1, atol=0.05)
    assert curves.flux.dtype == np.float32 and curves.label.dtype == np.int8


def test_noise_follows_the_stated_formula():
    assert cdpp6(12.0) == pytest.approx(np.sqrt(29**2 + 15**2 + 3.5**2))
    assert cdpp6(15.9) > cdpp6(10.0)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"planet_share": 1.5}, "planet_share is 1.5"),
        ({"difficulty": "absurd"}, "easy, medium, hard"),
        ({"length": 50}, "at least 128"),
    ],
)
def test_impossible_wishes_are_refused_with_what_to_give(options, word):
    with pytest.raises(UsageError, match=word):
        small(range(2), **options)


def test_kaggle_files_hold_the_simulated_stars_in_order(tmp_path):
    paths = export_kaggle(tmp_path, seed=3, curves=10, planet_share=0.5, files=3, length=LENGTH)
    assert [path.name for path in paths] == ["curves-01.csv", "curves-02.csv", "curves-03.csv"]
    header = paths[0].read_text().splitlines()[0].split(",")
    assert header[0] == "LABEL" and header[1] == "FLUX.1" and header[-1] == f"FLUX.{LENGTH}"
    table = np.concatenate([np.loadtxt(path, delimiter=",", skiprows=1) for path in paths])
    curves = small(range(10))
    np.testing.assert_array_equal(table[:, 0], curves.label + 1)
    assert np.isfinite(table).all()
    for row, flux in zip(table[:, 1:], curves.flux, strict=True):
        seen = np.isfinite(flux)
        assert np.corrcoef(row[seen], flux[seen])[0, 1] > 0.9999


def test_kaggle_values_have_two_decimals(tmp_path):
    (path,) = export_kaggle(tmp_path, seed=3, curves=2, planet_share=0.5, files=1, length=LENGTH)
    cells = path.read_text().splitlines()[1].split(",")[1:]
    assert all(len(cell.split(".")[1]) == 2 for cell in cells)


def test_a_failing_export_leaves_no_partial_file(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("perdure.pipelines.exoplanet.simulator.kaggle.simulate", fail)
    with pytest.raises(OSError, match="disk full"):
        export_kaggle(tmp_path, seed=3, curves=2, planet_share=0.5, files=1, length=LENGTH)
    assert list(tmp_path.iterdir()) == []


def test_more_files_than_curves_are_refused(tmp_path):
    with pytest.raises(UsageError, match="5 files for 2 curves"):
        export_kaggle(tmp_path, seed=3, curves=2, planet_share=0.5, files=5)
