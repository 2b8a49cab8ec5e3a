"""Phase 2: all samples of all symbols, out of the run's database into arrays."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.models.training import Training

_CHUNK = 4096  # rows turned into arrays at a time, for Python's floats take eight times the space
_FACTS = ("symbol", "sector", "day", "t1", "regime", "y", "ret", "excess", "weight", "oracle")


@dataclass(frozen=True, slots=True)
class SampleTable:
    """The table `samples` of a run. Its content is fingerprinted by the records of the units that made it."""

    database: Path

    def __perdure_fingerprint__(self) -> str:
        return "the table samples"


@dataclass(frozen=True, slots=True)
class Matrix:
    """n samples, symbol by symbol, each oldest first.

    x: (n, features) float32. y: (n,) int8. regime: (n,) int8. ret, excess, weight, oracle: (n,) float64; oracle is
    NaN where it is not known. day, t1: (n,) datetime64[D]. symbol: (n,) int16 into `symbols`; sectors: one a symbol.
    """

    x: np.ndarray
    y: np.ndarray
    regime: np.ndarray
    ret: np.ndarray
    excess: np.ndarray
    weight: np.ndarray
    oracle: np.ndarray
    day: np.ndarray
    t1: np.ndarray
    symbol: np.ndarray
    symbols: list[str]
    sectors: list[str]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """The matrix of what `load` recorded."""
        return cls(**{name: record[name] for name in cls.__slots__})

    def training(self, rows: np.ndarray, config: Mapping[str, Any]) -> Training:
        """What a model sees of the rows."""
        weight = self.weight[rows]
        return Training(self.x[rows], self.y[rows], weight / weight.mean(), config)


def load(table: SampleTable, done: Mapping[str, Any], *, features: Sequence[str]) -> dict[str, Any]:
    """The record of a `Matrix`; `done` holds the symbols whose samples are whole. Raises UsageError for none."""
    if not done:
        raise UsageError(
            "no symbol gave samples, so there is nothing to learn from; see above, or `perdure status`"
        )
    with closing(sqlite3.connect(f"{table.database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        columns = ", ".join(f'"{name}"' for name in (*_FACTS, *features))
        cursor = connection.execute(f"SELECT {columns} FROM samples ORDER BY _position, _row")  # noqa: S608
        facts: list[tuple[Any, ...]] = []
        blocks: list[np.ndarray] = []
        while rows := cursor.fetchmany(_CHUNK):
            facts += [row[: len(_FACTS)] for row in rows]
            blocks.append(np.array([row[len(_FACTS) :] for row in rows], np.float32))
    return _record(facts, np.concatenate(blocks), list(done))


def _record(facts: list[tuple[Any, ...]], x: np.ndarray, done: list[str]) -> dict[str, Any]:
    column = dict(zip(_FACTS, zip(*facts, strict=True), strict=True))
    present = dict(zip(column["symbol"], column["sector"], strict=True))  # in the order of the units
    missing = sorted(set(done) - set(present))
    if missing:
        raise UsageError(
            f"the table samples has no rows of {', '.join(missing)}, although they were recorded; "
            "see `perdure verify`"
        )
    number = {symbol: k for k, symbol in enumerate(present)}
    floats = {name: np.array(column[name], np.float64) for name in ("ret", "excess", "weight", "oracle")}
    days = {name: np.array(column[name], "datetime64[D]") for name in ("day", "t1")}
    return {
        "x": x, "y": np.array(column["y"], np.int8), "regime": np.array(column["regime"], np.int8), **floats, **days,
        "symbol": np.array([number[symbol] for symbol in column["symbol"]], np.int16),
        "symbols": list(present), "sectors": list(present.values()),
    }  # fmt: skip
