"""A small boosted fit with bagging and column sampling, inside a unit.

Of environment variables: LIBRARY, ROUNDS, THREADS.
"""

import hashlib
import os

import numpy as np

import perdure

LIBRARY = os.environ.get("LIBRARY", "lightgbm")
ROUNDS = int(os.environ.get("ROUNDS", "30"))
THREADS = int(os.environ.get("THREADS", "1"))

generator = np.random.default_rng(0)
x = generator.normal(size=(400, 8))
y = (x[:, 0] * x[:, 1] + x[:, 2] + generator.normal(size=400) > 0).astype(int)
weights = generator.random(300)
if LIBRARY == "lightgbm":
    import lightgbm

    data = lightgbm.Dataset(x[:300], y[:300], weight=weights)
    valid = lightgbm.Dataset(x[300:], y[300:], reference=data)
    params = {"objective": "binary", "metric": ["auc", "binary_logloss"], "num_leaves": 5, "bagging_freq": 1,
              "bagging_fraction": 0.7, "feature_fraction": 0.6, "num_threads": THREADS}  # fmt: skip
elif LIBRARY == "xgboost":
    import xgboost

    data, valid = xgboost.DMatrix(x[:300], y[:300], weight=weights), xgboost.DMatrix(x[300:], y[300:])
    params = {"objective": "binary:logistic", "eval_metric": ["logloss", "auc"], "max_depth": 3, "subsample": 0.7,
              "colsample_bytree": 0.7, "colsample_bynode": 0.7, "nthread": THREADS}  # fmt: skip
else:
    import catboost

    data, valid = catboost.Pool(x[:300], y[:300], weight=weights), catboost.Pool(x[300:], y[300:])
    params = {"loss_function": "Logloss", "eval_metric": "AUC", "learning_rate": 0.1, "depth": 3, "rsm": 0.6,
              "bootstrap_type": "Bernoulli", "subsample": 0.7, "thread_count": THREADS}  # fmt: skip


def content(model):
    if LIBRARY == "lightgbm":
        return model.model_to_string().encode()
    if LIBRARY == "xgboost":
        return bytes(model.save_raw("ubj"))
    path = str(run.folder / "model.cbm")
    model.save_model(path)
    with open(path, "rb") as stream:
        return stream.read()


with perdure.open("runs/boosting", seed=7, budget=None) as run:
    each = run.each("base", ["booster"])
    for unit in each:
        model = perdure.boosting.train(run, "fit", params, data, rounds=ROUNDS, valid=valid, chunk=5)
        unit.result = hashlib.sha256(content(model)).hexdigest()
    rows = run.history("base/booster/fit")
    print(each.results, [row["rounds"] for row in rows], rows[-1])
