"""A loop whose snapshots have HEAVY megabytes each; with HEAVY_FILES every file that may be opened is taken first."""

import os

import numpy as np

import perdure

taken = []
with perdure.open("runs/heavy", seed=5, budget=None) as run:
    w = np.zeros((int(os.environ.get("HEAVY", "1")) << 20) // 8)
    for epoch in run.range("epoch", 4, state={"w": w}):
        w += np.random.rand(len(w))
        run.log(mean=float(w.mean()))
        if epoch == 2 and "HEAVY_FILES" in os.environ:
            try:
                while True:
                    taken.append(open(os.devnull))  # noqa: SIM115
            except OSError:
                pass
    print("final", float(w.sum()))
