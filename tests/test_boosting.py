"""Boosters: killed in the middle of a fit and rerun, they end with the bits of an uninterrupted fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perdure
from inprocess import killed
from keras_processes import KerasServer, keras_server
from perdure.errors import ChangedError, UsageError
from processes import KILLED, digest, rows

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")
catboost = pytest.importorskip("catboost")
LIBRARIES = ["lightgbm", "xgboost", "catboost"]

GENERATOR = np.random.default_rng(1)
X = GENERATOR.normal(size=(240, 5))
NOISE = GENERATOR.normal(size=240)
CLASSES = np.digitize(X[:, 0] * X[:, 1] + X[:, 2] + NOISE, [-0.7, 0.7])
BINARY = (CLASSES > 1).astype(int)
LIGHTGBM = {"objective": "binary", "metric": "auc", "num_leaves": 4, "min_data_in_leaf": 5, "num_threads": 1,
            "bagging_freq": 1, "bagging_fraction": 0.7, "feature_fraction": 0.7}  # fmt: skip
XGBOOST = {"objective": "binary:logistic", "eval_metric": "auc", "max_depth": 2, "nthread": 1, "subsample": 0.7,
           "colsample_bytree": 0.7}  # fmt: skip
CATBOOST = {"loss_function": "Logloss", "eval_metric": "AUC", "learning_rate": 0.2, "depth": 2, "thread_count": 1,
            "rsm": 0.7, "bootstrap_type": "Bernoulli", "subsample": 0.7}  # fmt: skip
PARAMS: dict[str, dict[str, Any]] = {"lightgbm": LIGHTGBM, "xgboost": XGBOOST, "catboost": CATBOOST}


def dataset(library: str, y: np.ndarray = BINARY, *, part: slice = slice(0, 200), **options: Any) -> Any:
    make = {"lightgbm": lightgbm.Dataset, "xgboost": xgboost.DMatrix, "catboost": catboost.Pool}[library]
    return make(X[part], y[part], **options)


def fit(
    folder: Path, library: str = "lightgbm", *, rounds: int = 12, data: Any = None, **options: Any
) -> Any:
    params = PARAMS[library] | options.pop("params", {})
    with perdure.open(folder, seed=3, budget=None) as run:
        train = perdure.boosting.train
        return train(run, "fit", params, data or dataset(library), rounds=rounds, **({"chunk": 4} | options))


def raw(model: Any) -> np.ndarray:
    """Raw predictions for all rows."""
    if isinstance(model, lightgbm.Booster):
        return np.asarray(model.predict(X, raw_score=True))
    if isinstance(model, xgboost.Booster):
        return np.asarray(model.predict(xgboost.DMatrix(X), output_margin=True))
    return np.asarray(model.predict(X, prediction_type="RawFormulaVal"))


# -- killed and rerun ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KerasServer]:
    with keras_server("jax", tmp_path_factory.mktemp("server"), preload=" ".join(LIBRARIES)) as started:
        yield started


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_fit_killed_twice_in_its_middle_ends_with_the_same_model_and_digest(
    tmp_path: Path, server: KerasServer, library: str
) -> None:
    expected, reference = server.reference("boosting_fit.py", LIBRARY=library)
    for seam in ("iteration.end:3", "snapshot.rename:2"):
        ended = server.run("boosting_fit.py", tmp_path, LIBRARY=library, PERDURE_KILL_AT=seam)
        assert ended.code == KILLED, ended.err
    done = server.run("boosting_fit.py", tmp_path, LIBRARY=library)
    assert "fit: resuming at iteration" in done.err
    assert done.out == expected
    assert "[5, 10, 15, 20, 25, 30]" in expected
    assert digest(tmp_path) == reference


@pytest.mark.crash
@pytest.mark.timeout(1800)
def test_a_fit_killed_at_every_seam_ends_with_the_same_bits(tmp_path: Path, server: KerasServer) -> None:
    passed = server.seams("boosting_fit.py", tmp_path / "reference", ROUNDS="15", THREADS="2")
    expected = digest(tmp_path / "reference")
    for number, name in enumerate(passed, start=1):
        folder = tmp_path / f"killed-{number}"
        ended = server.run("boosting_fit.py", folder, ROUNDS="15", THREADS="2", PERDURE_KILL_AT=f"#{number}")
        # pulses pass seams too, at times that differ between runs; then there are fewer than in the reference
        assert ended.code == KILLED or number > len(passed) - 20, (number, name, ended.err)
        server.finish("boosting_fit.py", folder, ROUNDS="15", THREADS="2")
        assert digest(folder) == expected, (number, name)


@pytest.mark.parametrize("library", LIBRARIES)
def test_three_classes_go_on_from_a_snapshot_with_the_same_bits(tmp_path: Path, library: str) -> None:
    several = {
        "lightgbm": {"objective": "multiclass", "num_class": 3, "metric": "multi_logloss"},
        "xgboost": {"objective": "multi:softprob", "num_class": 3, "eval_metric": "mlogloss"},
        "catboost": {"loss_function": "MultiClass", "eval_metric": "MultiClass"},
    }[library]

    def data() -> dict[str, Any]:
        train = dataset(library, CLASSES)
        return {"data": train, "valid": dataset(library, CLASSES, part=slice(200, 240))}

    fit(tmp_path / "parts", library, rounds=8, params=several, **data())
    resumed = fit(tmp_path / "parts", library, rounds=16, params=several, **data())
    straight = fit(tmp_path / "straight", library, rounds=16, params=several, **data())
    assert raw(resumed).shape == (240, 3)
    assert np.array_equal(raw(resumed), raw(straight))
    assert digest(tmp_path / "parts") == digest(tmp_path / "straight")


def test_a_complete_fit_gives_its_model_again_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fit(tmp_path)
    monkeypatch.setattr(lightgbm.Booster, "update", lambda *_: pytest.fail("it trained"))
    assert fit(tmp_path).model_to_string() == first.model_to_string()


def test_a_signal_stops_between_two_chunks_and_the_rerun_goes_on(tmp_path: Path) -> None:
    with killed(tmp_path, seed=3) as run, pytest.raises(SystemExit):
        run._session.signals.requested = 2
        perdure.boosting.train(run, "fit", LIGHTGBM, dataset("lightgbm"), rounds=12, chunk=4)
    assert fit(tmp_path).num_trees() == 12


# -- what a fit gives ------------------------------------------------------------------------------------------------


def test_without_sampling_chunks_give_the_model_of_one_plain_fit(tmp_path: Path) -> None:
    plain = {"bagging_fraction": 1.0, "feature_fraction": 1.0, "deterministic": True, "force_col_wise": True}
    start = np.linspace(-1, 1, 200)
    chunked = fit(tmp_path, params=plain, data=dataset("lightgbm", init_score=start))
    whole = lightgbm.train(
        LIGHTGBM | plain | {"verbosity": -1}, dataset("lightgbm", init_score=start), num_boost_round=12
    )
    assert np.array_equal(raw(chunked), raw(whole))


def test_without_sampling_xgboost_gives_the_model_of_one_plain_fit(tmp_path: Path) -> None:
    plain = {"subsample": 1.0, "colsample_bytree": 1.0}
    whole = xgboost.train(XGBOOST | plain, dataset("xgboost"), num_boost_round=12)
    assert np.array_equal(raw(fit(tmp_path, "xgboost", params=plain)), raw(whole))


@pytest.mark.parametrize(("library", "tolerance"), [("lightgbm", 0.0), ("xgboost", 0.0), ("catboost", 1e-6)])
def test_the_joined_model_predicts_the_scores_that_chunks_hand_on(library: str, tolerance: float) -> None:
    from perdure.boosting.library import library_of

    trained = library_of(PARAMS[library], dataset(library, part=slice(0, 240)), None)
    first = trained.train(4, seed=1, done=0, scores=None)
    second = trained.train(4, seed=2, done=4, scores=first.scores)
    joined = raw(trained.join([first.model, second.model]))
    assert np.abs(joined - second.scores.train).max() <= tolerance
    assert not np.array_equal(first.scores.train, second.scores.train)


def test_each_chunk_samples_anew(tmp_path: Path) -> None:
    trees = fit(tmp_path, rounds=8).trees_to_dataframe().query("node_depth == 1")
    first, second = (
        tuple(trees.iloc[part][["split_feature", "threshold"]].itertuples(index=False, name=None))
        for part in (slice(0, 4), slice(4, 8))
    )
    assert first != second


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_users_data_come_back_as_they_were(tmp_path: Path, library: str) -> None:
    data = dataset(library)
    fit(tmp_path, library, data=data)
    start = {"lightgbm": "get_init_score", "xgboost": "get_base_margin", "catboost": "get_baseline"}[library]
    found = getattr(data, start)()
    assert found is None or found.size == 0


def test_early_stopping_returns_the_best_chunk_and_ends_there_on_a_rerun_too(tmp_path: Path) -> None:
    def data() -> dict[str, Any]:
        train = dataset("lightgbm")
        valid = dataset("lightgbm", part=slice(200, 240), reference=train)
        return {"data": train, "valid": valid, "params": {"learning_rate": 0.8}, "stop_after": 2}

    model = fit(tmp_path, rounds=80, **data())
    with perdure.open(tmp_path, seed=3) as run:
        values = [row["valid_auc"] for row in run.history("fit")]
    best = int(np.argmax(values))
    assert best == len(values) - 3 < 17
    assert model.num_trees() == 4 * (best + 1)
    assert fit(tmp_path, rounds=80, **data()).model_to_string() == model.model_to_string()


def test_every_counts_chunks(tmp_path: Path) -> None:
    fit(tmp_path, rounds=24, every=3)
    assert rows(tmp_path, "SELECT position FROM snapshots ORDER BY generation") == [(3,), (6,)]


def test_more_rounds_go_on_from_whole_chunks_only(tmp_path: Path) -> None:
    fit(tmp_path, rounds=8)
    assert fit(tmp_path, rounds=10).num_trees() == 10
    with pytest.raises(UsageError, match="is complete with 10 rounds"):
        fit(tmp_path, rounds=11)
    with pytest.raises(UsageError, match="ended with a part of a chunk, after 10 rounds"):
        fit(tmp_path, rounds=16)


# -- what must be the same -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "change", "line"),
    [
        ("lightgbm", {"num_leaves": 5}, "config: params.num_leaves was 4, is 5"),
        ("lightgbm", {"bagging_seed": 5}, "config: params.bagging_seed is new (5)"),
        ("lightgbm", {"num_threads": 2}, "config: params.num_threads was 1, is 2"),
        ("xgboost", {"max_depth": 3}, "config: params.max_depth was 2, is 3"),
        ("catboost", {"depth": 3}, "config: params.depth was 2, is 3"),
    ],
)
def test_a_changed_parameter_stops_and_is_named(
    tmp_path: Path, library: str, change: dict[str, object], line: str
) -> None:
    fit(tmp_path, library)
    with pytest.raises(ChangedError) as caught:
        fit(tmp_path, library, params=change)
    assert caught.value.differences == (line,)
    assert caught.value.exit_code == 73


def test_a_number_of_threads_is_fixed_where_the_user_names_none(tmp_path: Path) -> None:
    with perdure.open(tmp_path) as run:
        perdure.boosting.train(run, "fit", {"nthread": 1}, dataset("xgboost"), rounds=2)
        perdure.boosting.train(run, "other", {}, dataset("xgboost"), rounds=2)
    saved = rows(tmp_path, "SELECT fingerprint ->> '$.config.\"params.nthread\"' FROM phases ORDER BY path")
    assert saved[0] == (1,) and isinstance(saved[1][0], int)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("change", ["features", "labels", "weights"])
def test_changed_data_stop_the_fit(tmp_path: Path, library: str, change: str) -> None:
    def data(changed: str) -> Any:
        x, y, weights = X[:200].copy(), BINARY[:200].copy(), np.ones(200)
        x[7, 2] += 100 * (changed == "features")
        y[7] ^= changed == "labels"
        weights[7] += changed == "weights"
        make = {"lightgbm": lightgbm.Dataset, "xgboost": xgboost.DMatrix, "catboost": catboost.Pool}[library]
        return make(x, y, weight=weights)

    fit(tmp_path, library, data=data(""))
    with pytest.raises(ChangedError, match="arguments: 'data"):
        fit(tmp_path, library, data=data(change))


def test_a_changed_chunk_and_changed_validation_data_stop_the_fit(tmp_path: Path) -> None:
    fit(tmp_path, "xgboost", valid=dataset("xgboost", part=slice(200, 240)))
    with pytest.raises(ChangedError, match="chunk was 4, is 6") as caught:
        fit(tmp_path, "xgboost", chunk=6, valid=dataset("xgboost", part=slice(199, 240)))
    assert any("'valid features' changed" in line for line in caught.value.differences)


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "params", "message"),
    [
        ("lightgbm", {"boosting": "dart"}, "counts the rounds"),
        ("lightgbm", {"data_sample_strategy": "goss"}, "counts the rounds"),
        ("lightgbm", {"num_iterations": 10}, "pass rounds="),
        ("lightgbm", {"early_stopping_round": 10}, "pass stop_after="),
        ("lightgbm", {"objective": lambda *_: None}, "objective is a function"),
        ("lightgbm", {"device_type": "gpu"}, "use cpu"),
        ("xgboost", {"booster": "dart"}, "use gbtree"),
        ("xgboost", {"n_estimators": 10}, "pass rounds="),
        ("catboost", {"boosting_type": "Ordered"}, "use 'Plain'"),
        ("catboost", {"cat_features": [0]}, "encode these features"),
        ("catboost", {"langevin": True}, "leave it out"),
    ],
)
def test_what_cannot_go_in_chunks_is_refused(
    tmp_path: Path, library: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        fit(tmp_path, library, params=params)


def test_catboost_needs_a_learning_rate_and_numeric_features(tmp_path: Path) -> None:
    with perdure.open(tmp_path) as run:
        train: Callable[..., Any] = perdure.boosting.train
        with pytest.raises(UsageError, match="set learning_rate"):
            train(run, "fit", {"depth": 2}, dataset("catboost"), rounds=4)
        pool = catboost.Pool([["a", 1.0], ["b", 2.0]], [0, 1], cat_features=[0])
        with pytest.raises(UsageError, match="categorical, text or embedding"):
            train(run, "fit", CATBOOST, pool, rounds=4)


def test_data_of_another_kind_are_refused_with_the_line_that_installs_the_libraries(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pip install 'perdure\[boosting\]'"):
        fit(tmp_path, data=[1, 2])
    with pytest.raises(UsageError, match=r"give a lightgbm\.Dataset, as data is"):
        fit(tmp_path, valid=dataset("xgboost"))
    with pytest.raises(UsageError, match="pass valid= too"):
        fit(tmp_path, stop_after=1)
    with pytest.raises(UsageError, match="rounds=0"):
        fit(tmp_path, rounds=0)


def test_a_pool_that_hides_its_content_needs_a_version(tmp_path: Path) -> None:
    def quantized() -> Any:
        pool = dataset("catboost")
        pool.quantize()
        return pool

    with pytest.raises(UsageError, match="pass version="):
        fit(tmp_path, "catboost", data=quantized())
    fit(tmp_path, "catboost", data=quantized(), version="1")
    with pytest.raises(ChangedError, match="version was '1', is '2'"):
        fit(tmp_path, "catboost", data=quantized(), version="2")
