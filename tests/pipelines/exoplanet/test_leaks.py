"""Nothing of the test part reaches training; and the tests that say so can see a leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perdure.pipelines.exoplanet import loading
from perdure.pipelines.exoplanet.config import preset
from perdure.pipelines.exoplanet.curves import Curves
from perdure.pipelines.exoplanet.evaluation import metrics
from perdure.pipelines.exoplanet.learning.augmentation import augment
from perdure.pipelines.exoplanet.learning.shards import DataSet
from perdure.pipelines.exoplanet.preparation.preprocess import Preprocessor
from perdure.pipelines.exoplanet.preparation.split import TEST, TRAIN, VALIDATION
from perdure.pipelines.exoplanet.simulator import simulate

LENGTH = 512


def reading(curves: Curves) -> dict[str, object]:
    return {
        "flux": curves.flux,
        "label": curves.label,
        "star": curves.star,
        "columns": curves.columns,
        "rejected": [],
    }


def prepared(readings: dict[str, dict[str, object]]) -> dict[str, dict[str, np.ndarray]]:
    document = Preprocessor(length=LENGTH).document()
    return {key: loading.prepare(key, readings=readings, preprocessor=document) for key in readings}


@pytest.fixture(scope="module")
def curves() -> Curves:
    return simulate(4, range(240), planet_share=0.3, difficulty="easy", length=LENGTH)


def test_no_star_is_in_two_parts(curves: Curves) -> None:
    doubled = Curves(
        np.concatenate(
            [curves.flux, curves.flux[:80] * np.float32(1.01) + curves.flux[80:160] * np.float32(0.3)]
        ),
        np.concatenate([curves.star, curves.star[:80]]),
        np.concatenate([curves.label, curves.label[:80]]),
    )
    part = loading.assign_parts({"a": reading(doubled)}, seed=1)["part"]
    stars = [set(doubled.star[part == one]) for one in (TRAIN, VALIDATION, TEST)]
    assert all(stars)
    assert not stars[0] & stars[1] and not stars[0] & stars[2] and not stars[1] & stars[2]


def test_a_planted_copy_of_a_planet_under_another_name_shares_its_part(curves: Curves) -> None:
    planets = np.flatnonzero(curves.label == 1)[:12]
    noise = (
        np.random.default_rng(0).normal(size=(12, LENGTH))
        * 0.02
        * np.nanstd(curves.flux[planets], axis=1)[:, None]
    )
    copies = (1 + (curves.flux[planets] - 1) * 1.3 + noise).astype(np.float32)
    planted = Curves(
        np.concatenate([curves.flux, copies]),
        np.concatenate([curves.star, [f"other-{n}" for n in range(12)]]),
        np.concatenate([curves.label, np.ones(12, np.int8)]),
    )
    result = loading.assign_parts({"a": reading(planted)}, seed=1)
    assert result["counts"]["near-copy"] >= 12
    assert (result["part"][planets] == result["part"][240:]).all()


def test_changing_the_test_rows_leaves_all_that_training_sees_byte_identical(curves: Curves) -> None:
    part = loading.assign_parts({"a": reading(curves)}, seed=1)["part"]
    flux = curves.flux.copy()
    flux[part == TEST] *= np.float32(1.5)
    changed = replace(curves, flux=flux)
    first = DataSet.of({"a": reading(curves)}, prepared({"a": reading(curves)}), part)
    second = DataSet.of({"a": reading(changed)}, prepared({"a": reading(changed)}), part)
    for rows in (first.train, first.validation):
        assert first.prepared[rows].tobytes() == second.prepared[rows].tobytes()
        assert first.measures[rows].tobytes() == second.measures[rows].tobytes()


def test_augmentation_touches_nothing_but_what_an_epoch_of_training_shows(curves: Curves) -> None:
    part = loading.assign_parts({"a": reading(curves)}, seed=1)["part"]
    data = DataSet.of({"a": reading(curves)}, prepared({"a": reading(curves)}), part)
    before = {rows.tobytes(): data.prepared[rows].tobytes() for rows in (data.validation, data.test)}
    shown = data.prepared[data.train]
    out, _ = augment(shown, data.label[data.train], seed=1, epoch=0, rows=np.arange(len(shown)))
    assert out.tobytes() != shown.tobytes()
    assert all(
        data.prepared[np.frombuffer(rows, np.int64)].tobytes() == digest for rows, digest in before.items()
    )


def test_shuffled_labels_give_an_area_in_the_null_interval_and_true_ones_do_not(curves: Curves) -> None:
    rng = np.random.default_rng(3)
    score = curves.label + rng.normal(scale=0.5, size=len(curves))
    probability = 1 / (1 + np.exp(-score))
    low, high = metrics.null_interval(probability, curves.label, seed=1)
    empty = {}
    honest = metrics.evaluate(probability, curves.label, curves.star, empty, seed=1)["metrics"]["auc"][
        "value"
    ]
    shuffled = rng.permutation(curves.label)
    blind = metrics.evaluate(probability, shuffled, curves.star, empty, seed=1)["metrics"]["auc"]["value"]
    assert low < blind < high < honest


def test_data_with_too_many_rejected_rows_is_refused(curves: Curves) -> None:
    bad = reading(curves) | {"rejected": [[n, "no variance"] for n in range(100)]}
    with pytest.raises(Exception, match="100 of 340 curves were rejected"):
        loading.assign_parts({"a": bad}, seed=1)


def test_every_preset_has_the_same_settings() -> None:
    assert preset("tiny").keys() == preset("small").keys() == preset("full").keys()
