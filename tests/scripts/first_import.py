"""Units and a loop whose bodies are the first to import frameworks; with EARLY=1 all is imported at the top."""

import json
import os
import random

import numpy as np

import perdure

NAMES = os.environ["FRAMEWORKS"].split()


def load():
    for name in NAMES:
        __import__(name)


def draws():
    return {"python": random.random(), "numpy": float(np.random.rand()), **own_draws()}


def own_draws():
    found = {}
    if "torch" in NAMES:
        import torch

        found["torch"] = float(torch.rand(1)[0])
    if "tensorflow" in NAMES:
        import tensorflow

        found["tensorflow"] = float(tensorflow.random.uniform([1])[0])
    return found


def sample(key):
    if key != "a":
        load()
    return draws()


if __name__ == "__main__":
    if os.environ.get("EARLY"):
        load()
    with perdure.open("runs/first", seed=5, budget=None) as run:
        found = {"step": run.step("first", sample, "step")}
        found["map"] = dict(run.map("units", ["a", "b", "c"], sample, workers=1))
        for unit in run.each("each", ["a", "b"]):
            load()
            unit.result = draws()
        seen = np.zeros(3)
        for epoch in run.range("epoch", 3, state={"seen": seen}):
            load()
            seen[epoch] = sum(draws().values())
            run.log(seen=float(seen[epoch]))
        found["epoch"] = seen.tolist()
        found["outside"] = draws()
        print(json.dumps(found))
