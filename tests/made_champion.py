"""A made ensemble, its rows and its registry, for tests of what is done with a trained model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perdure.pipelines.market.deployment.gate import Check
from perdure.pipelines.market.deployment.latest import Rows
from perdure.pipelines.market.deployment.records import ModelVersion
from perdure.pipelines.market.deployment.registry import Registry
from perdure.pipelines.market.features import catalogue

DAY = np.datetime64("2025-06-13")  # a Friday
SYMBOLS = ("AAPL", "MSFT", "JPM", "XOM", "KO")
PASSED = (Check("AUC", True, 0.55, 0.515, "0.55 out of fold"),)


@dataclass(frozen=True, slots=True)
class Linear:
    """An ensemble whose forecast is a logistic of the first feature; `lean` tells two of them apart."""

    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, content: bytes) -> Linear:
        return cls(json.loads(content))

    def probabilities(self, x: np.ndarray, regime: np.ndarray) -> np.ndarray:
        return self.base_probabilities(x)["linear"]

    def base_probabilities(self, x: np.ndarray) -> dict[str, np.ndarray]:
        chance = 1 / (1 + np.exp(-(x[:, 0].astype(np.float64) + self.manifest["lean"])))
        return {"linear": chance, "network": np.full(len(x), 0.5)}

    def contributions(self, x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        weights = 0.5 ** np.arange(x.shape[1])
        base = np.full((len(x), 1), self.manifest["lean"])
        values = np.hstack([x * weights, base]).astype(np.float64)
        return {"linear": (values, values.sum(axis=1))}


def content(*, lean: float = 0.0, **changes: Any) -> bytes:
    """The bytes of an ensemble."""
    facts = {
        "features": list(catalogue.names()), "feature_digest": catalogue.digest(), "trained_until": "2025-05-30",
        "config": {"source": "synthetic"}, "lean": lean,
    }  # fmt: skip
    return json.dumps(facts | changes).encode()


def rows(**changes: Any) -> Rows:
    """Five symbols on a day; the first feature falls from AAPL to KO."""
    x = np.zeros((len(SYMBOLS), len(catalogue.names())), np.float32)
    x[:, 0] = np.linspace(1, -1, len(SYMBOLS))
    x[:, 1] = -0.4
    facts: dict[str, Any] = {
        "symbols": SYMBOLS, "sectors": ("Technology", "Technology", "Financials", "Energy", "Staples"),
        "day": np.full(len(SYMBOLS), DAY), "x": x, "regime": np.full(len(SYMBOLS), 3, np.int8),
        "skipped": {"TSLA": "only 12 of 12 bars can be used"},
    }  # fmt: skip
    return Rows(**facts | changes)


def promoted(path: Path, stored: bytes) -> ModelVersion:
    """The registry at `path` with these bytes as its champion."""
    with Registry(path) as registry:
        added = registry.add(
            "market", stored, run="market", feature_digest=catalogue.digest(), trained_until="2025-05-30",
            metrics={"auc": 0.55},
        )  # fmt: skip
        before = registry.alias("market")
        registry.record_gate("market", added.version, PASSED, against=before.version if before else None)
        registry.promote("market", added.version, who="a test")
    return added
