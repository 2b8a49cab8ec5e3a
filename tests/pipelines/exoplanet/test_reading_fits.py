"""Light-curve files of Kepler, K2 and TESS: the star, the flux, the quality; and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from perdure.pipelines.exoplanet.reading import UnreadableError, read, read_series
from perdure.pipelines.exoplanet.reading.columns import FITS

KEPLER = Path(os.environ.get("PERDURE_KEPLER_DATA", Path(__file__).parents[4] / "shared/data/kepler-90"))


def write_light_curve(path, *, cadences=400, quality=(), skip=(), flux=None, **head):
    values = np.random.default_rng(1).normal(5000, 5, cadences).astype(np.float32) if flux is None else flux
    kept = np.setdiff1d(np.arange(cadences), skip)
    flags = np.zeros(cadences, np.int32)
    for cadence, bits in quality:
        flags[cadence] = bits
    name = "QUALITY" if "TICID" in head else "SAP_QUALITY"
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("TIME", "D", array=(100 + 0.02 * np.arange(cadences))[kept]),
            fits.Column("CADENCENO", "J", array=(7000 + np.arange(cadences))[kept]),
            fits.Column("PDCSAP_FLUX", "E", array=values[kept]),
            fits.Column(name, "J", array=flags[kept]),
        ],
        name="LIGHTCURVE",
    )
    table.header["BJDREFI"], table.header["BJDREFF"] = 2454833, 0.0
    primary = fits.PrimaryHDU()
    primary.header.update(head)
    fits.HDUList([primary, table]).writeto(path)
    return values


@pytest.mark.parametrize(
    ("head", "star"),
    [
        ({"KEPLERID": 11442793, "MISSION": "Kepler", "TELESCOP": "Kepler", "QUARTER": 3}, "KIC 11442793"),
        ({"KEPLERID": 201367065, "MISSION": "K2", "TELESCOP": "Kepler", "CAMPAIGN": 1}, "EPIC 201367065"),
        ({"TICID": 261136679, "TELESCOP": "TESS", "SECTOR": 1}, "TIC 261136679"),
    ],
)
def test_the_star_is_named_by_its_catalogue(tmp_path, head, star):
    write_light_curve(tmp_path / "x.fits", **head)
    curves = read(tmp_path / "x.fits", FITS, length=500).curves
    assert curves.star.tolist() == [star]
    assert curves.label.tolist() == [-1]
    assert curves.columns["quarter"].tolist() == [
        next(v for k, v in head.items() if k in ("QUARTER", "CAMPAIGN", "SECTOR"))
    ]


def test_bad_quality_and_absent_cadences_are_missing_in_their_place(tmp_path):
    flux = write_light_curve(
        tmp_path / "x.fits", KEPLERID=1, quality=[(5, 32), (6, 128), (7, 1048576)], skip=[20, 21]
    )
    (series,) = read_series(tmp_path / "x.fits", FITS)
    assert np.flatnonzero(np.isnan(series.flux)).tolist() == [
        5,
        7,
        20,
        21,
    ]  # 128, a corrected cosmic ray, stays
    good = np.isfinite(series.flux)
    assert series.flux[good].tobytes() == flux[good].tobytes()
    assert series.facts["time_zero"] == 2454833 and series.facts["cadence_d"] == pytest.approx(0.02)


def test_a_label_comes_from_the_table_with_or_without_the_catalogues_name(tmp_path):
    write_light_curve(tmp_path / "x.fits", KEPLERID=757450)
    for labels in ({"KIC 757450": 1}, {"757450": 1}):
        assert read(tmp_path / "x.fits", FITS, length=500, labels=labels).curves.label.tolist() == [1]


def test_a_target_pixel_file_is_refused_with_what_to_fetch_instead(tmp_path):
    images = fits.Column("FLUX", "4E", dim="(2,2)", array=np.ones((5, 2, 2), np.float32))
    table = fits.BinTableHDU.from_columns([images], name="TARGETTABLES")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "tpf.fits")
    with pytest.raises(UnreadableError, match=r"target pixel file.*light curve file"):
        read(tmp_path / "tpf.fits", FITS)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_a_file_cut_short_is_refused(tmp_path, share):
    write_light_curve(tmp_path / "x.fits", KEPLERID=1)
    content = (tmp_path / "x.fits").read_bytes()
    (tmp_path / "x.fits").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnreadableError, match=r"x\.fits"):
        read(tmp_path / "x.fits", FITS)


def test_a_file_that_names_no_star_is_refused(tmp_path):
    write_light_curve(tmp_path / "x.fits")
    with pytest.raises(UnreadableError, match=r"x\.fits: it does not name its star"):
        read(tmp_path / "x.fits", FITS)


def test_noise_after_the_first_card_is_refused(tmp_path):
    (tmp_path / "x.fits").write_bytes(b"SIMPLE  =" + np.random.default_rng(0).bytes(5760))
    with pytest.raises(UnreadableError, match=r"x\.fits"):
        read(tmp_path / "x.fits", FITS)


def test_a_fits_file_of_another_kind_says_what_it_holds(tmp_path):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((2, 2)), name="PICTURE")]).writeto(
        tmp_path / "x.fits"
    )
    with pytest.raises(UnreadableError, match="PICTURE"):
        read(tmp_path / "x.fits", FITS)


@pytest.mark.skipif(not KEPLER.is_dir(), reason=f"the Kepler-90 files are not at {KEPLER}")
def test_a_real_quarter_of_kepler_90_is_read_in_windows_of_one_star():
    reading = read(KEPLER / "kplr011442793-2009350155506_llc.fits", FITS)
    assert reading.curves.star.tolist() == ["KIC 11442793"] * 2
    assert reading.curves.flux.shape == (2, 3197)
    assert reading.curves.columns["kp"].tolist() == pytest.approx([13.804] * 2)
    assert reading.curves.columns["quarter"].tolist() == [3, 3]
    assert reading.rejected == ()
