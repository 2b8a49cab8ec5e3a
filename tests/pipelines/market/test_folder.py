"""A folder of one's own files works whatever its columns and dates look like, and rubbish is named with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perdure.errors import UsageError
from perdure.pipelines.market.data import quality
from perdure.pipelines.market.data.bars import adjusted
from perdure.pipelines.market.data.provider import MalformedError, NoSuchSymbolError
from perdure.pipelines.market.data.source import source
from perdure.pipelines.market.folder.provider import Folder

COUNT = 400
DAYS = np.busday_offset("2021-01-04", np.arange(COUNT))


def walk(seed: int) -> np.ndarray:
    return 100 * np.exp(np.cumsum(0.01 * np.random.default_rng(seed).standard_normal(COUNT)))


def frame(seed: int, days=None, **columns) -> pl.DataFrame:
    close = walk(seed)
    table = {"Date": [str(day) for day in DAYS] if days is None else days, "Open": close * 0.99,
             "High": close * 1.02, "Low": close * 0.98, "Close": close, "Volume": np.arange(COUNT) + 1.0}  # fmt: skip
    return pl.DataFrame(table | columns)


def write(folder, name: str, seed: int, **columns) -> None:
    frame(seed, **columns).write_csv(folder / f"{name}.csv")


def message(folder, text: str) -> str:
    (folder / "AAPL.csv").write_text(text)
    with pytest.raises(MalformedError) as caught:
        Folder(folder).prices("AAPL")
    return str(caught.value)


def test_a_csv_file_gives_its_bars(tmp_path):
    write(tmp_path, "AAPL", 1)
    bars = Folder(tmp_path).prices("AAPL").bars
    assert bars.day.tolist() == DAYS.tolist()
    assert bars.close.tobytes() == walk(1).tobytes()
    assert bars.volume[:2].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "pattern",
    ["%Y-%m-%d", "%Y%m%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%b-%Y", "%Y-%m-%dT00:00:00Z",
     "%Y-%m-%d 00:00:00-05:00"],
)  # fmt: skip
def test_dates_may_be_written_in_the_usual_ways(tmp_path, pattern):
    write(tmp_path, "AAPL", 1, days=[day.strftime(pattern) for day in DAYS.astype(object)])
    assert Folder(tmp_path).prices("AAPL").bars.day.tolist() == DAYS.tolist()


def test_names_of_columns_and_files_may_be_upper_or_lower_case(tmp_path):
    lower = frame(1).rename(str.lower)
    lower.write_csv(tmp_path / "aapl.us.csv")
    frame(2).rename(str.upper).write_csv(tmp_path / "MSFT.CSV")
    folder = Folder(tmp_path)
    assert folder.symbols() == ("AAPL", "MSFT")
    assert folder.prices("MSFT").bars.close.tobytes() == walk(2).tobytes()


def test_newest_first_is_turned_round(tmp_path):
    frame(1, **{"Adj Close": walk(1)}).reverse().write_csv(tmp_path / "AAPL.csv")
    prices = Folder(tmp_path).prices("AAPL")
    assert prices.bars.close.tobytes() == walk(1).tobytes()
    assert len(prices.dividend_day) == len(prices.split_day) == 0


def test_closes_alone_stand_for_the_other_prices_and_that_is_told(tmp_path):
    frame(1).select("Date", "Close").write_csv(tmp_path / "AAPL.csv")
    prices = Folder(tmp_path).prices("AAPL")
    assert prices.bars.open.tobytes() == prices.bars.high.tobytes() == prices.bars.close.tobytes()
    assert not prices.bars.volume.any()
    _, found = quality.check(prices)
    assert ["closes only" in row.what or "no volume" in row.what for row in found] == [True, True]


def test_dividends_and_splits_are_worked_out_from_adj_close(tmp_path):
    whole = walk(1)
    traded = whole * np.where(np.arange(COUNT) < 150, 1.0, 0.99)
    traded = traded * np.where(np.arange(COUNT) < 200, 1.0, 0.25)
    write(tmp_path, "AAPL", 1, Open=traded, High=traded, Low=traded, Close=traded,
          **{"Adj Close": np.round(whole * 0.2, 4)})  # fmt: skip
    prices = Folder(tmp_path).prices("AAPL")
    assert prices.split_day.tolist() == [DAYS[200].astype(object)]
    assert prices.dividend_day.tolist() == [DAYS[150].astype(object)]
    assert prices.dividend[0] == pytest.approx(0.01 * traded[149], rel=1e-2)
    assert np.diff(np.log(adjusted(prices).close)) == pytest.approx(np.diff(np.log(whole)), abs=1e-4)


def test_missing_cells_and_money_signs_are_understood(tmp_path):
    (tmp_path / "AAPL.csv").write_text(
        'Date,Open,High,Low,Close/Last,Volume\n2024-01-02,$1,"$1,002.5",1,2,"1,000"\n2024-01-03,null,N/A,,2,-\n'
    )
    bars = Folder(tmp_path).prices("AAPL").bars
    assert bars.high[0] == 1002.5 and bars.volume.tolist() == [1000.0, 0.0]
    assert np.isnan([bars.open[1], bars.high[1], bars.low[1]]).all()


def test_parquet_gives_the_same_as_csv(tmp_path):
    write(tmp_path, "AAPL", 1)
    frame(1).with_columns(pl.col("Date").str.to_datetime()).write_parquet(tmp_path / "AAPL.parquet")
    first, second = (source(f"{kind}:{tmp_path}", cache=tmp_path, config={}) for kind in ("csv", "parquet"))
    assert first.prices("AAPL").bars.close.tobytes() == second.prices("AAPL").bars.close.tobytes()
    assert first.prices("AAPL").bars.day.tolist() == second.prices("AAPL").bars.day.tolist()


def test_a_fund_without_a_file_is_made_of_the_companies_in_equal_parts(tmp_path):
    for seed, symbol in enumerate(("AAPL", "MSFT", "JPM")):
        write(tmp_path, symbol, seed)
    folder = Folder(tmp_path)
    step = np.diff(np.log(np.array([walk(seed) for seed in range(3)])), axis=1)
    market, technology, financials = (folder.prices(fund) for fund in ("SPY", "XLK", "XLF"))
    assert np.diff(np.log(market.bars.close)) == pytest.approx(step.mean(axis=0)[1:])
    assert np.diff(np.log(technology.bars.close)) == pytest.approx(step[:2].mean(axis=0)[1:])
    assert financials.bars.close.tobytes() == market.bars.close.tobytes()  # one company is no sector
    assert "3 companies in equal parts" in market.findings[0].what
    assert (market.bars.low <= market.bars.close).all() and (market.bars.close <= market.bars.high).all()


def test_a_fund_and_the_vix_are_read_where_they_have_files(tmp_path):
    for seed, name in enumerate(("AAPL", "SPY", "^VIX")):
        write(tmp_path, name, seed)
    folder = Folder(tmp_path)
    assert folder.symbols() == ("AAPL",)
    assert folder.prices("SPY").bars.close.tobytes() == walk(1).tobytes()
    assert folder.index("VIX").value.tobytes() == walk(2).tobytes()
    assert folder.index("VIX3M") is None
    assert len(folder.events("AAPL").filings) == 0 and folder.oracle("AAPL") is None


def test_rubbish_is_named_with_its_file_and_line(tmp_path):
    head = "Date,Close\n2024-01-02,1\n"
    assert "AAPL.csv, line 3: 'oops' is no number" in message(tmp_path, head + "2024-01-03,oops\n")
    assert "AAPL.csv, line 4: 'soon' is no date" in message(tmp_path, head + "\nsoon,1\n")
    assert "line 3: it has 3 cells, and the header has 2" in message(tmp_path, head + "2024-01-03,1,2\n")
    assert "no column Close; the columns are date, size" in message(tmp_path, "Date,Size\n2024-01-02,1\n")
    assert "column names and no rows" in message(tmp_path, "Date,Close\n")
    assert "line 3: '99,5' is no number; write decimals" in message(
        tmp_path, "Date;Close\n2024-01-02;1,234.5\n2024-01-03;99,5\n"
    )
    assert "line 3: it is no table (field larger" in message(tmp_path, head + '2024-01-03,"' + "1" * 200_000)
    assert "line 3: there was no market on 9024-01-03" in message(tmp_path, head + "9024-01-03,1\n")
    assert "several columns close" in message(tmp_path, "Date,Close,Close\n2024-01-02,1,2\n")
    assert "no column Date and no Close" in message(tmp_path, "")
    (tmp_path / "AAPL.csv").write_bytes(b"Date,Close\n2024-01-02,\xff\n")
    with pytest.raises(MalformedError, match="line 2: it is not UTF-8"):
        Folder(tmp_path).prices("AAPL")


def test_a_file_that_is_no_parquet_is_refused_by_name(tmp_path):
    (tmp_path / "AAPL.parquet").write_bytes(b"no")
    with pytest.raises(MalformedError, match=r"AAPL\.parquet cannot be read"):
        Folder(tmp_path, "parquet").prices("AAPL")


def test_a_folder_without_companies_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no file for a company"):
        Folder(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        Folder(tmp_path / "none")


def test_two_files_of_one_symbol_are_refused_and_not_chosen_from(tmp_path):
    write(tmp_path, "AAPL", 1)
    (tmp_path / "aapl.txt").write_text("Date,Close\n2024-01-02,1\n")
    with pytest.raises(UsageError, match=r"two files for AAPL: AAPL\.csv and aapl\.txt"):
        Folder(tmp_path)


def test_a_file_whose_name_holds_no_symbol_is_refused_by_name(tmp_path):
    write(tmp_path, "AAPL", 1)
    for name in ("_.csv", "MS\nFT.csv"):
        (tmp_path / name).write_text("Date,Close\n2024-01-02,1\n")
        with pytest.raises(UsageError, match="names no symbol; name it like AAPL"):
            Folder(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "MSFT.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(UsageError, match=r"MSFT\.csv is a link to nothing"):
        Folder(tmp_path)


def test_a_folder_that_may_not_be_read_is_refused_with_the_reason(tmp_path, monkeypatch):
    def refused(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        Folder(tmp_path)


def test_a_fund_that_was_made_is_made_anew_when_a_file_changes(tmp_path):
    for seed, symbol in enumerate(("AAPL", "MSFT")):
        write(tmp_path, symbol, seed)
    before = Folder(tmp_path).prices("SPY").bars
    write(tmp_path, "MSFT", 7)  # as a server lives to see
    after = Folder(tmp_path).prices("SPY").bars
    assert after.close.tobytes() != before.close.tobytes()


def test_a_folder_of_rubbish_says_what_is_wrong_with_it_and_not_only_that_no_fund_can_be_made(tmp_path):
    (tmp_path / "AAPL.csv").write_text("%PDF\n")
    with pytest.raises(
        MalformedError, match=r"in place of SPY: .*AAPL\.csv, line 1: there is no column Date"
    ):
        Folder(tmp_path).prices("SPY")


def test_a_time_beside_the_date_is_passed_over(tmp_path):
    (tmp_path / "AAPL.csv").write_text("Date,Time,Close\n2024-01-02,000000,1\n2024-01-03,000000,2\n")
    assert [str(day) for day in Folder(tmp_path).prices("AAPL").bars.day] == ["2024-01-02", "2024-01-03"]


def test_a_symbol_without_a_file_is_unknown(tmp_path):
    write(tmp_path, "AAPL", 1)
    with pytest.raises(NoSuchSymbolError, match="no file for 'MSFT'; it has AAPL"):
        Folder(tmp_path).prices("MSFT")


def test_an_unknown_source_is_refused_with_those_that_exist(tmp_path):
    with pytest.raises(UsageError, match="synthetic, csv:DIR, parquet:DIR, yfinance, stooq, tiingo"):
        source("bloomberg", cache=tmp_path, config={})
    with pytest.raises(UsageError, match="there is no source 'csv:'"):
        source("csv:", cache=tmp_path, config={})


def test_settings_reach_the_synthetic_market(tmp_path):
    market = source(
        "synthetic", cache=tmp_path, config={"market_seed": 3, "sessions": 300, "symbols": ["AAPL"], "x": 1}
    )
    assert (market.seed, market.sessions, market.symbols, market.name) == (3, 300, ("AAPL",), "synthetic")
    assert list(tmp_path.iterdir()) == []


def test_real_closes_of_30_years_pass_the_checks(tmp_path):
    datasets = pytest.importorskip("skfolio.datasets")
    table = datasets.load_sp500_dataset()
    days = [str(day)[:10] for day in table.index]
    pl.DataFrame({"Date": days, "Close": table["AAPL"].to_numpy()}).write_csv(tmp_path / "AAPL.csv")
    apple, found = quality.check(Folder(tmp_path).prices("AAPL"))
    assert len(apple.bars) == len(table)
    assert any(
        row.day == "2000-09-29" and row.done == "kept" for row in found
    )  # Apple did lose half its value
