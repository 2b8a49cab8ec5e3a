"""Light curves as arrays: what every reader returns, and what every later phase takes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

LENGTH = 3197  # points of a curve, as in the Kaggle data that earlier systems were trained on
CADENCE_DAYS = 29.4244 / 1440  # Kepler's long cadence
UNKNOWN = -1  # the label of a curve nobody classified


@dataclass(frozen=True, slots=True)
class Curves:
    """`n` light curves of one length.

    flux:    (n, length) float32 in any unit; NaN where there is no measurement.
    star:    (n,) str, the star that each curve belongs to; several curves may share one.
    label:   (n,) int8: 1 planet, 0 none, -1 unknown.
    columns: further values per curve, each (n,): for instance `kind`, `kp` (magnitude), `mes`, `period_d`.
    """

    flux: np.ndarray
    star: np.ndarray
    label: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.flux)
