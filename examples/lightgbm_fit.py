"""A LightGBM fit that survives anything: kill it at any moment, run it again, and it ends with the same digest."""

import hashlib

import lightgbm
import numpy as np

import perdure

with perdure.open("runs/lightgbm_fit", config={"rounds": 400, "leaves": 15}, seed=1) as run:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4000, 20)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + 0.5 * generator.normal(size=4000) > 0).astype(int)
    data = lightgbm.Dataset(x[:3000], y[:3000])
    valid = lightgbm.Dataset(x[3000:], y[3000:], reference=data)
    params = {
        "objective": "binary",
        "metric": "auc",
        "learning_rate": 0.05,
        "num_leaves": run.config["leaves"],
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "feature_fraction": 0.6,
        "num_threads": 1,
    }
    booster = perdure.boosting.train(
        run, "lgbm", params, data, rounds=run.config["rounds"], valid=valid, chunk=25, stop_after=4
    )
    history = run.history("lgbm")
    best = max(history, key=lambda row: row["valid_auc"])
    print("chunks", len(history), "best AUC", round(best["valid_auc"], 4), "after", best["rounds"], "rounds")
    print("trees", booster.num_trees())
    print("digest", hashlib.sha256(booster.model_to_string().encode()).hexdigest())
