"""Forecasts and explanations: from fresh data and known features, in order, and what they rest on."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import made_champion
from made_champion import DAY, SYMBOLS, Linear
from perdure.errors import ChangedError, DamagedError, UsageError
from perdure.pipelines.market import config
from perdure.pipelines.market.data.provider import SourceError
from perdure.pipelines.market.data.symbols import Company, companies
from perdure.pipelines.market.deployment import explanation, latest, prediction
from perdure.pipelines.market.deployment.latest import Rows, rows_as_of
from perdure.pipelines.market.deployment.prediction import Champion, StaleError
from perdure.pipelines.market.deployment.records import ModelVersion
from perdure.pipelines.market.deployment.registry import Registry
from perdure.pipelines.market.features import catalogue
from perdure.pipelines.market.samples.newest import Newest

ENSEMBLE = Linear.read(made_champion.content())
SETTINGS = config.preset("tiny") | {"source": "synthetic", "sectors": 1, "per_sector": 2, "sessions": 600}


def predict(rows: Rows | None = None, **changes: Any) -> list[prediction.Forecast]:
    facts: dict[str, Any] = {"asof": DAY, "newest_day": DAY, "feature_digest": catalogue.digest()}
    return prediction.predict(ENSEMBLE, rows or made_champion.rows(), **facts | changes)


def made() -> Champion:
    return Champion(
        ModelVersion("market", 4, "d", Path("m.zip"), "f", "2025-05-30", "run", {}, 0.0), ENSEMBLE, ()
    )


# -- predict -----------------------------------------------------------------------------------------------------


def test_the_highest_probability_comes_first() -> None:
    found = predict()
    assert [one.symbol for one in found] == list(SYMBOLS)
    assert found[0].probability == pytest.approx(1 / (1 + np.exp(-1)))
    assert (found[0].sector, found[0].day, found[0].regime) == ("Technology", "2025-06-13", "usual, rising")


def test_equal_probabilities_are_ordered_by_symbol_and_share_a_decile() -> None:
    x = np.zeros((5, len(catalogue.names())), np.float32)
    found = predict(made_champion.rows(x=x))
    assert [one.symbol for one in found] == sorted(SYMBOLS)
    assert {one.decile for one in found} == {1}


def test_deciles_hold_tenths_of_the_symbols() -> None:
    count = 40
    x = np.zeros((count, len(catalogue.names())), np.float32)
    x[:, 0] = np.random.default_rng(0).permutation(count)
    rows = Rows(
        tuple(f"S{k:02d}" for k in range(count)),
        ("Energy",) * count,
        np.full(count, DAY),
        x,
        np.zeros(count, np.int8),
    )
    found = predict(rows)
    assert [one.decile for one in found] == sorted((k // 4 + 1 for k in range(count)), reverse=True)


def test_stale_data_are_refused_with_both_days() -> None:
    monday = DAY + np.timedelta64(3, "D")
    assert predict(asof=monday)  # one business day later
    assert predict(asof=DAY + np.timedelta64(5, "D"))
    with pytest.raises(StaleError, match=r"2025-06-13, 4 business days before 2025-06-19"):
        predict(asof=DAY + np.timedelta64(6, "D"))


def test_data_from_after_the_day_are_refused() -> None:
    with pytest.raises(UsageError, match="beyond"):
        predict(asof=DAY - np.timedelta64(1, "D"))


def test_other_features_than_the_model_knows_are_refused() -> None:
    with pytest.raises(ChangedError, match="trained on features of digest"):
        predict(feature_digest="0" * 64)


def test_nothing_to_forecast_is_an_error() -> None:
    empty = Rows((), (), np.empty(0, "datetime64[D]"), np.empty((0, 202), np.float32), np.empty(0, np.int8))
    with pytest.raises(UsageError, match="no symbol"):
        predict(empty)


def test_the_document_says_what_the_forecasts_rest_on() -> None:
    found = prediction.document(made(), made_champion.rows(), asof=DAY + np.timedelta64(1, "D"))
    assert {k: found[k] for k in ("version", "asof", "day", "trained_until", "in_sample")} == {
        "version": 4, "asof": "2025-06-14", "day": "2025-06-13", "trained_until": "2025-05-30", "in_sample": False,
    }  # fmt: skip
    assert found["skipped"] == {"TSLA": "only 12 of 12 bars can be used"}
    told = prediction.lines(found)
    assert "AAPL" in told[1] and any("TSLA is left out" in line for line in told)


def test_a_day_that_the_model_was_trained_on_is_called_so() -> None:
    day = np.datetime64("2025-05-30")
    found = prediction.document(made(), made_champion.rows(day=np.full(5, day)), asof=day)
    assert found["in_sample"]
    assert "prove nothing" in prediction.lines(found)[-1]


def test_a_short_list_holds_both_ends_and_counts_the_rest() -> None:
    found = prediction.document(made(), made_champion.rows(skipped={}), asof=DAY)
    told = prediction.lines(found, top=1)
    assert [line.split()[2] for line in (told[1], told[3])] == ["AAPL", "KO"]
    assert "3 more" in told[2] and len(told) == 4


def test_the_table_holds_every_forecast() -> None:
    found = prediction.document(made(), made_champion.rows(), asof=DAY)
    table = list(csv.DictReader(io.StringIO(prediction.as_csv(found).decode())))
    assert [row["symbol"] for row in table] == list(SYMBOLS)
    assert float(table[0]["probability"]) == found["forecasts"][0]["probability"]


# -- the champion ------------------------------------------------------------------------------------------------


def test_the_champion_is_loaded_and_another_version_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    made_champion.promoted(path, made_champion.content())
    made_champion.promoted(path, made_champion.content(lean=1.0))
    with Registry(path) as registry:
        loaded = prediction.load(registry, read=Linear.read)
        assert (loaded.version.version, loaded.ensemble.manifest["lean"]) == (2, 1.0)
        assert [verdict.check for verdict in loaded.gate] == ["AUC"]
        assert prediction.load(registry, 1, read=Linear.read).ensemble.manifest["lean"] == 0.0


def test_without_a_champion_there_is_nothing_to_load(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry.db") as registry, pytest.raises(UsageError, match="perdure promote"):
        prediction.load(registry)


def test_a_champion_whose_file_was_changed_is_not_loaded(tmp_path: Path) -> None:
    added = made_champion.promoted(tmp_path / "registry.db", made_champion.content())
    added.path.write_bytes(made_champion.content(lean=9.0))
    with Registry(tmp_path / "registry.db") as registry, pytest.raises(DamagedError):
        prediction.load(registry, read=Linear.read)


@pytest.mark.parametrize("text", ["yesterday", "2025-13-01", "20250", ""])
def test_a_day_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a day"):
        prediction.day_of(text, "synthetic")


def test_the_made_market_ends_on_its_own_last_day() -> None:
    assert prediction.day_of(None, "synthetic") == latest.LAST_DAY
    assert prediction.day_of("2025-06-13", "yfinance") == DAY


# -- rows --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def newest_rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    beside = tmp_path_factory.mktemp("runs") / "registry.db"
    return rows_as_of(latest.LAST_DAY, config=SETTINGS, source=None, beside=beside)


def test_rows_are_of_the_newest_session_and_whole(newest_rows: Rows) -> None:
    assert len(newest_rows.symbols) + len(newest_rows.skipped) == 2
    assert newest_rows.newest == latest.LAST_DAY and set(newest_rows.day) == {latest.LAST_DAY}
    assert newest_rows.x.shape == (len(newest_rows.symbols), 202) and newest_rows.x.dtype == np.float32
    assert np.isfinite(newest_rows.x).all() and (newest_rows.regime >= 0).all()


def test_rows_as_of_a_weekend_are_those_of_friday(tmp_path: Path) -> None:
    found = [
        rows_as_of(np.datetime64(day), config=SETTINGS, source=None, beside=tmp_path / "registry.db")
        for day in ("2025-06-13", "2025-06-15")
    ]
    assert found[1].newest == np.datetime64("2025-06-13")
    assert np.array_equal(found[0].x, found[1].x)


def of(company: Company, day: str, *, value: float = 0.0, regime: int = 1) -> Newest:
    return Newest(np.datetime64(day), np.full(202, value), regime)


def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: Mapping[str, Newest | Exception]) -> Rows:
    """What `latest` makes of these newest rows."""

    def newest(company: Company, *_: Any) -> Newest:
        found = given[company.symbol]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(latest, "newest", newest)
    chosen = [one for one in companies() if one.symbol in given]
    return latest.latest(chosen, source="synthetic", cache=tmp_path, settings=SETTINGS, asof=DAY)


def test_symbols_without_a_usable_row_are_left_out_with_their_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    company = companies()[0]
    given = {
        "AAPL": of(company, "2025-06-13"), "MSFT": of(company, "2025-06-12"),
        "NVDA": of(company, "2025-06-13", value=np.nan),
        "JPM": of(company, "2025-06-13", regime=-1), "XOM": SourceError("the server is on fire"),
    }  # fmt: skip
    found = table(monkeypatch, tmp_path, given)
    assert found.symbols == ("AAPL",)
    assert "newest session is 2025-06-12" in found.skipped["MSFT"]
    assert "202 of its features" in found.skipped["NVDA"]
    assert "regime" in found.skipped["JPM"]
    assert found.skipped["XOM"] == "the server is on fire"


def test_when_no_symbol_is_left_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="AAPL: gone"):
        table(monkeypatch, tmp_path, {"AAPL": SourceError("gone")})
    with pytest.raises(UsageError, match="regime"):
        table(monkeypatch, tmp_path, {"AAPL": of(companies()[0], "2025-06-13", regime=-1)})


# -- explain -----------------------------------------------------------------------------------------------------


def test_parts_base_and_rest_add_up_to_the_output() -> None:
    found = explanation.explain(
        Linear.read(made_champion.content(lean=0.3)), made_champion.rows(), "XOM", top=1
    )
    (share,) = found.shares
    assert share.base + sum(part.contribution for part in share.parts) + share.rest == pytest.approx(
        share.output
    )
    assert (share.parts[0].feature, share.parts[0].value) == (catalogue.names()[0], -0.5)
    assert share.rest == pytest.approx(-0.2)


def test_the_largest_contributions_come_first_whatever_their_sign() -> None:
    (share,) = explanation.explain(
        ENSEMBLE, made_champion.rows(), "JPM", top=3
    ).shares  # its first feature is 0
    assert share.parts[0].feature == catalogue.names()[1]
    assert share.parts[0].contribution == pytest.approx(-0.2)
    assert len(share.parts) == 1  # what added nothing is not shown


def test_models_that_cannot_be_taken_apart_are_named() -> None:
    found = explanation.explain(ENSEMBLE, made_champion.rows(), "AAPL")
    assert found.without == ("network",)
    told = explanation.lines(found)
    assert told[0].startswith("AAPL, session 2025-06-13: probability 0.73")
    assert f"  +1.0000  {catalogue.names()[0]} = 1" in told
    assert told[-1].startswith("network: ")


def test_what_was_not_forecast_cannot_be_explained() -> None:
    with pytest.raises(UsageError, match="only 12 of 12 bars"):
        explanation.explain(ENSEMBLE, made_champion.rows(), "TSLA")
    with pytest.raises(UsageError, match="none of the model's symbols"):
        explanation.explain(ENSEMBLE, made_champion.rows(), "ZZZ")


def test_the_picture_is_a_png_and_the_same_twice() -> None:
    found = explanation.explain(ENSEMBLE, made_champion.rows(), "AAPL", top=3)
    drawn = explanation.picture(found)
    assert drawn.startswith(b"\x89PNG") and drawn == explanation.picture(found)


def test_a_model_that_looked_at_nothing_has_an_empty_panel() -> None:
    found = explanation.explain(ENSEMBLE, made_champion.rows(x=np.zeros((5, 202), np.float32)), "AAPL")
    assert found.shares[0].parts == ()
    assert explanation.picture(found).startswith(b"\x89PNG")
