"""Pictures of a run, each a function of arrays that returns a PNG's bytes."""

from perdure.pipelines.exoplanet.plots.curves import gallery, prediction, saliency
from perdure.pipelines.exoplanet.plots.scores import confusion_matrix, precision_recall, reliability, roc
from perdure.pipelines.exoplanet.plots.training import recovery_map, training_curves

__all__ = [
    "confusion_matrix",
    "gallery",
    "precision_recall",
    "prediction",
    "recovery_map",
    "reliability",
    "roc",
    "saliency",
    "training_curves",
]
