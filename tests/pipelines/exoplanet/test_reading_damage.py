"""Whatever bytes are flipped or cut off, a file is read, or refused by name; nothing else happens."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.discovery import discover
from perdure.pipelines.exoplanet.reading import UnreadableError, read

CURVES = np.random.default_rng(0).normal(0, 1, (3, 250)).astype(np.float32)
TIMES = pl.DataFrame({"time": 0.02 * np.arange(250), "flux": CURVES[0], "star_id": ["q"] * 250})


def fits_file(path):
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("TIME", "D", array=0.02 * np.arange(250)),
            fits.Column("PDCSAP_FLUX", "E", array=CURVES[0]),
            fits.Column("SAP_QUALITY", "J", array=np.zeros(250, np.int32)),
        ]
    )
    primary = fits.PrimaryHDU()
    primary.header.update({"KEPLERID": 1, "KEPMAG": 12.1, "QUARTER": 3, "MISSION": "Kepler"})
    fits.HDUList([primary, table]).writeto(path)


def npz_file(path):
    with path.open("wb") as file:
        np.savez_compressed(file, X=CURVES, y=[0, 1, 1])


def npy_file(path):
    with path.open("wb") as file:
        np.save(file, CURVES)


def wide_parquet(path):
    points = {f"f{k}": CURVES[:, k] for k in range(250)}
    pl.DataFrame({"id": ["x", "y", "z"], "label": [1, 0, 1], **points}).write_parquet(path)


def kaggle_csv(path):
    rows = ["1," + ",".join(map(repr, row)) for row in CURVES.tolist()]
    path.write_text("\n".join(["LABEL," + ",".join(f"FLUX.{k}" for k in range(250)), *rows]))


@pytest.mark.parametrize(
    ("layout", "write"),
    [
        ("light-curve-fits", fits_file),
        ("npz", npz_file),
        ("npy", npy_file),
        ("wide-parquet", wide_parquet),
        ("long-parquet", TIMES.write_parquet),
        ("long-csv", TIMES.write_csv),
        ("kaggle-csv", kaggle_csv),
    ],
)
def test_damage_is_refused_by_name_or_read_and_never_anything_else(tmp_path, layout, write):
    write(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    assert len(read(tmp_path / "whole", layout, length=250).curves)
    random = np.random.default_rng(1)
    damaged = tmp_path / "damaged"
    noticed = 0
    for turn in range(60):
        content = bytearray(whole)
        for place in random.integers(0, len(whole) if turn % 2 else min(len(whole), 4000), 4):
            content[place] = random.integers(0, 256)
        damaged.write_bytes(content[: random.integers(1, len(whole))] if turn % 5 == 0 else content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                reading = read(damaged, layout, length=250)
                curves = reading.curves
                noticed += bool(reading.rejected)
                assert curves.flux.shape[1] == 250 and set(curves.label) <= {-1, 0, 1}
            except UnreadableError as error:
                noticed += 1
                assert "damaged" in str(error)
            try:
                discover(damaged)
            except UsageError as error:
                assert "damaged" in str(error)
    assert noticed
