"""scikit-learn: forests resume in mid-fit, everything is stored with skops, and what comes back is the record."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perdure
from keras_processes import KerasServer, keras_server
from perdure.errors import ChangedError, StateError, UsageError
from processes import KILLED, SOURCE, digest, rows

pytest.importorskip("sklearn")
pytest.importorskip("skops")

from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(150, 5))
Y = (X[:, 0] * X[:, 1] + X[:, 2] + GENERATOR.normal(size=150) > 0).astype(int)
WEIGHTS = GENERATOR.random(150)


def fit(folder: Path, estimator: Any, **options: Any) -> Any:
    with perdure.open(folder, seed=3) as run:
        return perdure.sklearn.fit(
            run, "model", estimator, options.pop("x", X), Y, **({"chunk": 4} | options)
        )


def predictions(model: Any) -> np.ndarray:
    return np.asarray(model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KerasServer]:
    modules = "sklearn.ensemble sklearn.linear_model sklearn.pipeline skops.io"
    with keras_server("jax", tmp_path_factory.mktemp("server"), preload=modules) as started:
        yield started


def test_a_forest_killed_between_its_chunks_ends_with_the_same_bits(
    tmp_path: Path, server: KerasServer
) -> None:
    expected, reference = server.reference("forest.py")
    for seam in ("unit.computed:2", "commit.after:2", "unit.computed:3"):
        ended = server.run("forest.py", tmp_path, PERDURE_KILL_AT=seam)
        assert ended.code == KILLED, (seam, ended.err)
    assert 1 < len(rows(tmp_path, "SELECT key FROM units WHERE phase = 'forest'")) < 5
    assert server.finish("forest.py", tmp_path) == expected
    assert digest(tmp_path) == reference


@pytest.mark.crash
@pytest.mark.timeout(1800)
def test_a_forest_killed_at_every_seam_ends_with_the_same_bits(tmp_path: Path, server: KerasServer) -> None:
    passed = server.seams("forest.py", tmp_path / "reference")
    expected = digest(tmp_path / "reference")
    for number, name in enumerate(passed, start=1):
        folder = tmp_path / f"killed-{number}"
        ended = server.run("forest.py", folder, PERDURE_KILL_AT=f"#{number}")
        assert ended.code == KILLED, (number, name, ended.err)
        server.finish("forest.py", folder)
        assert digest(folder) == expected, (number, name)


@pytest.mark.parametrize(
    "kind", [RandomForestClassifier, ExtraTreesClassifier, RandomForestRegressor, ExtraTreesRegressor]
)
def test_a_forest_in_chunks_is_the_forest_of_one_fit(tmp_path: Path, kind: Any) -> None:
    settings = {
        "n_estimators": 10,
        "random_state": 5,
        "bootstrap": True,
        "oob_score": True,
        "max_samples": 0.6,
    }
    chunked = fit(tmp_path, kind(**settings), sample_weight=WEIGHTS)
    whole = kind(**settings).fit(X, Y, sample_weight=WEIGHTS)
    assert np.array_equal(predictions(chunked), predictions(whole))
    assert chunked.oob_score_ == whole.oob_score_
    assert chunked.get_params() == whole.get_params()
    assert rows(tmp_path, "SELECT key FROM units ORDER BY position") == [
        ("trees 1-4",), ("trees 5-8",), ("trees 9-10",)
    ]  # fmt: skip


def test_more_trees_go_on_from_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(tmp_path, RandomForestClassifier(8, random_state=5))
    grown: list[int] = []
    plain = RandomForestClassifier.fit

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        grown.append(self.n_estimators)
        return plain(self, *arguments, **options)

    monkeypatch.setattr(RandomForestClassifier, "fit", counted)
    more = fit(tmp_path, RandomForestClassifier(12, random_state=5))
    assert grown == [12]
    assert np.array_equal(
        predictions(more), predictions(RandomForestClassifier(12, random_state=5).fit(X, Y))
    )


def test_a_damaged_chunk_is_grown_again_with_the_same_bits(tmp_path: Path) -> None:
    first = predictions(fit(tmp_path, RandomForestClassifier(12)))
    before = digest(tmp_path)
    largest = max((tmp_path / "blobs").rglob("*.bin"), key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    largest.write_bytes(largest.read_bytes()[:-7] + b"damaged")
    assert np.array_equal(predictions(fit(tmp_path, RandomForestClassifier(12))), first)
    assert digest(tmp_path) == before


def test_what_a_chunk_adds_to_the_record_does_not_grow_with_the_forest(tmp_path: Path) -> None:
    fit(tmp_path, RandomForestClassifier(40, max_depth=3))
    sizes = [size for (size,) in rows(tmp_path, "SELECT size FROM blobs")]
    assert len(sizes) == 10 and max(sizes) < 1.2 * min(sizes)


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=5, early_stopping=True),
        MLPClassifier((3,), max_iter=3),
        CalibratedClassifierCV(LogisticRegression(), cv=2),
        VotingClassifier([("tree", RandomForestClassifier(2)), ("near", KNeighborsClassifier())], voting="soft"),
        make_pipeline(FunctionTransformer(np.tanh), LogisticRegression()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_any_estimator_of_scikit_learn_comes_back_from_its_record(tmp_path: Path, estimator: Any) -> None:
    first = predictions(fit(tmp_path / "one", estimator))
    assert np.array_equal(predictions(fit(tmp_path / "one", estimator)), first)
    assert np.array_equal(predictions(fit(tmp_path / "two", estimator)), first)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_what_lies_between_the_fields_of_a_trees_nodes_is_no_part_of_its_bytes() -> None:
    forest = RandomForestClassifier(n_estimators=2, max_depth=3, random_state=0).fit(X, Y)
    before = perdure.sklearn.dumps(forest)
    for estimator in forest.estimators_:
        state = estimator.tree_.__getstate__()
        nodes = state["nodes"]
        used = np.zeros(nodes.dtype.itemsize, bool)
        for kind, offset, *_ in nodes.dtype.fields.values():
            used[offset : offset + kind.itemsize] = True
        assert not used.all()
        content = np.frombuffer(nodes.tobytes(), np.uint8).reshape(-1, len(used)).copy()
        content[:, ~used] = 0xAB
        estimator.tree_.__setstate__(state | {"nodes": np.frombuffer(content.tobytes(), nodes.dtype).copy()})
    assert perdure.sklearn.dumps(forest) == before
    assert np.array_equal(perdure.sklearn.loads(before).predict_proba(X), forest.predict_proba(X))


def test_a_complete_fit_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = predictions(fit(tmp_path, LogisticRegression()))
    monkeypatch.setattr(LogisticRegression, "fit", lambda *_: pytest.fail("it was fitted again"))
    assert np.array_equal(predictions(fit(tmp_path, LogisticRegression())), first)


def test_the_users_estimator_is_left_alone_and_its_jobs_may_change(tmp_path: Path) -> None:
    given = RandomForestClassifier(6, n_jobs=2)
    assert fit(tmp_path, given).n_jobs == 2
    assert not hasattr(given, "estimators_") and given.random_state is None
    assert fit(tmp_path, RandomForestClassifier(6, n_jobs=1)).n_jobs == 1


def test_two_fits_of_one_run_draw_from_streams_of_their_own(tmp_path: Path) -> None:
    with perdure.open(tmp_path, seed=3) as run:
        models = [
            perdure.sklearn.fit(run, name, RandomForestClassifier(4), X, Y) for name in ("first", "second")
        ]
    assert models[0].random_state != models[1].random_state
    assert not np.array_equal(predictions(models[0]), predictions(models[1]))


def test_a_forest_inside_a_unit_is_named_below_it(tmp_path: Path) -> None:
    with perdure.open(tmp_path, seed=3) as run:
        for unit in run.each("base", ["forest"]):
            model = perdure.sklearn.fit(run, "fit", RandomForestClassifier(6), X, Y, chunk=3)
            unit.result = predictions(model)
    assert set(digest(tmp_path)) >= {"base", "base/forest/fit"}


@pytest.mark.parametrize(
    ("estimator", "options", "line"),
    [
        (RandomForestClassifier(8, max_depth=3), {}, "params.max_depth was null, is 3"),
        (RandomForestClassifier(8), {"chunk": 8}, "chunk was 4, is 8"),
        (RandomForestClassifier(8), {"sample_weight": WEIGHTS}, "'sample_weight' is new"),
        (RandomForestClassifier(8), {"x": X + 1}, "'x' changed"),
        (ExtraTreesClassifier(8), {}, 'estimator was "RandomForestClassifier", is "ExtraTreesClassifier"'),
    ],
)
def test_a_change_stops_and_is_named(
    tmp_path: Path, estimator: Any, options: dict[str, Any], line: str
) -> None:
    fit(tmp_path, RandomForestClassifier(8))
    with pytest.raises(ChangedError) as caught:
        fit(tmp_path, estimator, **options)
    assert any(line in found for found in caught.value.differences), caught.value.differences


def test_a_changed_parameter_of_a_step_of_a_pipeline_is_named(tmp_path: Path) -> None:
    fit(tmp_path, make_pipeline(StandardScaler(), LogisticRegression()))
    with pytest.raises(ChangedError, match=r"params.logisticregression__C was 1.0, is 2.0"):
        fit(tmp_path, make_pipeline(StandardScaler(), LogisticRegression(C=2.0)))


class Homemade(BaseEstimator):  # type: ignore[misc]
    """An estimator of the user's own."""

    def fit(self, x: Any, y: Any) -> Homemade:
        return self


@pytest.mark.parametrize(
    "estimator", [Homemade(), make_pipeline(FunctionTransformer(predictions), LogisticRegression())]
)
def test_what_could_run_code_when_loaded_is_refused_before_it_is_fitted(
    tmp_path: Path, estimator: Any
) -> None:
    with pytest.raises(StateError, match="does not store"):
        fit(tmp_path, estimator)
    assert rows(tmp_path, "SELECT count(*) FROM phases") == [(0,)]


def test_a_random_state_that_is_an_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="random_state"):
        fit(tmp_path, RandomForestClassifier(4, random_state=np.random.RandomState(1)))


def test_without_skops_the_error_names_the_line_that_installs_it() -> None:
    code = "import sys; sys.modules['skops'] = None; import perdure; perdure.sklearn"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True
    )
    assert done.returncode and "pip install 'perdure[sklearn]'" in done.stderr
