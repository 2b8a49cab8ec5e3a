"""Real prices, as other packages ship them, through a folder of CSV files to a verdict; dirt stops nobody."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from market_bars import _package_file, bokeh_stock, pmdarima_msft
from processes import environment, rows

GOOD = ("AAPL", "AMD", "BAC", "CVX", "GE", "JPM", "KO", "PEP", "WMT", "XOM")


def write(place: Path, table: list[dict[str, object]]) -> None:
    with place.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def of_bars(bars) -> list[dict[str, object]]:
    return [
        {"Date": str(d), "Open": o, "High": h, "Low": low, "Close": c, "Volume": v}
        for d, o, h, low, c, v in zip(
            bars.day, bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True
        )
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prices")
    text = gzip.decompress(_package_file("skfolio", "datasets/data/sp500_dataset.csv.gz").read_bytes())
    closes = list(csv.DictReader(io.StringIO(text.decode())))
    for symbol in GOOD:
        table: list[dict[str, object]] = [{"Date": row["Date"], "Close": row[symbol]} for row in closes]
        if symbol == "KO":
            table.insert(6500, dict(table[6500]))  # a duplicate date
        if symbol == "PEP":
            table[6700]["Close"] = 0  # a zero price
        write(place / f"{symbol}.csv", table)
    write(place / "MSFT.csv", of_bars(pmdarima_msft()))  # ends in 2017
    write(place / "IBM.csv", of_bars(bokeh_stock("IBM")))  # ends in 2013: too few of the newest sessions
    (place / "BAD.csv").write_text("this is no table\n\x00\x01")
    return place


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_real_prices_reach_a_verdict_and_what_is_wrong_with_them_is_told(
    folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "real"
    done = subprocess.run(
        [sys.executable, "-m", "perdure", "run", "market", "--preset", "tiny", "--source", f"csv:{folder}",
         "--run", str(run), "--set", "sessions=1500"],
        env=environment(run, KERAS_BACKEND="jax"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    failed = dict(rows(run, "SELECT key, reason FROM units WHERE phase = 'backtest' AND state = 'failed'"))
    assert set(failed) == {"BAD", "IBM", "MSFT"}
    assert "IBM has" in failed["IBM"] and "BAD.csv" in failed["BAD"]
    counts = dict(rows(run, "SELECT symbol, count(*) FROM samples GROUP BY symbol"))
    assert set(counts) == set(GOOD)
    told = rows(run, "SELECT symbol, what FROM quality WHERE done != 'checked'")
    assert any(symbol == "KO" and "twice" in what for symbol, what in told)
    assert any(symbol == "PEP" and "zero" in what for symbol, what in told)
    results = json.loads((run / "exports" / "results.json").read_text())
    verdicts = {check["check"]: check["verdict"] for check in results["gate"]["checks"]}
    assert verdicts["data fresh"] == "failed"  # the newest session is of 2022
    assert verdicts["audit: right truncation"] == "passed"
    assert results["assessment"]["oracle"] is None
