"""Curves unlike those of the training part are flagged with what is unlike."""

from __future__ import annotations

import json

import numpy as np
import pytest

from perdure.errors import FormatError, UsageError
from perdure.pipelines.exoplanet.preparation.domain import Domain, describe
from perdure.pipelines.exoplanet.preparation.preprocess import Preprocessor

SMALL = Preprocessor(length=600)


def measures(flux):
    return describe(flux, SMALL.apply(flux))


def noise(rows=300, seed=0):
    return np.random.default_rng(seed).normal(100, 1, (rows, 600)).astype(np.float32)


@pytest.fixture(scope="module")
def domain():
    return Domain.of(measures(noise()), cadence_d=0.0204)


def test_curves_like_the_training_ones_are_inside(domain):
    assert sum(map(bool, domain.flags(measures(noise(seed=1)), cadence_d=0.0204))) <= 6


def test_gaps_smooth_curves_and_spikes_are_flagged_by_name(domain):
    flux = noise(3, seed=2)
    flux[0, 100:400] = np.nan
    flux[1] = 100 + np.sin(np.arange(600) / 9)
    flux[2, ::20] -= 50
    gaps, smooth, spikes = domain.flags(measures(flux))
    assert any(reason.startswith("missing is 0.5,") for reason in gaps)
    assert any(reason.startswith("roughness") for reason in smooth)
    assert any(reason.startswith("tails") for reason in spikes)


def test_another_cadence_is_flagged_for_every_curve(domain):
    for reasons in domain.flags(measures(noise(2, seed=3)), cadence_d=2 / 1440):
        assert "2 min" in reasons[0] and "29.4 min" in reasons[0]


def test_the_domain_survives_json_and_other_formats_are_refused(domain):
    assert Domain.from_document(json.loads(json.dumps(domain.document()))) == domain
    with pytest.raises(FormatError, match="99"):
        Domain.from_document({**domain.document(), "format": 99})


def test_a_domain_of_nothing_is_refused():
    with pytest.raises(UsageError, match="at least one"):
        Domain.of(np.empty((0, 5)))
