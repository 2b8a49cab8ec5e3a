"""The eight base models by name: how each is trained, and how it is read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import perdure
from perdure.pipelines.market.models import boosters, network, trees
from perdure.pipelines.market.models.training import Forecaster, Training


@dataclass(frozen=True, slots=True)
class Model:
    """fit: trains, resuming within, and gives the model's bytes; read: the model of those bytes."""

    fit: Callable[[perdure.Run, Training], bytes]
    read: Callable[[bytes], Forecaster]


MODELS = {
    "lightgbm": Model(boosters.fit_lightgbm, boosters.LightGBM.read),
    "xgboost": Model(boosters.fit_xgboost, boosters.XGBoost.read),
    "catboost": Model(boosters.fit_catboost, boosters.CatBoost.read),
    "histograms": Model(trees.fit_histograms, trees.Histograms.read),
    "random forest": Model(trees.fit_forest, trees.Forest.read),
    "extra trees": Model(trees.fit_extra_trees, trees.Forest.read),
    "logistic": Model(trees.fit_logistic, trees.Linear.read),
    "network": Model(network.fit, network.Network.read),
}
