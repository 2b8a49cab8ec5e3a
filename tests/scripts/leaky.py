"""Exact when left alone, and not when killed: a running mean in a plain local variable starts afresh on a resume."""

import numpy as np

import perdure

with perdure.open("runs/leaky", seed=4, budget=None) as run:
    w = np.zeros(3)
    smooth = 0.0
    for _ in run.range("epoch", 5, state={"w": w}):
        w += np.random.rand(3)
        smooth = 0.9 * smooth + 0.1 * float(w.mean())
        run.log(smooth=smooth)
        run.insert("means", [{"mean": float(w.mean()), "smooth": smooth}])
    print("final", smooth)
