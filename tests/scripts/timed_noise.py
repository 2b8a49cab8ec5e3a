"""Not deterministic on purpose: noise that is seeded by the time."""

import time

import numpy as np

import perdure

with perdure.open("runs/timed_noise", budget=None) as run:
    noise = np.random.default_rng(time.time_ns())
    w = np.zeros(3)
    for _ in run.range("epoch", 3, state={"w": w}):
        w += noise.normal(size=3)
        run.log(mean=float(w.mean()))
