"""Every picture is drawn, has something on it, and shows names as they are."""

from __future__ import annotations

import io

import numpy as np
import pytest

from made_forecasts import made
from perdure.pipelines.market.evaluation import plots
from perdure.pipelines.market.evaluation.assessment import META, assess
from perdure.pipelines.market.evaluation.portfolio import book

RNG = np.random.default_rng(9)
FORECASTS = made(days=60, signal=0.2)
TOLD = assess(FORECASTS, trials=1, seed=1, resamples=20)
NAMES = ["$x_{", "a\nb", *[f"f{k}" for k in range(28)]]
PARTS = RNG.standard_normal((50, 31)) / 50
VALUES = RNG.standard_normal((50, 30))
VALUES[:9, 3] = np.nan
FEATURES = [{"feature": name, "group": "$", "share": 0.1} for name in NAMES]
PLOTS = {
    "reliability": lambda: plots.reliability(FORECASTS.probability, FORECASTS.y),
    "roc": lambda: plots.roc({META: FORECASTS.probability, **FORECASTS.base}, FORECASTS.y),
    "blocks": lambda: plots.blocks(TOLD["models"]),
    "regimes": lambda: plots.regimes(TOLD["by_regime"]),
    "equity": lambda: plots.equity(book(FORECASTS)),
    "importance": lambda: plots.importance(FEATURES),
    "swarm": lambda: plots.swarm(PARTS[:, :-1], VALUES, NAMES, title="$\\frac"),
    "waterfall": lambda: plots.waterfall(PARTS[0], VALUES[0], NAMES, title="$HOSTILE$_{"),
}


def pixels(png):
    from matplotlib.image import imread

    return imread(io.BytesIO(png))


@pytest.mark.parametrize("name", PLOTS)
def test_each_plot_is_a_picture_with_something_on_it_and_a_clean_rim(name):
    picture = pixels(PLOTS[name]())
    assert picture.shape[0] > 200 and picture.shape[1] > 300
    assert (picture[..., :3] < 0.9).any(axis=2).mean() > 0.003
    rim = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (rim[:, :3] > 0.95).all()


def test_equal_input_gives_equal_bytes():
    assert PLOTS["waterfall"]() == PLOTS["waterfall"]()


def test_undefined_figures_are_drawn_as_such():
    rows = [row | {"net_return": {"value": None, "low": None, "high": None}} for row in TOLD["by_regime"]]
    assert plots.regimes(rows) != plots.regimes(TOLD["by_regime"])
    missing = [dict(TOLD["models"][0], auc_by_block=[{"block": k, "auc": None} for k in range(1, 6)])]
    assert len(plots.blocks(missing)) > 1000


def test_one_forecast_and_equal_forecasts_can_be_drawn():
    assert len(plots.swarm(PARTS[:1, :-1], VALUES[:1], NAMES, top=3)) > 1000
    assert len(plots.reliability(np.full(30, 0.5), np.arange(30) % 2)) > 1000
