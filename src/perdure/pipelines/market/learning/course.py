"""Phases 3 and 4: every base model over every fold, and the meta-learner over what they forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import perdure
from perdure.pipelines.market.learning import ensemble, meta
from perdure.pipelines.market.learning.folds import FINAL, Fold
from perdure.pipelines.market.learning.matrix import Matrix
from perdure.pipelines.market.models.catalogue import MODELS


def unit_key(model: str, fold: Fold) -> str:
    """The name of one fit."""
    return f"{model}, {fold.name}"


def base_models(run: perdure.Run, matrix: Matrix, folds: tuple[Fold, ...]) -> dict[str, Any]:
    """One unit a model and fold: its log-odds of the fold's test rows and, of the final fold, the model."""
    fits = {unit_key(model, fold): (model, fold) for fold in folds for model in MODELS}
    units = run.each("base models", list(fits))
    for unit in units:
        name, fold = fits[unit.key]
        content = MODELS[name].fit(run, matrix.training(fold.train, run.config))
        logit = MODELS[name].read(content).logit(matrix.x[fold.test])
        unit.result = {"logit": logit, "model": content if fold.name == FINAL else None}
    return units.results


def combine(
    matrix: Matrix, folds: tuple[Fold, ...], base: Mapping[str, Any], *, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The meta-learner's forecasts of every block and of the lockbox, and the ensemble's file.

    rows, block: (m,) int64, which samples, and 0 ... of which fold; probability: (m,); base: (m, models) log-odds.
    """
    *blocks, final = folds
    rows = np.concatenate([fold.test for fold in folds])
    block = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])
    logits = np.vstack(
        [np.column_stack([base[unit_key(name, fold)]["logit"] for name in MODELS]) for fold in folds]
    )
    early = block < len(blocks)
    seen = rows[early]
    samples = meta.Samples(
        logits[early], matrix.regime[seen], block[early], matrix.y[seen], matrix.weight[seen], matrix.day[seen],
        matrix.t1[seen],
    )  # fmt: skip
    opening = matrix.day[final.test].min()
    learner = meta.final(samples, before=opening)
    late = rows[~early]
    probability = np.concatenate(
        [meta.forward(samples), learner.probability(logits[~early], matrix.regime[late])]
    )
    models = {name: base[unit_key(name, final)]["model"] for name in MODELS}
    trained_until = str(matrix.t1[final.train].max())
    return {
        "rows": rows, "block": block, "probability": probability, "base": logits,
        "ensemble": ensemble.write(models, learner, {**facts, "trained_until": trained_until}),
    }  # fmt: skip
