"""The learning rate as a function of the optimiser's counter: linear warm-up, then half a cosine to zero."""

from __future__ import annotations

import math
from typing import Any

import keras

from perdure.errors import UsageError


@keras.saving.register_keras_serializable(package="perdure")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """peak_rate is reached after `warmup_steps` batches, and `floor` of it after `total_steps`."""

    def __init__(self, *, peak_rate: float, warmup_steps: int, total_steps: int, floor: float = 0.01) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise UsageError(
                f"{warmup_steps} warm-up steps of {total_steps} in all; give fewer warm-up steps or train longer"
            )
        self.peak_rate = peak_rate
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.floor = floor

    def __call__(self, step: Any) -> Any:
        ops = keras.ops
        step = ops.cast(step, "float32")
        warm = (step + 1) / max(1, self.warmup_steps)
        share = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        cosine = 0.5 * (1 + ops.cos(math.pi * ops.clip(share, 0.0, 1.0)))
        decayed = self.floor + (1 - self.floor) * cosine
        return self.peak_rate * ops.where(step < self.warmup_steps, warm, decayed)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak_rate": self.peak_rate,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "floor": self.floor,
        }
