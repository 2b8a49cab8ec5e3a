"""Pictures of an assessment, each a function that returns a PNG's bytes."""

from perdure.pipelines.market.evaluation.plots.features import importance, swarm, waterfall
from perdure.pipelines.market.evaluation.plots.money import equity
from perdure.pipelines.market.evaluation.plots.scores import blocks, regimes, reliability, roc

__all__ = ["blocks", "equity", "importance", "regimes", "reliability", "roc", "swarm", "waterfall"]
