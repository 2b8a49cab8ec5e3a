"""LightGBM: a fresh Booster for each chunk on the same binned Dataset, with the scores so far as its init score.

Raw features are not needed after the Dataset is built, and no tree is evaluated twice: a Booster keeps the raw score
of each row, and gives it out once it has no objective that would transform it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from perdure.boosting.library import Chunk, Metric, Scores, derived, refuse, refuse_values, with_threads
from perdure.errors import UsageError

_THREADS = ("num_threads", "num_thread", "nthread", "nthreads", "n_jobs")
_SEEDS = ("bagging_seed", "feature_fraction_seed", "extra_seed", "objective_seed")
_GIVEN_SEEDS = {*_SEEDS, "bagging_fraction_seed", "seed", "random_seed", "random_state"}
_QUIET = {"verbosity", "verbose"}
_REFUSED = {
    ("num_iterations", "num_iteration", "n_iter", "num_tree", "num_trees", "num_round", "num_rounds", "nrounds",
     "num_boost_round", "n_estimators", "max_iter"): "is the number of rounds; pass rounds= in its place",
    ("early_stopping_round", "early_stopping_rounds", "early_stopping", "n_iter_no_change"):
        "looks back over rounds; pass stop_after= (chunks) in its place",
    ("linear_tree", "linear_trees", "cegb_penalty_feature_lazy", "cegb_penalty_feature_coupled"):
        "depends on trees of earlier chunks; leave it out",
    ("forcedsplits_filename", "forced_splits_filename", "forced_splits_file", "forced_splits"):
        "is a file whose changes would go unseen; leave it out",
}  # fmt: skip


class LightGBM:
    """A fit by LightGBM."""

    name = "lightgbm"

    def __init__(self, params: dict[str, Any], data: Any, valid: Any) -> None:
        refuse(params, _REFUSED)
        counts = "counts the rounds of a whole fit and cannot go in chunks; use gbdt with bagging"
        refuse_values(params, ("boosting", "boosting_type", "boost"), {"gbdt", "gbrt"}, counts)
        refuse_values(params, ("data_sample_strategy",), {"bagging"}, counts)
        refuse_values(
            params, ("device", "device_type"), {"cpu"}, "was not tested for an exact resume; use cpu"
        )
        forced: dict[str, Any] = {"deterministic": True, "verbosity": -1}
        if "force_row_wise" not in params:  # which copies the data for each chunk's booster
            forced["force_col_wise"] = True  # else the faster of the two is measured anew each time
        self._params = with_threads(forced | params, _THREADS)
        self._data, self._valid = data, valid
        self._build()
        self._given = _init_score(data), None if valid is None else _init_score(valid)

    def _build(self) -> None:
        """Bin the data now, with these parameters, as training itself would."""
        if self._valid is not None and self._valid is not self._data:
            self._valid.set_reference(self._data)
        booster = lightgbm.Booster(self._params, self._data)
        if self._valid is not None:
            booster.add_valid(self._valid, "valid")
        if self._data.get_position() is not None:
            raise UsageError(
                "boosting.train: positions of a ranking carry state from round to round; leave them out"
            )

    @property
    def settings(self) -> dict[str, object]:
        return {key: value for key, value in self._params.items() if key not in _QUIET}

    def contents(self) -> dict[str, object]:
        """The binned data with labels, weights, groups and names, as LightGBM would write them to a file."""
        found: dict[str, object] = {"data": _digest(self._data)}
        found |= {"labels": self._data.get_label(), "weights": self._data.get_weight()}
        if self._valid is not None:
            found["valid"] = _digest(self._valid)
        return found

    def train(self, rounds: int, *, seed: int, done: int, scores: Scores | None) -> Chunk:
        """Memory: a Booster's histograms; they go with it."""
        if scores is not None:
            self._data.set_init_score(scores.train)
            if self._valid is not None:
                self._valid.set_init_score(scores.valid)
        booster = lightgbm.Booster(self._seeded(seed), self._data)
        if self._valid is not None:
            booster.add_valid(self._valid, "valid")
        for _ in range(rounds):
            booster.update()
        metrics = {name: Metric(float(value), bool(up)) for _, name, value, up, *_ in booster.eval_valid()}
        model = booster.model_to_string(num_iteration=-1).encode()
        return Chunk(model, self._scores(booster), metrics)

    def _seeded(self, seed: int) -> dict[str, Any]:
        kept = {key: value for key, value in self._params.items() if key not in _GIVEN_SEEDS}
        given = [self._params.get(key) for key in sorted(_GIVEN_SEEDS)]
        return kept | {name: derived(seed, name, given) for name in _SEEDS}

    def _scores(self, booster: Any) -> Scores:
        """Raw scores, which a Booster with an objective would give as probabilities. The Booster is spent."""
        booster.reset_parameter({"objective": "none"})
        taken: list[np.ndarray] = []

        def take(scores: np.ndarray, _: Any) -> tuple[str, float, bool]:
            taken.append(np.array(scores, np.float64))
            return "taken", 0.0, True

        booster.eval_train(take)
        if self._valid is not None:
            booster.eval_valid(take)
        return Scores(taken[0], taken[1] if len(taken) > 1 else None)

    def join(self, models: Sequence[bytes]) -> Any:
        """A lightgbm.Booster of all trees. LightGBM puts the other Booster's trees before its own."""
        from lightgbm.basic import _LIB, _safe_call

        joined = lightgbm.Booster(model_str=models[-1].decode())
        for model in reversed(models[:-1]):
            before = lightgbm.Booster(model_str=model.decode())
            _safe_call(_LIB.LGBM_BoosterMerge(joined._handle, before._handle))
        return lightgbm.Booster(model_str=joined.model_to_string(num_iteration=-1))

    def let_go(self) -> None:
        _put_back(self._data, self._given[0])
        if self._valid is not None:
            _put_back(self._valid, self._given[1])


def _put_back(data: Any, score: np.ndarray | None) -> None:
    data.set_init_score(score)
    if score is None:
        data.set_field("init_score", None)  # else the one in the library stays


def _init_score(data: Any) -> np.ndarray | None:
    score = data.get_init_score()
    return None if score is None else np.array(score)


def _digest(data: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        data.save_binary(str(path))
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
