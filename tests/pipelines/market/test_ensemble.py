"""The ensemble's file: equal ensembles have equal bytes, and what is damaged is not used."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

pytest.importorskip("lightgbm")
pytest.importorskip("sklearn")

from safetensors.numpy import save

from perdure.errors import FormatError
from perdure.pipelines.market.learning.ensemble import Ensemble, write
from perdure.pipelines.market.learning.meta import REGIMES, Logistic, MetaLearner
from perdure.pipelines.market.models.network import Network
from perdure.pipelines.market.models.training import Scaler

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(40, 5)).astype(np.float32)


def linear(seed: int) -> bytes:
    weights = np.random.default_rng(seed).normal(size=5)
    return save({"weights": weights, "bias": np.array([0.1]), "mean": np.zeros(5), "deviation": np.ones(5)})


def network() -> bytes:
    shapes = [(5, 4), (4,), (4, 3), (3,), (3, 1), (1,)]
    weights = {f"weight {k:02}": GENERATOR.normal(size=shape).astype("f4") for k, shape in enumerate(shapes)}
    return save({**weights, "mean": np.zeros(5), "deviation": np.ones(5)})


META = MetaLearner(Logistic(np.linspace(-1, 1, 2 + REGIMES), 0.2), Logistic(np.array([1.5]), 0.1))
MODELS = {"logistic": linear(1), "network": network()}
FACTS = {"features": list("abcde"), "feature_digest": "x", "trained_until": "2020-01-01", "config": {}}


def test_equal_ensembles_have_equal_bytes_and_come_back() -> None:
    content = write(MODELS, META, FACTS)
    assert content == write(MODELS, META, FACTS)
    again = Ensemble.read(content)
    assert again.manifest["trained_until"] == "2020-01-01"
    assert list(again.models) == list(MODELS)
    regime = np.arange(40) % REGIMES
    expected = META.probability(again.logits(X), regime)
    assert np.array_equal(again.probabilities(X, regime), expected)
    assert ((expected > 0) & (expected < 1)).all() and len(np.unique(expected)) == 40


def test_a_forecast_does_not_depend_on_the_rows_beside_it() -> None:
    ensemble, regime = Ensemble.read(write(MODELS, META, FACTS)), np.zeros(40, np.int8)
    alone = [ensemble.probabilities(X[k : k + 1], regime[:1])[0] for k in range(40)]
    assert np.array_equal(ensemble.probabilities(X, regime), alone)


def test_contributions_add_up_and_the_network_has_none() -> None:
    found = Ensemble.read(write(MODELS, META, FACTS)).contributions(X)
    assert list(found) == ["logistic"]
    shares, output = found["logistic"]
    assert shares.shape == (40, 6)
    assert np.allclose(shares.sum(axis=1), output, rtol=1e-12)


def test_the_network_is_what_its_weights_say() -> None:
    read = Network.read(MODELS["network"])
    signal = X.astype(np.float64)
    for kernel, bias in ((read.weights[0], read.weights[1]), (read.weights[2], read.weights[3])):
        signal = np.maximum(signal @ kernel + bias, 0)
    assert np.allclose(read.logit(X), (signal @ read.weights[4] + read.weights[5])[:, 0], rtol=1e-9)


def test_a_damaged_model_is_named() -> None:
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(write(MODELS, META, FACTS))) as source,
        zipfile.ZipFile(target, "w") as sink,
    ):
        for name in source.namelist():
            sink.writestr(name, linear(2) if name == "logistic" else source.read(name))
    with pytest.raises(FormatError, match="'logistic' of the ensemble is damaged"):
        Ensemble.read(target.getvalue())


@pytest.mark.parametrize("content", [b"", b"rubbish", write(MODELS, META, FACTS)[:200]])
def test_what_is_no_ensemble_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError, match="not an ensemble"):
        Ensemble.read(content)


def test_an_ensemble_of_a_later_format_is_refused_with_both_numbers() -> None:
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(write(MODELS, META, FACTS))) as source,
        zipfile.ZipFile(target, "w") as sink,
    ):
        for name in source.namelist():
            content = source.read(name)
            sink.writestr(
                name, content.replace(b'"format": 1', b'"format": 9') if "json" in name else content
            )
    with pytest.raises(FormatError, match="format 9"):
        Ensemble.read(target.getvalue())


def test_a_feature_that_never_varied_is_scaled_to_nothing() -> None:
    x = np.column_stack([np.ones(10), np.arange(10), np.r_[np.nan, np.arange(9)]]).astype(np.float32)
    scaled = Scaler.of(x)(x)
    assert (scaled[:, 0] == 0).all()
    assert abs(float(scaled[:, 1].std()) - 1) < 1e-6
    assert scaled[0, 2] == 0 and np.isfinite(scaled).all()
