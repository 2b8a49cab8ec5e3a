"""Exact resume for LightGBM, XGBoost and CatBoost: a fit in chunks of rounds, which goes on where it was killed.

booster = perdure.boosting.train(run, "lgbm", params, lightgbm.Dataset(x, y), rounds=2000)
"""

from perdure.boosting.course import train

__all__ = ["train"]
