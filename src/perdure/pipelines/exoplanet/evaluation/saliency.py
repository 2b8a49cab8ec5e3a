"""Which parts of a curve a prediction rests on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def occlusion(
    predict: Callable[[np.ndarray], np.ndarray], curve: np.ndarray, *, width: int = 64, stride: int = 16
) -> np.ndarray:
    """Fall of the probability when a point's surroundings are hidden, (length,) float64.

    predict: preprocessed curves (m, length) -> probability (m,); called once. Windows of `width` points
    are set to 0, as gaps are; a point's value is the mean over the windows that cover it (Zeiler & Fergus 2014).
    """
    starts = np.arange(0, max(1, curve.size - width + stride), stride)
    hidden = np.repeat(curve[None], len(starts) + 1, axis=0)
    for row, start in enumerate(starts):
        hidden[row, start : start + width] = 0
    probability = np.asarray(predict(hidden), dtype=np.float64).ravel()
    fall, cover = np.zeros(curve.size), np.zeros(curve.size)
    for row, start in enumerate(starts):
        fall[start : start + width] += probability[-1] - probability[row]
        cover[start : start + width] += 1
    return fall / np.maximum(cover, 1)
