"""A forest in chunks of trees, and a pipeline in one piece."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import perdure

generator = np.random.default_rng(0)
x = generator.normal(size=(200, 6))
y = (x[:, 0] * x[:, 1] + x[:, 2] + generator.normal(size=200) > 0).astype(int)
weights = generator.random(200)

with perdure.open("runs/forest", seed=7, budget=None) as run:
    forest = perdure.sklearn.fit(
        run, "forest", RandomForestClassifier(23, oob_score=True), x, y, chunk=5, sample_weight=weights
    )
    linear = perdure.sklearn.fit(run, "linear", make_pipeline(StandardScaler(), LogisticRegression()), x, y)
    print(forest.predict_proba(x).sum(axis=0), forest.oob_score_, len(forest.estimators_))
    print(linear.predict_proba(x)[:, 1].sum())
