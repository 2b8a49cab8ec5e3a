"""Three of the base models: LightGBM, XGBoost and CatBoost, each saved and resumed in mid-fit."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import perdure
import perdure.boosting
from perdure.pipelines.market.models.training import Training

_ROUNDS = "rounds"  # the loop's name below its unit


def fit_lightgbm(run: perdure.Run, training: Training) -> bytes:
    """The model in LightGBM's text format."""
    import lightgbm

    config = training.config
    parameters = {
        "objective": "binary", "learning_rate": 0.02, "num_leaves": 31, "min_data_in_leaf": 100,
        "feature_fraction": 0.3, "bagging_fraction": 0.5, "bagging_freq": 1, "lambda_l2": 10.0, "max_bin": 63,
        "num_threads": config["threads"], "verbosity": -1,
    }  # fmt: skip
    rows = lightgbm.Dataset(training.x, training.y, weight=training.weight, free_raw_data=False)
    booster = perdure.boosting.train(
        run, _ROUNDS, parameters, rows, rounds=config["rounds"], chunk=config["chunk"]
    )
    return booster.model_to_string().encode()


def fit_xgboost(run: perdure.Run, training: Training) -> bytes:
    """The model in XGBoost's UBJSON."""
    import xgboost

    config = training.config
    parameters = {
        "objective": "binary:logistic", "eta": 0.02, "max_depth": 5, "min_child_weight": 50.0, "subsample": 0.5,
        "colsample_bytree": 0.3, "lambda": 10.0, "tree_method": "hist", "max_bin": 64, "nthread": config["threads"],
    }  # fmt: skip
    rows = xgboost.DMatrix(training.x, training.y, weight=training.weight)
    booster = perdure.boosting.train(
        run, _ROUNDS, parameters, rows, rounds=config["rounds"], chunk=config["chunk"]
    )
    return bytes(booster.save_raw("ubj"))


def fit_catboost(run: perdure.Run, training: Training) -> bytes:
    """The model in CatBoost's binary format."""
    import catboost

    config = training.config
    parameters = {
        "loss_function": "Logloss", "learning_rate": 0.03, "depth": 6, "l2_leaf_reg": 10.0, "rsm": 0.3,
        "bootstrap_type": "Bernoulli", "subsample": 0.5, "border_count": 64, "boosting_type": "Plain",
        "thread_count": config["threads"], "verbose": False, "allow_writing_files": False,
    }  # fmt: skip
    rows = catboost.Pool(training.x, training.y, weight=training.weight)
    model = perdure.boosting.train(
        run, _ROUNDS, parameters, rows, rounds=config["rounds"], chunk=config["chunk"]
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model.cbm"
        model.save_model(str(place))
        return place.read_bytes()


@dataclass(frozen=True, slots=True)
class LightGBM:
    """A trained LightGBM model."""

    booster: Any

    @classmethod
    def read(cls, content: bytes) -> LightGBM:
        import lightgbm

        return cls(lightgbm.Booster(model_str=content.decode()))

    def logit(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.booster.predict(x, raw_score=True, num_threads=1), np.float64)

    def contributions(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shares = self.booster.predict(x, pred_contrib=True, num_threads=1)
        return np.asarray(shares, np.float64), self.logit(x)


@dataclass(frozen=True, slots=True)
class XGBoost:
    """A trained XGBoost model."""

    booster: Any

    @classmethod
    def read(cls, content: bytes) -> XGBoost:
        import xgboost

        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(content))
        return cls(booster)

    def logit(self, x: np.ndarray) -> np.ndarray:
        import xgboost

        return np.asarray(self.booster.predict(xgboost.DMatrix(x), output_margin=True), np.float64)

    def contributions(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import xgboost

        shares = self.booster.predict(xgboost.DMatrix(x), pred_contribs=True)
        return np.asarray(shares, np.float64), self.logit(x)


@dataclass(frozen=True, slots=True)
class CatBoost:
    """A trained CatBoost model."""

    model: Any

    @classmethod
    def read(cls, content: bytes) -> CatBoost:
        import catboost

        model = catboost.CatBoost()
        model.load_model(blob=content)
        return cls(model)

    def logit(self, x: np.ndarray) -> np.ndarray:
        import catboost

        raw = self.model.predict(catboost.Pool(x), prediction_type="RawFormulaVal", thread_count=1)
        return np.asarray(raw, np.float64)

    def contributions(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import catboost

        shares = self.model.get_feature_importance(catboost.Pool(x), type="ShapValues", thread_count=1)
        return np.asarray(shares, np.float64), self.logit(x)
