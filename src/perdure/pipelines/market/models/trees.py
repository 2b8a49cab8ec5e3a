"""Four of the base models: forests that are saved as they grow, boosted histograms, and elastic-net logistic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import perdure
import perdure.sklearn
from perdure.pipelines.market.models.training import Scaler, Training, log_odds

_FOREST = {"min_samples_leaf": 50, "max_features": 0.1, "max_samples": 0.3, "bootstrap": True}


def fit_forest(run: perdure.Run, training: Training) -> bytes:
    """A random forest, in skops' format."""
    from sklearn.ensemble import RandomForestClassifier

    return _fit(run, RandomForestClassifier(**_size(training), **_FOREST), training)


def fit_extra_trees(run: perdure.Run, training: Training) -> bytes:
    """Extremely randomised trees, in skops' format."""
    from sklearn.ensemble import ExtraTreesClassifier

    return _fit(run, ExtraTreesClassifier(**_size(training), **_FOREST), training)


def fit_histograms(run: perdure.Run, training: Training) -> bytes:
    """scikit-learn's boosting over histograms, in skops' format."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingClassifier(
        learning_rate=0.02, max_iter=training.config["rounds"], max_leaf_nodes=31, min_samples_leaf=100,
        l2_regularization=10.0, max_features=0.3, max_bins=63, early_stopping=False,
    )  # fmt: skip
    # Its threads meet after every few rows; while they wait passively, two are slower than one.
    with threadpool_limits(1, user_api="openmp"):
        return _fit(run, model, training)


def fit_logistic(run: perdure.Run, training: Training) -> bytes:
    """Logistic regression with an elastic net over scaled features: weights, bias and scaler in safetensors."""
    from safetensors.numpy import save
    from sklearn.linear_model import LogisticRegression

    scaler = Scaler.of(training.x)
    model = LogisticRegression(solver="saga", C=0.002, l1_ratio=0.5, max_iter=40, tol=1e-3)
    fitted = perdure.sklearn.fit(
        run, "fit", model, scaler(training.x), training.y, sample_weight=training.weight
    )
    return save(
        {
            "weights": np.asarray(fitted.coef_[0], np.float64), "bias": np.asarray(fitted.intercept_, np.float64),
            "mean": scaler.mean, "deviation": scaler.deviation,
        }
    )  # fmt: skip


def _size(training: Training) -> dict[str, Any]:
    return {"n_estimators": training.config["trees"], "n_jobs": training.config["threads"]}


def _fit(run: perdure.Run, estimator: Any, training: Training) -> bytes:
    fitted = perdure.sklearn.fit(
        run, "trees", estimator, training.x, training.y, sample_weight=training.weight
    )
    return perdure.sklearn.dumps(fitted)


@dataclass(frozen=True, slots=True)
class Forest:
    """A trained forest; its SHAP values are shares of a probability."""

    estimator: Any

    @classmethod
    def read(cls, content: bytes) -> Forest:
        estimator = perdure.sklearn.loads(content)
        estimator.n_jobs = 1  # a forecast of some rows is not worth threads
        return cls(estimator)

    def logit(self, x: np.ndarray) -> np.ndarray:
        return log_odds(self.estimator.predict_proba(x)[:, 1])

    def contributions(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shares, base = _tree_explanation(self.estimator, x)
        return np.column_stack([shares[:, :, 1], np.full(len(x), base[1])]), self.estimator.predict_proba(x)[
            :, 1
        ]


@dataclass(frozen=True, slots=True)
class Histograms:
    """A trained HistGradientBoostingClassifier; its SHAP values are log-odds."""

    estimator: Any

    @classmethod
    def read(cls, content: bytes) -> Histograms:
        return cls(perdure.sklearn.loads(content))

    def logit(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.estimator.decision_function(x), np.float64)

    def contributions(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shares, base = _tree_explanation(self.estimator, x)
        return np.column_stack([shares, np.full(len(x), float(np.ravel(base)[0]))]), self.logit(x)


def _tree_explanation(estimator: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SHAP values of a tree ensemble by its own paths (Lundberg et al. 2020), and their base value."""
    import shap

    explainer = shap.TreeExplainer(estimator, feature_perturbation="tree_path_dependent")
    return np.asarray(explainer.shap_values(x, check_additivity=False), np.float64), explainer.expected_value


@dataclass(frozen=True, slots=True)
class Linear:
    """A trained logistic regression; its contributions are exact for independent features."""

    scaler: Scaler
    weights: np.ndarray
    bias: float

    @classmethod
    def read(cls, content: bytes) -> Linear:
        from safetensors.numpy import load

        tensors = load(content)
        return cls(
            Scaler(tensors["mean"], tensors["deviation"]), tensors["weights"], float(tensors["bias"][0])
        )

    def logit(self, x: np.ndarray) -> np.ndarray:
        return np.einsum("nf,f->n", self.scaler(x).astype(np.float64), self.weights) + self.bias

    def contributions(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Scaled features have mean zero, so that the bias is what is expected.
        shares = self.scaler(x).astype(np.float64) * self.weights
        return np.column_stack([shares, np.full(len(x), self.bias)]), self.logit(x)
