"""XGBoost: a fresh Booster for each chunk on the same DMatrix, with the scores so far as its base margin.

A Booster keeps the margins of the data it trains on, so that giving them out evaluates no tree. A loaded model, in
contrast, would be evaluated whole at each chunk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xgboost

from perdure.boosting.library import Chunk, Metric, Scores, derived, refuse, refuse_values, with_threads
from perdure.errors import UsageError

_THREADS = ("nthread", "n_jobs")
_SEEDS = ("seed", "random_state")
_QUIET = {"verbosity"}
_MAXIMIZED = {"auc", "aucpr", "pre", "map", "ndcg", "interval-regression-accuracy"}
_INFO = ("label", "weight", "base_margin", "label_lower_bound", "label_upper_bound", "feature_weights")
_REFUSED = {
    ("num_boost_round", "n_estimators", "num_round"): "is the number of rounds; pass rounds= in its place",
    ("early_stopping_rounds",): "looks back over rounds; pass stop_after= (chunks) in its place",
    ("lambdarank_unbiased",): "carries state from round to round that a chunk cannot take over; leave it out",
}


class XGBoost:
    """A fit by XGBoost."""

    name = "xgboost"

    def __init__(self, params: dict[str, Any], data: Any, valid: Any) -> None:
        refuse(params, _REFUSED)
        refuse_values(params, ("booster",), {"gbtree"}, "cannot go in chunks; use gbtree")
        refuse_values(params, ("process_type",), {"default"}, "makes no new trees; leave it out")
        refuse_values(params, ("device",), {"cpu"}, "was not tested for an exact resume; use cpu")
        self._params = with_threads({"verbosity": 1} | params, _THREADS)
        self._data, self._valid = data, valid
        self._given = _margin(data), None if valid is None else _margin(valid)

    @property
    def settings(self) -> dict[str, object]:
        return {key: value for key, value in self._params.items() if key not in _QUIET}

    def contents(self) -> dict[str, object]:
        found = _contents(self._data, "data")
        return found if self._valid is None else found | _contents(self._valid, "valid")

    def train(self, rounds: int, *, seed: int, done: int, scores: Scores | None) -> Chunk:
        if scores is not None:
            self._data.set_base_margin(scores.train)
            if self._valid is not None:
                self._valid.set_base_margin(scores.valid)
        given = [self._params.get(name) for name in _SEEDS]
        kept = {key: value for key, value in self._params.items() if key not in _SEEDS}
        known = [self._data] if self._valid is None else [self._data, self._valid]
        booster = xgboost.Booster(kept | {"seed": derived(seed, "seed", given)}, known)
        for number in range(rounds):
            booster.update(self._data, number)
        metrics = {} if self._valid is None else _metrics(booster.eval_set([(self._valid, "valid")]))
        margins = [np.array(booster.predict(one, output_margin=True)) for one in known]
        after = Scores(margins[0], margins[1] if len(margins) > 1 else None)
        return Chunk(bytes(booster.save_raw("json")), after, metrics)

    def join(self, models: Sequence[bytes]) -> Any:
        """An xgboost.Booster of all trees: the first chunk's model with the others' trees added."""
        whole = json.loads(models[0])
        forest = whole["learner"]["gradient_booster"]["model"]
        for model in models[1:]:
            more = json.loads(model)["learner"]["gradient_booster"]["model"]
            count = len(forest["trees"])
            forest["trees"] += more["trees"]
            forest["tree_info"] += more["tree_info"]
            forest["iteration_indptr"] += [count + start for start in more["iteration_indptr"][1:]]
        for number, tree in enumerate(forest["trees"]):
            tree["id"] = number
        forest["gbtree_model_param"]["num_trees"] = str(len(forest["trees"]))
        booster = xgboost.Booster()
        booster.load_model(bytearray(json.dumps(whole, separators=(",", ":")).encode()))
        return booster

    def let_go(self) -> None:
        self._data.set_base_margin(self._given[0])
        if self._valid is not None:
            self._valid.set_base_margin(self._given[1])


def _margin(data: Any) -> np.ndarray:
    """The user's own base margin; an empty array where there is none, which also clears one."""
    return np.array(data.get_base_margin(), np.float32)


def _metrics(text: str) -> dict[str, Metric]:
    """XGBoost's line "[0]\\tvalid-auc:0.81\\tvalid-logloss:0.54"; its own early stopping judges the last metric."""
    found = {}
    for item in reversed(text.split("\t")[1:]):
        name, _, value = item.removeprefix("valid-").rpartition(":")
        found[name] = Metric(float(value), name.partition("@")[0] in _MAXIMIZED)
    return found


def _contents(data: Any, name: str) -> dict[str, object]:
    """Features as XGBoost holds them (without missing ones), labels, weights and names."""
    try:
        table = data.get_data()
    except xgboost.core.XGBoostError as error:
        raise UsageError(
            f'the content of {name} cannot be told ({type(data).__name__}); pass version="1", and another one when '
            "the data change"
        ) from error
    features = [table.indptr, table.indices, table.data, data.feature_names, data.feature_types]
    info = {f"{name} {field}": np.array(data.get_float_info(field)) for field in _INFO}
    groups = np.array(data.get_uint_info("group_ptr"))
    return {f"{name} features": features, f"{name} groups": groups, **info}
