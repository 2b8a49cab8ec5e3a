"""What is judged: out-of-sample forecasts, and what happened after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Self

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.samples import regimes as market_regimes

LOCKBOX = 5


@dataclass(frozen=True, slots=True)
class Forecasts:
    """One row a forecast, in any order.

    day: (n,) datetime64[D], when it was made. symbol, sector: (n,) str. regime: (n,) int8, 0..5, an index of
    `regimes`. block: (n,) int, forward blocks 0..4, and LOCKBOX. y: (n,) int8, 1 for a rise. ret: (n,) float64, simple
    return of the trade. excess: (n,) float64, its return over the sector's. weight: (n,) float64, of the sample.
    probability: (n,) float64, the meta-learner's. oracle: (n,) float64, the best possible score, NaN where unknown.
    base: (n,) float64 probabilities by base model.

    Raises UsageError for columns of different lengths, labels that are not 0 or 1, numbers that are no probabilities,
    and unknown regimes and blocks.
    """

    day: np.ndarray
    symbol: np.ndarray
    sector: np.ndarray
    regime: np.ndarray
    block: np.ndarray
    y: np.ndarray
    ret: np.ndarray
    excess: np.ndarray
    weight: np.ndarray
    probability: np.ndarray
    oracle: np.ndarray
    base: Mapping[str, np.ndarray] = field(default_factory=dict)
    regimes: tuple[str, ...] = market_regimes.NAMES

    def __post_init__(self) -> None:
        columns = self._columns() | {f"base {name}": values for name, values in self.base.items()}
        wrong = {name: len(values) for name, values in columns.items() if len(values) != len(self.day)}
        if wrong:
            raise UsageError(f"{len(self.day)} days, but {wrong}; give every column one value a forecast")
        _require(np.isin(self.y, (0, 1)), self.y, "labels", "0 or 1; leave rows without a label out")
        for name, values in {"the meta-learner": self.probability, **self.base}.items():
            _require((values >= 0) & (values <= 1), values, f"probabilities of {name}", "in 0..1")
        _require(np.isfinite(self.ret), self.ret, "returns", "finite; leave trades without an end out")
        known = len(self.regimes) - 1
        _require((self.regime >= 0) & (self.regime <= known), self.regime, "regimes", f"0..{known}")
        _require((self.block >= 0) & (self.block <= LOCKBOX), self.block, "blocks", f"0..{LOCKBOX}")

    def __len__(self) -> int:
        return len(self.day)

    def take(self, rows: np.ndarray) -> Self:
        """The forecasts at `rows` (a mask or indices)."""
        taken = {name: values[rows] for name, values in self._columns().items()}
        return type(self)(**taken, base={k: v[rows] for k, v in self.base.items()}, regimes=self.regimes)

    @property
    def forward(self) -> Self:
        """The forecasts outside the lockbox."""
        return self.take(self.block != LOCKBOX)

    @property
    def lockbox(self) -> Self:
        """The forecasts inside the lockbox."""
        return self.take(self.block == LOCKBOX)

    def _columns(self) -> dict[str, np.ndarray]:
        names = (column.name for column in fields(self) if column.name not in {"base", "regimes"})
        return {name: getattr(self, name) for name in names}


def _require(valid: np.ndarray, values: np.ndarray, what: str, wanted: str) -> None:
    if not valid.all():
        row = int(np.argmin(valid))
        raise UsageError(f"{what} must be {wanted}; row {row} holds {values[row]}")
