"""The features are those of the catalogue, and each is defined wherever there is history."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import talib
import talib.abstract
from hypothesis import given, settings
from hypothesis import strategies as st

from market_bars import made, of_closes
from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.data.events import Events
from perdure.pipelines.market.features import catalogue, volume
from perdure.pipelines.market.features.happenings import event_features
from perdure.pipelines.market.features.matrix import BURN_IN, CatalogueError, arranged, matrix, technical


def features(bars):
    count = len(bars)
    _, market, sector = made(count, seed=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return matrix(bars, market, sector, Events.none(), np.full(count, np.nan), None)


def undefined(values):
    return [catalogue.names()[j] for j in np.flatnonzero(~np.isfinite(values[BURN_IN:]).all(axis=0))]


def test_there_are_179_technical_and_23_event_features_by_the_catalogues_names():
    bars, market, sector = made(300)
    of_bars = technical(bars, market=market, sector=sector)
    of_events = event_features(bars, sector=sector, events=Events.none(), vix=market, vix3m=None)
    assert set(of_bars) == {f.name for f in catalogue.features() if not f.from_events}
    assert set(of_events) == {f.name for f in catalogue.features() if f.from_events}
    assert (len(of_bars), len(of_events), len(set(catalogue.names()))) == (179, 23, 202)


def test_columns_stand_in_the_catalogues_order():
    bars, market, sector = made(300)
    values = matrix(bars, market, sector, Events.none(), market, None)
    of_bars = technical(bars, market=market, sector=sector)
    for column, name in enumerate(catalogue.names()[:179]):
        np.testing.assert_array_equal(values[:, column], of_bars[name])
    np.testing.assert_array_equal(values[:, catalogue.names().index("vix_log")], np.log(market))


def test_a_missing_or_an_extra_feature_is_an_error_that_names_it():
    found = dict.fromkeys(catalogue.names(), np.zeros(3))
    with pytest.raises(CatalogueError, match="rsi_7"):
        arranged({name: value for name, value in found.items() if name != "rsi_7"})
    with pytest.raises(CatalogueError, match="rsi_99"):
        arranged({**found, "rsi_99": np.zeros(3)})


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the features' package that may be changed."""
    place = tmp_path / "features"
    shutil.copytree(Path(catalogue.__file__).parent, place, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(catalogue, "files", lambda _: place)
    return place


def test_the_digest_changes_with_a_formula_and_with_the_catalogue_but_not_with_a_comment(package):
    digest = catalogue.digest.__wrapped__
    before = digest()
    assert before == catalogue.digest()
    code = package / "trend.py"
    code.write_text("# a remark\n" + code.read_text())
    assert digest() == before
    code.write_text(code.read_text().replace("14", "15", 1))
    changed = digest()
    assert changed != before
    table = package / "catalogue.csv"
    table.write_text(table.read_text().replace("ret_1,", "ret_one,", 1))
    assert digest() not in {before, changed}


def test_groups_divide_the_names():
    members = [name for group in catalogue.groups().values() for name in group]
    assert sorted(members) == sorted(catalogue.names())
    assert len(catalogue.groups()) == 14


ALWAYS_DEFINED = ("run_len", "ewma_vol_94", "cdl_")  # counts, and a mean that begins with its first value


def test_every_feature_is_defined_once_its_look_back_is_filled_and_no_sooner():
    bars, market, sector = made(400)
    values = matrix(bars, market, sector, Events.none(), market, None)
    for column, feature in enumerate(catalogue.features()):
        first = int(np.argmax(np.isfinite(values[:, column])))
        assert np.isfinite(values[feature.lookback - 1 :, column]).all(), feature.name
        if not feature.from_events and not feature.name.startswith(ALWAYS_DEFINED):
            assert first == feature.lookback - 1, feature.name


def test_every_pattern_of_the_library_is_counted_with_its_own_penetration():
    assert set(volume.PATTERNS) == set(talib.get_function_groups()["Pattern Recognition"])
    for name in volume.PATTERNS:
        parameters = dict(talib.abstract.Function(name).info["parameters"])
        assert parameters == ({"penetration": volume.PENETRATION[name]} if parameters else {})


def test_closes_alone_give_finite_features():
    bars, _, _ = made(500)
    assert undefined(features(of_closes(bars.close))) == []


def test_a_constant_price_without_volume_gives_finite_features():
    assert undefined(features(of_closes(np.full(400, 50.0)))) == []


def test_a_price_that_freezes_for_long_gives_finite_features_of_common_size():
    bars, _, _ = made(1400)
    frozen = np.minimum(np.arange(1400), 400)
    still = Bars(bars.day, *(getattr(bars, name)[frozen] for name in ("close",) * 4), bars.volume)
    lively = Bars(*(np.where(np.arange(1400) < 400, getattr(bars, f), getattr(still, f)) for f in (
        "day", "open", "high", "low", "close")), np.where(np.arange(1400) < 700, bars.volume, 0.0))  # fmt: skip
    values = features(lively)
    assert undefined(values) == []
    assert np.abs(values[BURN_IN:]).max() < 1000


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from([0.5, 0.99, 1.0, 1.0, 1.0, 1.01, 2.0]), min_size=60, max_size=60),
    st.integers(0, 99),
)
def test_odd_but_possible_bars_never_give_an_infinite_feature(moves, seed):
    rng = np.random.default_rng(seed)
    close = 50 * np.cumprod(np.tile(np.concatenate([moves, 1 / np.array(moves)]), 3)) ** 0.25
    opening = np.where(rng.random(360) < 0.5, close, np.roll(close, 1))
    high, low = np.maximum(opening, close), np.minimum(opening, close)
    shares = np.where(rng.random(360) < 0.5, 0.0, rng.integers(1, 9, 360))
    assert undefined(features(Bars(of_closes(close).day, opening, high, low, close, shares))) == []
