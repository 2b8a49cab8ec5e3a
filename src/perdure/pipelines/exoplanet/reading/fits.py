"""Light-curve files of Kepler, K2 and TESS, as the archive at STScI serves them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perdure.pipelines.exoplanet.curves import LENGTH
from perdure.pipelines.exoplanet.reading.columns import star_label
from perdure.pipelines.exoplanet.reading.result import Reading, Series, UnreadableError, refusing
from perdure.pipelines.exoplanet.reading.rules import series_to_curves

_NO_LABELS: Mapping[str, int] = {}

# Cadences with any of these bits hold no useful flux. Bits and names: Kepler Archive Manual, table 2-3, and TESS
# Science Data Products Description, table 28; which of them to leave out is lightkurve's default choice.
_KEPLER_BITS = (
    1  # attitude tweak
    | 2  # safe mode
    | 4  # coarse point
    | 8  # Earth point
    | 32  # desaturation
    | 256  # manual exclusion
    | 16384  # detector anomaly
    | 65536  # no data
    | 1048576  # thruster firing
)
_TESS_BITS = (
    1  # attitude tweak
    | 2  # safe mode
    | 4  # coarse point
    | 8  # Earth point
    | 16  # argabrightening
    | 32  # desaturation
    | 128  # manual exclusion
    | 512  # impulsive outlier
    | 16384  # bad calibration
)


def read_fits(path: Path, *, length: int = LENGTH, labels: Mapping[str, int] = _NO_LABELS) -> Reading:
    """The windows of one light-curve file; its label stands in `labels`, or else in its folder's name."""
    series = read_fits_series(path)
    return series_to_curves(series, label=star_label(series.star, path, labels), row=0, length=length)


def read_fits_series(path: Path) -> Series:
    """PDCSAP_FLUX of one light-curve file by cadence number, NaN where it is missing or of bad quality.

    Facts: `kp` (Kepler or TESS magnitude), `quarter` (of Kepler; campaign of K2, sector of TESS), `time_zero`
    (the Julian date of time 0: 2454833 for BKJD, 2457000 for BTJD), `cadence_d`, `time_start`.
    """
    from astropy.io import fits

    with refusing(path, "a FITS file"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with fits.open(path, memmap=False) as file:
            table = _light_curve(file, path)
            columns = {name: np.asarray(table.data[name]) for name in _columns(table, path)}
            cut = [str(warning.message) for warning in caught if "truncated" in str(warning.message)]
            if cut:
                raise UnreadableError(f"{path}: the file is cut short; fetch it again ({cut[0]})")
            return _series(path, file[0].header, table.header, columns)


def _light_curve(file: Any, path: Path) -> Any:
    """The table of the light curve; an UnreadableError says what else the file is."""
    for unit in file[1:]:
        names = unit.columns.names if hasattr(unit, "columns") else []
        if "PDCSAP_FLUX" in names:
            return unit
        if "FLUX" in names and unit.header.get("EXTNAME", "").upper() in ("TARGETTABLES", "PIXELS"):
            raise UnreadableError(
                f"{path}: this is a target pixel file (images); fetch the star's light curve file instead "
                "(its name ends in _llc.fits, _slc.fits or _lc.fits)"
            )
    kinds = ", ".join(str(unit.name) for unit in file) or "nothing"
    raise UnreadableError(
        f"{path}: no table with PDCSAP_FLUX was found (it holds {kinds}); perdure reads the light-curve "
        "files of Kepler, K2 and TESS"
    )


def _columns(table: Any, path: Path) -> list[str]:
    names = [
        name
        for name in ("TIME", "PDCSAP_FLUX", "CADENCENO", "SAP_QUALITY", "QUALITY")
        if name in table.columns.names
    ]
    if "TIME" not in names:
        raise UnreadableError(f"{path}: its light curve has no TIME column")
    if not len(table.data):
        raise UnreadableError(f"{path}: its light curve has no rows")
    return names


def _series(path: Path, primary: Any, head: Any, columns: Mapping[str, np.ndarray]) -> Series:
    mission = str(primary.get("TELESCOP", "")).lower()
    time = columns["TIME"].astype(np.float64)
    flux = columns["PDCSAP_FLUX"].astype(np.float32)
    quality = columns.get("SAP_QUALITY", columns.get("QUALITY", np.zeros(len(time), np.int32)))
    bits = _TESS_BITS if "tess" in mission else _KEPLER_BITS
    flux[(quality.astype(np.int64) & bits) != 0] = np.nan
    place = columns.get("CADENCENO", np.arange(len(time))).astype(np.int64)
    place -= place.min()
    if (
        place.max() >= 2 * len(place) + 1000
    ):  # a cadence number that makes no sense: trust the order of the rows
        place = np.arange(len(time))
    grid = np.full(int(place.max()) + 1, np.nan, np.float32)
    times = np.full(len(grid), np.nan)
    grid[place], times[place] = flux, time
    facts = {
        "kp": _number(primary, "KEPMAG", "TESSMAG"),
        "quarter": _number(primary, "QUARTER", "CAMPAIGN", "SECTOR"),
        "time_zero": _number(head, "BJDREFI") + _number(head, "BJDREFF"),
        "cadence_d": float(np.nanmedian(np.diff(times))) if np.isfinite(np.diff(times)).any() else math.nan,
        "time_start": float(np.nanmin(times)) if np.isfinite(times).any() else math.nan,
    }
    return Series(times, grid, _star(path, primary), facts)


def _number(header: Any, *names: str) -> float:
    for name in names:
        value = header.get(name)
        if isinstance(value, int | float):
            return float(value)
    return math.nan


def _star(path: Path, primary: Any) -> str:
    """ "KIC 11442793", "EPIC 201367065", "TIC 261136679": the catalogue's name, the same in each quarter."""
    if isinstance(primary.get("TICID"), int):
        return f"TIC {primary['TICID']}"
    if isinstance(primary.get("KEPLERID"), int):
        catalogue = "EPIC" if str(primary.get("MISSION", "")).upper() == "K2" else "KIC"
        return f"{catalogue} {primary['KEPLERID']}"
    name = str(primary.get("OBJECT", "")).strip()
    if not name:
        raise UnreadableError(f"{path}: it does not name its star (no TICID, KEPLERID or OBJECT)")
    return name
