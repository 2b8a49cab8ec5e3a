"""Durable fits of scikit-learn estimators, stored with skops; forests go on where they were killed.

forest = perdure.sklearn.fit(run, "forest", RandomForestClassifier(n_estimators=300), x, y, sample_weight=w)

A forest grows by chunks of trees, and each chunk is a unit with a file of its own: saving costs the same however many
trees there are. Any other estimator is one unit. What is returned is always what its record holds.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from perdure import fingerprint
from perdure.errors import StateError, UsageError
from perdure.phase import Session, caller, place_of
from perdure.snapshot.streams import seed_for

try:
    import skops.io
    from sklearn.base import clone
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from skops.io.exceptions import UnsupportedTypeException
except ModuleNotFoundError as error:
    raise UsageError(
        f"perdure.sklearn needs {error.name}, which is not installed: pip install 'perdure[sklearn]'"
    ) from error

if TYPE_CHECKING:
    from perdure.each import Each
    from perdure.run import Run

_FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_SIDE = {
    "n_jobs": None,
    "verbose": False,
}  # parameters that no result depends on, and what records hold for them
# scikit-learn's own types that skops leaves to its users to trust: arrays and numbers in fixed fields, no code.
TRUSTED = [
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
]


def fit(
    run: Run,
    name: str,
    estimator: Any,
    x: Any,
    y: Any = None,
    *,
    chunk: int = 25,
    version: str | None = None,
    **fit_params: Any,
) -> Any:
    """Fit a clone of `estimator` on x, shape (rows, features), and y; return it as its record has it.

    A `random_state` of None, at any depth, is set from the run's seed and the phase. `n_jobs` and `verbose` may change
    between attempts.

    chunk: trees in a chunk of a RandomForest* or ExtraTrees*. More trees may be asked for later, without oob_score.
    version: stands in for arguments whose content cannot be told from outside.
    fit_params: for the estimator's `fit`, such as sample_weight.

    Raises StateError for an estimator that skops or the trusted list does not know, and ChangedError when estimator,
    data or libraries are others than those of the record.
    """
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise UsageError(f"chunk={chunk!r} is not possible; use a whole number of trees from 1")
    live = clone(estimator)
    dumps(live)  # refuses now what could not be stored later
    is_forest = isinstance(live, _FORESTS)
    spans = _spans(live.n_estimators, chunk) if is_forest else {"fit": (0, 0)}
    each = run.enter_each(
        name, {key: key for key in spans}, place=place_of(caller()),
        fingerprint=lambda session: _fingerprint(
            session, live, chunk if is_forest else None, {"x": x, "y": y, **fit_params}, version
        ),
    )  # fmt: skip
    side = _side(live)
    _set_seeds(live, run.seed or 0, each.path)
    forest = _Forest(live, each) if is_forest else None
    for unit in each:
        if forest is not None:
            unit.result = forest.grow(*spans[unit.key], x, y, fit_params)
        else:
            fitted = clone(live).fit(x, y, **fit_params)
            unit.result = dumps(fitted.set_params(**{key: _SIDE[_last(key)] for key in side}))
    records = list(each.results.values())
    model = _joined(records) if is_forest else loads(records[0])
    return model.set_params(**side)


def _spans(count: int, chunk: int) -> dict[str, tuple[int, int]]:
    """The chunks of a forest: from which tree to which, by the name of the unit."""
    starts = range(0, count, chunk)
    return {f"trees {a + 1}-{min(a + chunk, count)}": (a, min(a + chunk, count)) for a in starts}


class _Forest:
    """A forest that grows by warm starts. A record holds a chunk's trees, and the forest without any."""

    def __init__(self, live: Any, each: Each) -> None:
        self._live, self._each = live, each
        self._given = {"warm_start": live.warm_start, "oob_score": live.oob_score}
        self._count, self._side = live.n_estimators, _side(live)

    def grow(self, first: int, last: int, x: Any, y: Any, fit_params: Mapping[str, Any]) -> bytes:
        if first != len(getattr(self._live, "estimators_", ())):
            done = self._each.results
            before = [record for key, record in done.items() if int(key.partition("-")[2]) <= first]
            self._live = _joined(before).set_params(**self._side)
        out_of_bag = self._given["oob_score"] if last == self._count else False  # it looks at all trees
        self._live.set_params(warm_start=True, n_estimators=last, oob_score=out_of_bag)
        self._live.fit(x, y, **fit_params)
        bare = copy.copy(self._live)
        bare.estimators_ = []
        bare.set_params(**self._given, **{key: _SIDE[key] for key in self._side})
        return dumps({"forest": bare, "trees": self._live.estimators_[first:]})


def _joined(records: Iterable[Any]) -> Any:
    """The forest with the trees of all chunks: the last chunk's, which knows all that `fit` finds out."""
    chunks = [loads(record) for record in records]
    forest = chunks[-1]["forest"]
    forest.estimators_ = [tree for chunk in chunks for tree in chunk["trees"]]
    return forest


def _set_seeds(estimator: Any, seed: int, path: str) -> None:
    """In place of every random_state that is None."""
    seeds = {
        key: seed_for(seed, path, key) & 0x7FFFFFFF
        for key, value in estimator.get_params().items()
        if _last(key) == "random_state" and value is None
    }
    estimator.set_params(**seeds)


def _side(estimator: Any) -> dict[str, Any]:
    return {key: value for key, value in estimator.get_params().items() if _last(key) in _SIDE}


def _last(key: str) -> str:
    return key.rpartition("__")[2]


def _fingerprint(
    session: Session, estimator: Any, chunk: int | None, arguments: Mapping[str, Any], version: str | None
) -> fingerprint.Fingerprint:
    """Of the estimator and all that its `fit` is given: not of the calling code, which reaches it by nothing else."""
    plain, others = {}, {}
    grows = chunk is not None and not estimator.oob_score  # an out-of-bag score is of all trees
    for key, value in estimator.get_params().items():
        if _last(key) in _SIDE or (grows and key == "n_estimators"):
            continue
        described = _described(value)
        if described is value and not isinstance(value, bool | int | float | str | None):
            others[f"params.{key}"] = value
        else:
            plain[key] = described
    return fingerprint.of_values(
        {"estimator": type(estimator).__qualname__, "params": plain} | ({"chunk": chunk} if chunk else {}),
        arguments={**arguments, **others},
        libraries=("numpy", "scipy", "sklearn", "skops"),
        version=version,
        files=session.file_digests,
    )


def _described(value: Any) -> Any:
    """Estimators by their type, as their parameters are listed on their own; steps as lists; the rest as it is."""
    if isinstance(value, np.ufunc):
        return f"ufunc {value.__name__}"
    if hasattr(value, "get_params"):
        return value.__qualname__ if isinstance(value, type) else type(value).__qualname__
    if isinstance(value, list | tuple):
        described = [_described(item) for item in value]
        is_plain = all(isinstance(item, bool | int | float | str | list | None) for item in described)
        return described if is_plain else value
    return value


# -- records -------------------------------------------------------------------------------------------------------


def dumps(value: Any) -> bytes:
    """The skops form of a value; equal values have equal bytes. Raises StateError for what is not trusted."""
    try:
        content = skops.io.dumps(value)
    except UnsupportedTypeException as error:
        raise StateError(f"a {type(value).__name__} cannot be stored: {error}") from error
    unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))
    if unknown:
        raise StateError(
            f"the {type(value).__name__} holds {', '.join(unknown)}, which perdure.sklearn does not store: it takes "
            "scikit-learn's own types only, since loading others could run code. Boosters: perdure.boosting; others: "
            "fit in a run.step that returns arrays"
        )
    return _canonical(content)


def loads(content: Any) -> Any:
    """The inverse of `dumps`."""
    return skops.io.loads(content, trusted=TRUSTED)


def _canonical(content: bytes) -> bytes:
    """The same archive without addresses and dates: skops names objects and files by the former."""
    target = io.BytesIO()
    with ZipFile(io.BytesIO(content)) as source, ZipFile(target, "w") as archive:
        schema = json.loads(source.read("schema.json"))
        files: dict[str, str] = {}
        _renumber(schema, {}, files)
        for old, new in files.items():
            archive.writestr(ZipInfo(new), _without_padding(source.read(old)))
        archive.writestr(ZipInfo("schema.json"), json.dumps(schema, separators=(",", ":")))
    return target.getvalue()


def _without_padding(content: bytes) -> bytes:
    """An .npy file of records whose padding is zero: a tree's nodes leave there what was in memory before."""
    if not content.startswith(b"\x93NUMPY"):
        return content
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    target = io.BytesIO()
    np.save(target, clean, allow_pickle=False)
    return target.getvalue()


def _renumber(node: Any, numbers: dict[object, int], files: dict[str, str]) -> None:
    """Count objects and files in the order in which the schema meets them; equal constants are one object."""
    if isinstance(node, list):
        for item in node:
            _renumber(item, numbers, files)
    elif isinstance(node, dict):
        if "__loader__" in node and "__id__" in node:
            is_constant = node["__loader__"] == "JsonNode"
            identity = str(node["content"]) if is_constant else node["__id__"]
            node["__id__"] = numbers.setdefault(identity, len(numbers) + 1)
        if isinstance(file := node.get("file"), str) and "__loader__" in node:
            node["file"] = files.setdefault(file, f"{len(files)}.{file.rpartition('.')[2]}")
        for item in node.values():
            _renumber(item, numbers, files)
