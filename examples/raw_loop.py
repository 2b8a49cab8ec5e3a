"""A training loop in plain NumPy. Kill it whenever you like, then run it again: `python examples/raw_loop.py`."""

import sys
import time

import numpy as np

import perdure

PAUSE = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0  # seconds per epoch, to have time to press Ctrl+C


def make_data(rows):
    x = np.random.rand(rows, 3)
    return {"x": x, "y": x.sum(1)}


with perdure.open("runs/raw_loop", config={"rate": 0.1}, seed=7) as run:
    data = run.step("data", make_data, 512)
    x, y = data["x"], data["y"]
    w, momentum = np.zeros(3), np.zeros(3)
    loop = run.range("epoch", 30, state={"w": w, "momentum": momentum}, best="min:loss")
    for _ in loop:
        for rows in run.batches(len(x), batch_size=64):
            gradient = x[rows].T @ (x[rows] @ w - y[rows]) / len(rows) + 0.01 * np.random.randn(3)
            momentum *= 0.9
            momentum += gradient
            w -= run.config["rate"] * momentum
        run.log(loss=float(np.square(x @ w - y).mean()))
        time.sleep(PAUSE)
    print("weights", *(f"{value:.17g}" for value in w), "best epoch", loop.best_position)
