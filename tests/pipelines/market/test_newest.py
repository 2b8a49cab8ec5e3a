"""A sample equals what could have been computed on its day; the symbols of a run, and what changes no result."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from perdure.content import digest_value
from perdure.errors import ChangedError, UsageError
from perdure.pipelines.market.config import PRESETS, check, preset
from perdure.pipelines.market.data.source import source
from perdure.pipelines.market.features import catalogue
from perdure.pipelines.market.learning.matrix import SampleTable, load
from perdure.pipelines.market.pipeline import main
from perdure.pipelines.market.samples import symbols
from perdure.pipelines.market.samples.backtest import LEAKED, Plan
from perdure.pipelines.market.samples.newest import Until, newest

SETTINGS = preset("tiny") | {"source": "synthetic"}
ASKED = symbols.asked("synthetic", SETTINGS, cache=Path("unused"))


def worker(tmp_path: Path, **changes: object):
    return functools.partial(
        symbols.unit, source="synthetic", files=None, settings=SETTINGS | changes,
        place=symbols.Place(tmp_path, 0.0),
    )  # fmt: skip


def both(tmp_path: Path, symbol: str, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    """Features of three samples as they are, and as made without the days after them."""
    unit = worker(tmp_path, **changes)
    table = unit(symbols.backtest, ASKED[symbol])[[0, 60, 110]]
    again = unit(symbols.truncated, ASKED[symbol], days=table["day"].to_list())
    return table.select(catalogue.names()).to_numpy(), again


@pytest.mark.parametrize("symbol", ["AAPL", "MSFT"])
def test_a_sample_has_the_bits_that_its_day_could_know(tmp_path: Path, symbol: str) -> None:
    sample, again = both(tmp_path, symbol)
    assert np.array_equal(sample, again)


def test_a_feature_that_sees_the_future_is_the_only_one_that_differs(tmp_path: Path) -> None:
    sample, again = both(tmp_path, "AAPL", leak=True)
    differs = {catalogue.names()[k] for k in np.flatnonzero((sample != again).any(axis=0))}
    assert differs == {LEAKED}


def test_the_last_session_is_the_sources_and_not_that_of_the_last_label(tmp_path: Path) -> None:
    unit = worker(tmp_path, stride=5)  # its last decision is a day too early to end with the data
    last = unit(symbols.last_session, ASKED["AAPL"])
    assert last == str(source("synthetic", cache=tmp_path, config=SETTINGS).prices("SPY").bars.day[-1])
    assert unit(symbols.backtest, ASKED["AAPL"])["t1"].max() < last


def test_a_unit_whose_files_change_while_it_reads_them_records_nothing(tmp_path: Path) -> None:
    file = tmp_path / "AAPL.csv"
    file.write_text("Date,Close\n2024-01-02,1\n")
    text = f"csv:{tmp_path}"
    place = symbols.Place(tmp_path, 0.0, symbols.state(text))
    made = functools.partial(
        symbols.unit, symbol=ASKED["AAPL"], source=text, files=tmp_path, settings={}, place=place
    )
    assert made(lambda *_, **__: "rows") == "rows"
    with pytest.raises(ChangedError, match=r"while the run was reading them: AAPL\.csv"):
        made(lambda *_, **__: file.write_text("Date,Close\n2024-01-02,25\n"))


def test_a_provider_until_a_day_has_nothing_after_it(tmp_path: Path) -> None:
    day = np.datetime64("2025-06-30")
    whole = source("synthetic", cache=tmp_path, config=SETTINGS)
    known = Until(whole, day)
    assert known.prices("AAPL").bars.day[-1] <= day < whole.prices("AAPL").bars.day[-1]
    assert known.index("VIX").day[-1] <= day < whole.index("VIX").day[-1]
    assert len(known.events("AAPL").news) < len(whole.events("AAPL").news)
    assert newest(ASKED["AAPL"], known, Plan.of(SETTINGS)).day == known.prices("AAPL").bars.day[-1]


def test_a_preset_takes_so_many_symbols_of_so_many_sectors() -> None:
    assert list(ASKED) == ["AAPL", "MSFT", "JPM", "BAC"]
    assert len(symbols.asked("synthetic", preset("full"), cache=Path("unused"))) == 82
    assert len(symbols.asked("synthetic", preset("quick"), cache=Path("unused"))) == 22


def test_a_folder_without_symbols_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "SPY.csv").write_text("Date,Close\n2020-01-02,1\n")
    with pytest.raises(UsageError, match="has no file for a company"):
        symbols.asked(f"csv:{tmp_path}", SETTINGS, cache=tmp_path)


def test_neither_the_cache_nor_the_pace_is_part_of_what_is_fingerprinted(tmp_path: Path) -> None:
    one, other = symbols.Place(tmp_path, 0.0), symbols.Place(tmp_path / "elsewhere", 2.0)
    assert digest_value(one, name="place") == digest_value(other, name="place")


@pytest.mark.parametrize(
    ("name", "value"),
    [("per_sector", "abc"), ("stride", 0), ("kappa", -1), ("sessions", 2.5), ("trees", True), ("dirt", 1),
     ("first_share", float("nan")), ("gate", 3), ("rounds", None), ("threads", 1_000_000), ("target", "zzz"),
     ("gate", {"auc": "x"}), ("gate", {"auc": float("nan")}), ("gate", {"advisory": 5})],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused_by_name_and_value(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name}.* is .*must be"):
        check(SETTINGS | {name: value})


def test_an_advisory_check_that_there_is_not_is_refused_before_the_training() -> None:
    with pytest.raises(UsageError, match="the gate has no check 'luck'"):
        check(SETTINGS | {"gate": {"advisory": ["luck"]}})


@pytest.mark.parametrize(
    ("source", "change"), [("synthetic", "rounds=0"), ("csv:missing", "rounds=1"), ("moon", "")]
)
def test_what_is_refused_leaves_no_run_that_would_hold_a_better_one_up(
    source: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_SET", json.dumps([change] if change else []))
    with pytest.raises(UsageError):
        main("tiny", tmp_path / "run", source=source)
    assert not (tmp_path / "run").exists()


def test_every_preset_makes_sense() -> None:
    for name in PRESETS:
        check(preset(name))


@pytest.mark.parametrize(("source", "changes"), [("moon", {}), ("synthetic", {"sessions": 20})])
def test_what_a_source_refuses_is_refused_before_any_symbol(
    tmp_path: Path, source: str, changes: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        symbols.asked(source, SETTINGS | changes, cache=tmp_path)


def test_a_run_in_which_no_symbol_gave_samples_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no symbol gave samples"):
        load(SampleTable(tmp_path / "run.db"), {}, features=catalogue.names())
