"""One symbol becomes rows for the table of samples, none of whose features sees the future."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perdure.pipelines.market.data.bars import Series
from perdure.pipelines.market.data.events import Events
from perdure.pipelines.market.data.symbols import companies
from perdure.pipelines.market.features import catalogue
from perdure.pipelines.market.samples import backtest as module
from perdure.pipelines.market.samples.backtest import (
    LEAKED,
    Plan,
    UndefinedFeatureError,
    backtest,
    inspect,
    samples,
)
from perdure.pipelines.market.samples.grid import TooFewSamplesError
from perdure.pipelines.market.synthetic.provider import SyntheticProvider
from perdure.store.tables import rows_of

SETTINGS = {"sessions": 700, "stride": 5, "least": 20, "market_seed": 3, "dirt": False, "other": "ignored"}
COMPANY = companies()[0]
FACTS = ["symbol", "sector", "day", "t1", "regime", "y", "ret", "excess", "barrier", "weight", "oracle"]


def made(**changes):
    return backtest(COMPANY, source="synthetic", cache=Path("unused"), settings={**SETTINGS, **changes})


@pytest.fixture(scope="module")
def table():
    return made()


class Bare:
    """The synthetic prices, from a source that has nothing else."""

    name = "bare"

    def __init__(self, cut=None, begin=None):
        self.cut, self.begin, self.whole = cut, begin, SyntheticProvider.of(SETTINGS)

    def prices(self, symbol):
        found = self.whole.prices(symbol)
        if self.begin is not None:
            found = replace(found, bars=found.bars.take(found.bars.day >= self.begin))
        return found if self.cut is None else found.until(self.cut)

    def events(self, symbol):
        return Events.none()

    def index(self, name):
        return None

    def oracle(self, symbol):
        return None


def test_a_sample_has_its_facts_and_the_catalogues_features_in_order(table):
    assert table.columns == [*FACTS, *catalogue.names()]
    assert len(table) == len(range(273, 690, 5))
    assert table["symbol"].unique().to_list() == ["AAPL"]
    assert set(table["y"].to_list()) == {0, 1}
    assert set(table["barrier"].to_list()) == {-1, 0, 1}
    assert set(table["regime"].to_list()) <= set(range(6))
    assert all(begin < end for begin, end in table.select("day", "t1").iter_rows())


def test_a_label_is_the_sign_of_the_return_beyond_the_sectors(table):
    assert table["y"].to_list() == [int(x > 0) for x in table["excess"]]
    absolute = made(target="absolute")
    assert absolute["y"].to_list() == [int(x > 0) for x in absolute["ret"]]
    assert absolute["y"].to_list() != table["y"].to_list()


def test_weights_fall_with_age_and_overlap(table):
    weight = table["weight"].to_numpy()
    assert ((weight > 0) & (weight <= 1)).all()
    assert weight[-20:].mean() > weight[:20].mean()
    heavier = made(half_life=1e9)["weight"].to_numpy()
    assert (heavier >= weight).all()


def test_the_rows_go_into_the_database_as_they_are(table):
    rows = rows_of(table)
    assert rows.columns == tuple(table.columns)
    assert rows.types[:11] == ("TEXT",) * 4 + ("INTEGER",) * 2 + ("REAL",) * 2 + ("INTEGER", "REAL", "REAL")
    assert set(rows.types[11:]) == {"REAL"}


def test_the_same_settings_give_the_same_bits(table):
    assert rows_of(made()).digest() == rows_of(table).digest()


def test_a_source_of_prices_alone_gives_finite_features_and_no_oracle():
    table = samples(COMPANY, Bare(), Plan.of(SETTINGS))
    assert np.isfinite(table.select(catalogue.names()).to_numpy()).all()
    assert {row[-1] for row in rows_of(table.select(FACTS)).values} == {None}


def test_a_leak_is_planted_into_one_feature_only(table):
    leaked = made(leak=True)
    changed = [name for name in table.columns if leaked[name].to_list() != table[name].to_list()]
    assert changed == [LEAKED]
    assert (leaked[LEAKED] - table[LEAKED]).to_numpy() == pytest.approx(table["excess"].to_numpy())


def test_no_sample_changes_when_more_days_arrive():
    plan = Plan.of(SETTINGS)
    whole = samples(COMPANY, Bare(), plan)
    calendar = Bare().prices("SPY").bars.day
    known = Bare(cut=calendar[599])
    part = samples(COMPANY, known, Plan.of({**SETTINGS, "sessions": 600}))
    assert len(part) == len(range(273, 590, 5))
    unweighted = [name for name in part.columns if name != "weight"]
    assert part.select(unweighted).equals(whole.select(unweighted).head(len(part)))


def test_what_lies_before_the_newest_sessions_does_not_matter_to_features():
    plan, calendar = Plan.of({**SETTINGS, "sessions": 500}), Bare().prices("SPY").bars.day
    long, short = samples(COMPANY, Bare(), plan), samples(COMPANY, Bare(begin=calendar[-500]), plan)
    assert long.select(catalogue.names()).equals(short.select(catalogue.names()))
    assert long["day"].to_list() == [str(day) for day in calendar[-500:][273:490:5]]


def test_a_young_symbol_is_refused():
    with pytest.raises(TooFewSamplesError, match="AAPL"):
        made(least=200)


def test_a_feature_that_is_not_a_number_is_named(monkeypatch):
    def broken(*arguments):
        values = np.zeros((700, 202))
        values[400:, catalogue.names().index("rsi_14")] = np.inf
        return values

    monkeypatch.setattr(module, "matrix", broken)
    with pytest.raises(UndefinedFeatureError, match=r"AAPL.*rsi_14"):
        made()


def test_numbers_beyond_measure_are_told_by_name_and_not_by_warnings_of_a_library():
    class Absurd(Bare):
        def prices(self, symbol):
            found = super().prices(symbol)
            return replace(found, bars=replace(found.bars, volume=found.bars.volume * 0 + 1e308))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UndefinedFeatureError, match="are not finite, the first vol_ratio_5"):
            samples(COMPANY, Absurd(), Plan.of(SETTINGS))


def test_a_pace_makes_a_symbol_wait_and_changes_nothing(table, monkeypatch):
    waited = []
    monkeypatch.setattr(module.time, "sleep", waited.append)
    assert rows_of(made(pace=1.5)).digest() == rows_of(table).digest()
    assert waited == [1.5]


def test_findings_of_the_quality_checks_are_rows_too_and_the_first_one_says_what_was_checked():
    (clean,) = inspect(COMPANY, source="synthetic", cache=Path("unused"), settings=SETTINGS).to_dicts()
    assert clean == {
        "symbol": COMPANY.symbol, "sector": COMPANY.sector, "day": "", "what": clean["what"], "done": "checked",
    }  # fmt: skip
    assert clean["what"].endswith(" bars")
    found = [
        inspect(company, source="synthetic", cache=Path("unused"), settings={**SETTINGS, "dirt": True})
        for company in companies()[:12]
    ]
    rows = [row for table in found for row in table.iter_rows() if row[-1] != "checked"]
    assert rows
    assert {row[0] for row in rows} <= {company.symbol for company in companies()[:12]}


def test_values_of_an_index_before_its_first_day_are_unknown():
    series = Series(np.array(["2024-01-03"], "datetime64[D]"), np.array([20.0]))
    days = np.array(["2024-01-02", "2024-01-03", "2024-01-04"], "datetime64[D]")
    np.testing.assert_array_equal(module._values(series, days), [np.nan, 20, 20])
