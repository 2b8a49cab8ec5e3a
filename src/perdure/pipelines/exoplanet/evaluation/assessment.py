"""Phase 7: what the trained network is worth, on curves that nothing before has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from perdure.pipelines.exoplanet.evaluation import baselines, metrics, recovery
from perdure.pipelines.exoplanet.evaluation.calibration import Calibration, shares
from perdure.pipelines.exoplanet.evaluation.saliency import occlusion
from perdure.pipelines.exoplanet.learning.network import Architecture, build
from perdure.pipelines.exoplanet.learning.shards import DataSet, Rows
from perdure.pipelines.exoplanet.learning.training import Shown, probabilities
from perdure.pipelines.exoplanet.preparation.domain import Domain
from perdure.pipelines.exoplanet.preparation.preprocess import Preprocessor

_MOST_SEARCHED = 400  # test curves that box least squares looks at: it takes some 30 ms a curve
_MOST_MEASURED = 4_000  # curves of a part that the metadata baseline looks at


def evaluate(
    architecture: dict[str, Any], weights: list[np.ndarray], readings: Mapping[str, Any],
    prepared: Mapping[str, Any], part: np.ndarray, *, config: Mapping[str, Any], preprocessor: dict[str, Any],
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Metrics with intervals, baselines, the recovery map, and the test part's predictions."""
    data = DataSet.of(readings, prepared, part)
    model = build(Architecture.from_document(architecture), seed=seed)
    model.set_weights(weights)

    def output(curves: np.ndarray) -> np.ndarray:
        return probabilities(model, curves)

    calibration = _calibrated(data, config, output, seed=seed)
    test = Rows(data.prepared, data.test).whole()
    probability = calibration.apply(output(test))
    label, columns = data.label[data.test], data.columns_of(data.test)
    document = metrics.evaluate(
        probability, label, data.star[data.test], columns, seed=seed, threshold=calibration.threshold
    )
    low, high = metrics.null_interval(probability, label, seed=seed)
    raw_train, raw_test = _raw(data, data.train, seed), _raw(data, data.test, seed)
    hits = np.argsort(-probability, kind="stable")[:1]
    return {
        "metrics": document,
        "null_auc": [low, high],
        "calibration": calibration.as_document(),
        "baselines": _baselines(data, raw_train, raw_test, test, seed=seed),
        "recovery": _recovery(data, output, calibration, preprocessor, config, seed=seed),
        "domain": Domain.of(data.measures[data.train]).document(),
        "base_rate": {"train": float(data.label[data.train].mean()), "test": float(label.mean())},
        "test": {"row": data.test, "probability": probability, "label": label, "star": data.star[data.test]},
        "saliency": {"row": int(hits[0]), "fall": occlusion(output, test[int(hits[0])])},
    }


def _calibrated(
    data: DataSet, config: Mapping[str, Any], output: Callable[[np.ndarray], np.ndarray], *, seed: int
) -> Calibration:
    shown = Shown(data, config, seed=seed)
    trained, natural = shares(
        shown.label,
        shown_share=config["shown_share"],
        quiet_share=shown.quiet_share(),
        augmented=config["augment"],
    )
    validation = output(Rows(data.prepared, data.validation).whole())
    return Calibration(trained, natural).fitted(validation, data.label[data.validation])


def _raw(data: DataSet, rows: np.ndarray, seed: int) -> np.ndarray:
    """Rows of a part, not more than the metadata baseline needs."""
    if len(rows) <= _MOST_MEASURED:
        return rows
    return np.sort(np.random.default_rng([seed, 3]).permutation(rows)[:_MOST_MEASURED])


def _baselines(
    data: DataSet, train: np.ndarray, test: np.ndarray, curves: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """What a search without learning reaches, and what metadata alone would."""
    searched = np.random.default_rng([seed, 4]).permutation(len(curves))[:_MOST_SEARCHED]
    fits = baselines.box_search(curves[searched])
    known = baselines.metadata_baseline(
        baselines.metadata(data.raw[train], data.columns_of(train)), data.label[train],
        baselines.metadata(data.raw[test], data.columns_of(test)), data.label[test], seed=seed,
    )  # fmt: skip
    return {
        "box_least_squares_auc": baselines.area(fits.score, data.label[data.test][searched]),
        "box_least_squares_curves": len(searched),
        "metadata_auc": known.test_auc,
        "metadata_features": list(known.features),
        "warning": known.warning,
    }


def _recovery(
    data: DataSet, output: Callable[[np.ndarray], np.ndarray], calibration: Calibration, preprocessor: dict[str, Any],
    config: Mapping[str, Any], *, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Planets put into quiet test stars: how many of them are found."""
    quiet = data.test[data.label[data.test] == 0]
    if "kind" in data.columns:
        quiet = quiet[data.columns["kind"][quiet] == "quiet"]
    prepare = Preprocessor.from_document(preprocessor)

    def predict(flux: np.ndarray) -> np.ndarray:
        return calibration.apply(output(prepare.apply(flux)))

    found = recovery.recover(
        predict, data.raw[quiet[:500]], seed=seed, per_cell=config["recovery_per_cell"],
        threshold=calibration.threshold,
    )  # fmt: skip
    return found.as_document()
