"""Simulated light curves: seeded, and each star a pure function of (seed, star index)."""

from perdure.pipelines.exoplanet.simulator.batch import simulate
from perdure.pipelines.exoplanet.simulator.kaggle import export_kaggle

__all__ = ["export_kaggle", "simulate"]
