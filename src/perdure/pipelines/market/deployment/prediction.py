"""Forecasts of all symbols as of a day, by the champion: from fresh data and the features it knows, or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from perdure.errors import ChangedError, PerdureError, UsageError
from perdure.pipelines.market.deployment.latest import Rows, default_day, rows_as_of
from perdure.pipelines.market.deployment.records import ModelVersion, Verdict, content
from perdure.pipelines.market.deployment.registry import Registry
from perdure.pipelines.market.features import catalogue
from perdure.pipelines.market.samples import regimes

NAME = "market"
PATIENCE = 3  # business days between the newest session and the day asked about; three, for long weekends
DECILES = 10


class StaleError(PerdureError):
    """The newest session of the data is too long before the day asked about."""


class Trained(Protocol):
    """What is asked of an ensemble; x is (n, features) float32, regime (n,) int8."""

    @property
    def manifest(self) -> Mapping[str, Any]: ...

    def probabilities(self, x: np.ndarray, regime: np.ndarray) -> np.ndarray: ...

    def base_probabilities(self, x: np.ndarray) -> dict[str, np.ndarray]: ...

    def contributions(self, x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]: ...


@dataclass(frozen=True, slots=True)
class Champion:
    """The version that forecasts; it may also be another one that was asked for by number."""

    version: ModelVersion
    ensemble: Trained
    gate: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """probability: that y = 1 within the horizon. decile: 10 holds the highest tenth of the day's probabilities."""

    symbol: str
    sector: str
    day: str
    probability: float
    regime: str
    decile: int


def current(registry: Registry) -> ModelVersion:
    """The champion's record. Raises UsageError without one."""
    found = registry.alias(NAME)
    if found is None:
        raise UsageError(
            f"{registry.path} has no champion yet; promote a trained model with `perdure promote`"
        )
    return found


def load(
    registry: Registry, version: int | None = None, *, read: Callable[[bytes], Trained] | None = None
) -> Champion:
    """The champion, or the version of that number. read: turns its bytes into an ensemble.

    Raises UsageError where there is none, and DamagedError where its file is not what was stored.
    """
    chosen = current(registry) if version is None else registry.version(NAME, version)
    ensemble = (read or _ensemble)(content(chosen))
    return Champion(chosen, ensemble, registry.gate(NAME, chosen.version))


def _ensemble(stored: bytes) -> Trained:
    os.environ.setdefault("KERAS_BACKEND", "jax")  # as in training; read when Keras is imported
    from perdure.pipelines.market.learning.ensemble import Ensemble

    return Ensemble.read(stored)


def predict(
    ensemble: Trained, rows: Rows, *, asof: np.datetime64, newest_day: np.datetime64, feature_digest: str,
    patience: int = PATIENCE,
) -> list[Forecast]:  # fmt: skip
    """Forecasts, the highest probability first, and symbols of equal probability by name.

    asof, newest_day: datetime64[D]. feature_digest: of the catalogue that made `rows`. Raises StaleError when the
    newest session is more than `patience` business days before `asof`, UsageError when it lies after it, and
    ChangedError when the ensemble was trained on other features.
    """
    _require_fresh(newest_day, asof, patience)
    _require_features(ensemble, feature_digest)
    if not rows.symbols:
        raise UsageError(f"no symbol has a session up to {asof}; choose a later day or other symbols")
    probability = ensemble.probabilities(rows.x, rows.regime)
    deciles = _deciles(probability)
    found = [
        Forecast(symbol, sector, str(day), float(chance), regimes.NAMES[regime], int(decile))
        for symbol, sector, day, chance, regime, decile in zip(
            rows.symbols, rows.sectors, rows.day, probability, rows.regime, deciles, strict=True
        )
    ]
    return sorted(found, key=lambda one: (-one.probability, one.symbol))


def forecast(
    registry: Path, *, asof: str | None = None, version: int | None = None, source: str | None = None
) -> dict[str, Any]:
    """The `document` of the champion, or of another version, as of a day ("YYYY-MM-DD").

    source: where the data come from, if not from where the model's own came. Without a day it is today; a made market
    ends on a day of its own.
    """
    champion, rows, day = material(registry, asof=asof, version=version, source=source)
    return document(champion, rows, asof=day)


def material(
    registry: Path, *, asof: str | None, version: int | None, source: str | None
) -> tuple[Champion, Rows, np.datetime64]:
    """The model, the rows of the newest session, and the day that was asked about; fresh and fit for each other.

    The features' digest is compared before the rows are made.
    """
    with Registry.existing(registry) as opened:
        champion = load(opened, version)
    _require_features(champion.ensemble, catalogue.digest())
    config = champion.ensemble.manifest["config"]
    day = day_of(asof, source or config["source"])
    rows = rows_as_of(day, config=config, source=source, beside=registry)
    _require_fresh(rows.newest, day, PATIENCE)
    return champion, rows, day


def day_of(text: str | None, source: str) -> np.datetime64:
    """A day that a person wrote. Raises UsageError."""
    if text is None:
        return default_day(source)
    try:
        return np.datetime64(date.fromisoformat(text), "D")
    except ValueError as error:
        raise UsageError(f"{text!r} is not a day; write it as 2025-12-31") from error


def document(champion: Champion, rows: Rows, *, asof: np.datetime64) -> dict[str, Any]:
    """The forecasts and what they rest on, as JSON values. in_sample: whether the model was trained on that day."""
    newest = rows.newest if rows.symbols else asof
    found = predict(champion.ensemble, rows, asof=asof, newest_day=newest, feature_digest=catalogue.digest())
    trained_until = champion.version.trained_until
    return {
        "model": champion.version.name,
        "version": champion.version.version,
        "asof": str(asof),
        "day": str(newest),
        "trained_until": trained_until,
        "in_sample": str(newest) <= trained_until,
        "forecasts": [asdict(one) for one in found],
        "skipped": dict(rows.skipped),
    }


def lines(found: dict[str, Any], *, top: int | None = None) -> list[str]:
    """A document for people; top: only so many of the highest and of the lowest."""
    shown = found["forecasts"]
    left_out = 0 if top is None else max(0, len(shown) - 2 * top)
    kept = shown if not left_out else [*shown[:top], *shown[len(shown) - (top or 0) :]]
    told = [
        f"{one['probability']:.4f}  {one['decile']:>2}  {one['symbol']:<6} {one['sector']}" for one in kept
    ]
    if left_out:
        told.insert(top or 0, f"... {left_out} more between (--json has all)")
    head = (
        f"{found['model']} version {found['version']}, session {found['day']}, regime "
        f'"{shown[0]["regime"]}"; probability, decile, symbol:'
    )
    notes = [f"{symbol} is left out: {reason}" for symbol, reason in found["skipped"].items()]
    if found["in_sample"]:
        notes.append(
            f"the model was trained on data up to {found['trained_until']}: these forecasts prove nothing"
        )
    return [head, *told, *notes]


def as_csv(found: dict[str, Any]) -> bytes:
    """The forecasts of a document as a table."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(Forecast.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found["forecasts"])
    return stream.getvalue().encode()


def _require_fresh(newest: np.datetime64, asof: np.datetime64, patience: int) -> None:
    if newest > asof:
        raise UsageError(
            f"the data reach to {newest}, beyond {asof}; cut them off there, or nothing is a forecast"
        )
    age = int(np.busday_count(newest, asof))
    if age > patience:
        raise StaleError(
            f"the newest session of the data is {newest}, {age} business days before {asof}, and at most {patience} "
            "are allowed; fetch newer data, or ask about an earlier day with --asof"
        )


def _require_features(ensemble: Trained, digest: str) -> None:
    trained = str(ensemble.manifest["feature_digest"])
    if digest != trained:
        raise ChangedError(
            f"the model was trained on features of digest {trained[:12]}, and this perdure makes {digest[:12]}; "
            "train again with `perdure run market`, or use the perdure that trained it",
            [f"features: {trained} -> {digest}"],
        )


def _deciles(probability: np.ndarray) -> np.ndarray:
    """(n,) 1..10 by rank; equal probabilities share the lower one."""
    rank = np.searchsorted(np.sort(probability), probability, side="left")
    return 1 + (DECILES * rank) // len(probability)
