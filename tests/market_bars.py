"""Bars and events to test the market pipeline's features with: made ones, and real ones where packages bring them."""

import csv
import gzip
import io
import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.data.events import Announcements, Earnings, Events, Filings, InsiderTrades, News


def weekdays(count, first="2015-01-05"):
    return np.busday_offset(np.datetime64(first), np.arange(count), roll="forward").astype("datetime64[D]")


def made(count=600, seed=0):
    """Bars of a random walk, and the closes of its market and sector."""
    rng = np.random.default_rng(seed)
    market = 100 * np.exp(np.cumsum(rng.normal(2e-4, 0.009, count)))
    sector = market * np.exp(np.cumsum(rng.normal(0, 0.004, count)))
    close = 50 * sector / sector[0] * np.exp(np.cumsum(rng.normal(0, 0.012, count)))
    opening = np.concatenate([close[:1], close[:-1]]) * np.exp(rng.normal(0, 0.004, count))
    high = np.maximum(opening, close) * np.exp(np.abs(rng.normal(0, 0.004, count)))
    low = np.minimum(opening, close) * np.exp(-np.abs(rng.normal(0, 0.004, count)))
    volume = np.round(np.exp(rng.normal(14, 0.5, count)))
    return Bars(weekdays(count), opening, high, low, close, volume), market, sector


def of_closes(close, first="2015-01-05"):
    """Bars of a source that has nothing but closes."""
    close = np.asarray(close, np.float64)
    return Bars(weekdays(len(close), first), close, close, close, close, np.zeros(len(close)))


def moments(days, rng, count):
    """Random moments on `days`, at any hour, in order."""
    found = rng.choice(days, count).astype("datetime64[s]") + rng.integers(0, 86400, count).astype("m8[s]")
    return np.sort(found)


def happenings(days, seed=0):
    """Events of all kinds at random moments, many on the same days."""
    rng, years = np.random.default_rng(seed), max(len(days) // 250, 1)
    at = moments(days, rng, 30 * years)
    filings = Filings(
        at, rng.choice(["8-K", "10-Q", "10-K", "NT 10-K", "10-K/A"], len(at)),
        rng.choice(["2.02,9.01", "1.01", "5.02,9.01", ""], len(at)),
        np.where(rng.random(len(at)) < 0.1, np.nan, rng.uniform(1e5, 1e6, len(at))),
    )  # fmt: skip
    at = moments(days, rng, 20 * years)
    trades = InsiderTrades(
        at, rng.choice(["P", "S"], len(at)), rng.uniform(1e4, 1e6, len(at)),
        rng.choice(["a", "b", "c"], len(at)), rng.random(len(at)) < 0.3,
    )  # fmt: skip
    releases = days[40::63].astype("datetime64[s]") + np.timedelta64(21, "h")
    told = days[20::63].astype("datetime64[s]")
    coming = days[40::63][: len(told)]
    told = told[: len(coming)]
    at = moments(days, rng, 200 * years)
    news = News(at, rng.integers(1, 9, len(at)).astype(float), rng.uniform(-1, 1, len(at)))
    eps = 1 + 0.01 * np.arange(len(releases)) + rng.normal(0, 0.1, len(releases))
    return Events(filings, trades, Earnings(releases, eps), Announcements(told, coming), news)


def _package_file(package, name):
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed; it brings {name}")
    path = Path(found.submodule_search_locations[0]) / name
    if not path.is_file():
        pytest.skip(f"this version of {package} has no {name}")
    return path


def _day(text):
    if "/" in text:
        month, day, year = text.split("/")
        return f"{int(year):04}-{int(month):02}-{int(day):02}"
    return text


def _table(text):
    rows = [row for row in csv.DictReader(io.StringIO(text)) if all(row.values())]
    numbers = [[float(row[name]) for row in rows] for name in ("Open", "High", "Low", "Close", "Volume")]
    opening, high, low, close, volume = map(np.array, numbers)
    days = np.array([_day(row["Date"]) for row in rows], "datetime64[D]")
    high, low = np.maximum(high, np.maximum(opening, close)), np.minimum(low, np.minimum(opening, close))
    return Bars(days, opening, high, low, close, volume)


def bokeh_stock(symbol):
    text = gzip.decompress(_package_file("bokeh_sampledata", "_data/stocks.csv.gz").read_bytes()).decode()
    lines = text.splitlines()
    return _table("\n".join([lines[0], *(line for line in lines if line.startswith(symbol + ","))]))


def pmdarima_msft():
    with tarfile.open(_package_file("pmdarima", "datasets/data/msft.tar.gz")) as archive:
        member = next(entry for entry in archive if entry.isfile())
        return _table(archive.extractfile(member).read().decode())


def arch_index(name):
    return _table(gzip.decompress(_package_file("arch", f"data/{name}/{name}.csv.gz").read_bytes()).decode())


def skfolio_closes(symbol):
    text = gzip.decompress(
        _package_file("skfolio", "datasets/data/sp500_dataset.csv.gz").read_bytes()
    ).decode()
    close = np.array([float(row[symbol]) for row in csv.DictReader(io.StringIO(text))])
    days = np.array([row["Date"] for row in csv.DictReader(io.StringIO(text))], "datetime64[D]")
    return Bars(days, close, close, close, close, np.zeros(len(close)))


REAL = {
    **{f"{symbol} (bokeh)": (lambda symbol=symbol: bokeh_stock(symbol)) for symbol in ("AAPL", "IBM", "MSFT", "GOOG")},
    "MSFT (pmdarima)": pmdarima_msft,
    "S&P 500 (arch)": lambda: arch_index("sp500"),
    "NASDAQ (arch)": lambda: arch_index("nasdaq"),
    "GE closes (skfolio)": lambda: skfolio_closes("GE"),
    "RRC closes (skfolio)": lambda: skfolio_closes("RRC"),
}  # fmt: skip
