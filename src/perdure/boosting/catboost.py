"""CatBoost: a fresh model for each chunk on the same Pool, with the scores so far as its baseline; `sum_models` joins.

Only numeric features and plain boosting: statistics of categories, and ordered boosting, hold orders and sums of
the rows that are not in a model, and scores made from a finished model would leak the label into the next chunk.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import catboost
import numpy as np
from catboost.core import is_maximizable_metric

from perdure.boosting.library import Chunk, Metric, Scores, derived, refuse, refuse_values, with_threads
from perdure.errors import UsageError

_SEEDS = ("random_seed", "random_state")
_QUIET = {
    "verbose",
    "logging_level",
    "silent",
    "verbose_eval",
    "allow_writing_files",
    "train_dir",
    "metric_period",
}
_NOISE = {"logging_level", "verbose", "silent", "verbose_eval"}
# Of a model's metadata; the others are dates, random names and texts of the build.
_KEPT = {"class_params", "params", "output_options", "loss_function"}
_REFUSED = {
    ("iterations", "n_estimators", "num_boost_round", "num_trees"):
        "is the number of rounds; pass rounds= in its place",
    ("od_type", "od_wait", "od_pval", "early_stopping_rounds", "use_best_model", "best_model_min_trees"):
        "looks back over rounds; pass stop_after= (chunks) in its place",
    ("save_snapshot", "snapshot_file", "snapshot_interval"): "is what perdure does; leave it out",
    ("langevin", "posterior_sampling", "model_shrink_rate", "model_shrink_mode", "diffusion_temperature"):
        "changes trees of earlier chunks; leave it out",
    ("cat_features", "text_features", "embedding_features"):
        "needs statistics that a chunk cannot take over; encode these features as numbers",
    ("input_borders", "eval_fraction"): "is not supported; leave it out",
}  # fmt: skip


class CatBoost:
    """A fit by CatBoost."""

    name = "catboost"

    def __init__(self, params: dict[str, Any], data: Any, valid: Any) -> None:
        refuse(params, _REFUSED)
        refuse_values(
            params, ("boosting_type",), {"plain"}, "keeps an order that no model holds; use 'Plain'"
        )
        refuse_values(params, ("task_type",), {"cpu"}, "was not tested for an exact resume; use 'CPU'")
        if "learning_rate" not in params and "eta" not in params:
            raise UsageError(
                "boosting.train: CatBoost chooses a learning_rate by the number of rounds, and a chunk has few; "
                "set learning_rate"
            )
        for pool in (data, valid):
            _check_numeric(pool)
        quiet = {} if _NOISE & params.keys() else {"logging_level": "Silent"}
        forced = {"boosting_type": "Plain", "allow_writing_files": False, "use_best_model": False, **quiet}
        self._params = with_threads(forced | params, ("thread_count",))
        self._data, self._valid = data, valid
        self._given = np.array(data.get_baseline()), None if valid is None else np.array(valid.get_baseline())

    @property
    def settings(self) -> dict[str, object]:
        return {key: value for key, value in self._params.items() if key not in _QUIET}

    def contents(self) -> dict[str, object]:
        found = _contents(self._data, "data")
        return found if self._valid is None else found | _contents(self._valid, "valid")

    def train(self, rounds: int, *, seed: int, done: int, scores: Scores | None) -> Chunk:
        params = {key: value for key, value in self._params.items() if key not in _SEEDS}
        given = [self._params.get(name) for name in _SEEDS]
        params |= {"iterations": rounds, "random_seed": derived(seed, "random_seed", given)}
        params["random_strength"] = self._noise_after(done)
        if scores is not None:
            _set_baseline(self._data, scores.train)
            if self._valid is not None:
                _set_baseline(self._valid, scores.valid)
            params["boost_from_average"] = False
        model = catboost.CatBoost({"metric_period": rounds} | params)
        model.fit(self._data, eval_set=self._valid)
        after = Scores(_raw(model, self._data), None if self._valid is None else _raw(model, self._valid))
        metrics = self._metrics(model)
        return Chunk(_bytes_of(model), after, metrics)

    def _noise_after(self, done: int) -> float:
        """`random_strength` after `done` rounds: CatBoost lets it decay by n / (n + e^(rate x rounds)), n rows.

        CatBoost counts the rounds of the chunk only, so that the decay over whole chunks is ours to do.
        """
        rate = float(self._params["learning_rate" if "learning_rate" in self._params else "eta"])
        grown = math.exp(min(done * rate - math.log(self._data.num_row()), 700.0))
        return float(self._params.get("random_strength", 1.0)) / (1.0 + grown)

    def _metrics(self, model: Any) -> dict[str, Metric]:
        """The judged metric, `eval_metric` or else the loss, comes first."""
        if self._valid is None:
            return {}
        values = model.get_evals_result()["validation"]
        judged = str(model.get_all_params().get("eval_metric", ""))
        names = sorted(values, key=lambda name: name != judged)
        return {name: Metric(float(values[name][-1]), bool(is_maximizable_metric(name))) for name in names}

    def join(self, models: Sequence[bytes]) -> Any:
        """A catboost.CatBoost of all trees."""
        loaded = [catboost.CatBoost().load_model(blob=model) for model in models]
        joined = catboost.sum_models(loaded)
        _tidy(joined)
        return joined

    def let_go(self) -> None:
        _set_baseline(self._data, self._given[0])
        if self._valid is not None:
            _set_baseline(self._valid, self._given[1])


def _check_numeric(pool: Any) -> None:
    kinds = ("cat", "text", "embedding")
    if pool is not None and any(getattr(pool, f"get_{kind}_feature_indices")() for kind in kinds):
        raise UsageError(
            "boosting.train: the Pool has categorical, text or embedding features, whose statistics a chunk cannot "
            "take over without leaking the label; encode them as numbers"
        )


def _set_baseline(pool: Any, scores: Any) -> None:
    """Shape (rows,) or (rows, classes); no columns, or an empty array, clear it."""
    if scores.ndim == 1:
        scores = scores[:, None]
    pool.set_baseline(scores if scores.size else np.empty((0, 1)))


def _raw(model: Any, pool: Any) -> np.ndarray:
    """With the pool's baseline in it."""
    return np.array(model.predict(pool, prediction_type="RawFormulaVal"), np.float64)


def _bytes_of(model: Any) -> bytes:
    _tidy(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.cbm"
        model.save_model(str(path))
        return path.read_bytes()


def _tidy(model: Any) -> None:
    """Take dates and random names out of a model, so that equal models have equal bytes."""
    metadata = model.get_metadata()
    for key in set(metadata.keys()) - _KEPT:
        del metadata[key]


def _contents(pool: Any, name: str) -> dict[str, object]:
    if pool.is_quantized() or pool.num_pairs():
        raise UsageError(
            f'the content of {name} cannot be told (a quantized Pool, or one with pairs); pass version="1", and '
            "another one when the data change"
        )
    return {
        f"{name} features": [pool.get_features(), pool.get_feature_names()],
        f"{name} labels": pool.get_label(),
        f"{name} weights": pool.get_weight(),
        f"{name} baseline": np.array(pool.get_baseline()),
        f"{name} groups": pool.get_group_id_hash(),
    }
