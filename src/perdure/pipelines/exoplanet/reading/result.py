"""What reading a file gives: curves and the rows that were refused, or a whole series with its times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import Curves


class UnreadableError(UsageError):
    """A file as a whole cannot be read; the message names it, says why, and what would be readable."""


@contextmanager
def refusing(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into an UnreadableError that names the file.

    This catches every Exception on purpose: fed with flipped bytes, parsers raise far more kinds than they document
    (zlib.error, TokenError, VerifyError, UnicodeDecodeError...), and one bad file must stop nobody.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(f"{path}: it cannot be read as {kind}: {reason}") from error


@dataclass(frozen=True, slots=True)
class Reading:
    """The curves of one file, and (row, reason) of everything in it that was quarantined.

    A row is a line of a text file, counted from 1 with its header, and elsewhere an index from 0.
    """

    curves: Curves
    rejected: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """One continuous series on an even grid of cadences, as measured.

    time:  (m,) float64 days, NaN where the file has none.
    flux:  (m,) float32, NaN where there is no measurement.
    star:  such as "KIC 11442793".
    facts: what the file says, as numbers: `kp`, `quarter`, `time_zero` (BJD of time 0), `cadence_d`, `time_start`.
    """

    time: np.ndarray
    flux: np.ndarray
    star: str
    facts: dict[str, float]
