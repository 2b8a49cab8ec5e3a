"""Every way in which a source on the web can fail is known by its name, and what may pass is tried again."""

from __future__ import annotations

import email.utils
import json
import pickle

import httpx
import numpy as np
import pytest

from perdure.errors import StorageError, UsageError
from perdure.pipelines.market.data.bars import adjusted
from perdure.pipelines.market.data.cache import Cache, Cached
from perdure.pipelines.market.data.provider import (
    MalformedError,
    NoSuchSymbolError,
    RateLimitedError,
    SourceError,
)
from perdure.pipelines.market.data.source import source
from perdure.pipelines.market.web import cboe, gdelt, stooq, tiingo, yahoo
from perdure.pipelines.market.web.bucket import Bucket
from perdure.pipelines.market.web.cboe import Cboe
from perdure.pipelines.market.web.composite import Web, web
from perdure.pipelines.market.web.edgar import Edgar, company, earnings, insiders
from perdure.pipelines.market.web.gdelt import Gdelt
from perdure.pipelines.market.web.http import Http, Request
from perdure.pipelines.market.web.stooq import Stooq
from perdure.pipelines.market.web.tiingo import Tiingo
from perdure.pipelines.market.web.yahoo import Yahoo


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.at, self.slept = now, []

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


def fetcher(tmp_path, answer, time: Time | None = None) -> Http:
    """`answer`: a function of the request, or a list of responses and errors, one a try."""
    time = time or Time()
    queue = list(answer) if isinstance(answer, list) else None

    def respond(request: httpx.Request) -> httpx.Response:
        reply = answer(request) if queue is None else queue.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    client = httpx.Client(transport=httpx.MockTransport(respond))
    bucket = Bucket(tmp_path / "buckets.sqlite", "test", 1000, 1000, time.now, time.sleep)
    return Http(client, bucket, time.now, time.sleep)


def request(check=len) -> Request:
    return Request("yahoo", "AAPL", "prices", "https://example.com/AAPL", check)


def ok(body: bytes | str = b"data", **headers: str) -> httpx.Response:
    return httpx.Response(200, content=body, headers=headers)


# --- fetching


def test_a_good_answer_is_fetched_once(tmp_path):
    time = Time()
    assert fetcher(tmp_path, [ok()], time).fetch(request()) == b"data"
    assert time.slept == []


def test_what_may_pass_is_tried_again_with_longer_and_longer_pauses(tmp_path):
    time = Time()
    failures = [httpx.Response(503), httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), ok(b"  ")]
    assert fetcher(tmp_path, [*failures, ok()], time).fetch(request()) == b"data"
    assert time.slept == [1.0, 2.0, 4.0, 8.0]


def test_after_five_tries_the_last_error_is_raised(tmp_path):
    time = Time()
    with pytest.raises(SourceError, match="HTTP 502"):
        fetcher(tmp_path, lambda _: httpx.Response(502), time).fetch(request())
    assert len(time.slept) == 4


def test_429_waits_as_long_as_the_source_says(tmp_path):
    time = Time()
    date = email.utils.formatdate(time.at + 37 + 90, usegmt=True)
    refusals = [httpx.Response(429, headers={"Retry-After": text}) for text in ("37", date)]
    fetcher(tmp_path, [*refusals, ok()], time).fetch(request())
    assert time.slept == pytest.approx([37.0, 90.0], abs=1)


def test_429_without_a_time_is_tried_again_like_any_other(tmp_path):
    time = Time()
    refusals = [httpx.Response(429, headers={"Retry-After": text}) for text in ("", "soon")]
    fetcher(tmp_path, [*refusals, ok()], time).fetch(request())
    assert time.slept == [1.0, 2.0]


def test_a_wait_of_hours_is_told_instead_of_waited(tmp_path):
    time = Time()
    with pytest.raises(RateLimitedError, match="HTTP 429") as caught:
        fetcher(tmp_path, lambda _: httpx.Response(429, headers={"Retry-After": "7200"}), time).fetch(
            request()
        )
    assert caught.value.retry_after == 7200 and time.slept == []
    assert pickle.loads(pickle.dumps(caught.value)).retry_after == 7200


def test_edgar_s_403_for_too_many_requests_counts_as_a_limit(tmp_path):
    reply = httpx.Response(403, text="Request Rate Threshold Exceeded")
    assert fetcher(tmp_path, [reply, ok()]).fetch(request()) == b"data"


@pytest.mark.parametrize(
    ("status", "error"), [(404, NoSuchSymbolError), (401, SourceError), (403, SourceError)]
)
def test_what_will_not_pass_is_not_tried_again(tmp_path, status, error):
    time = Time()
    with pytest.raises(error, match=f"HTTP {status}"):
        fetcher(tmp_path, [httpx.Response(status)], time).fetch(request())
    assert time.slept == []


def test_a_body_that_was_cut_off_is_fetched_again(tmp_path):
    cut = httpx.RemoteProtocolError("peer closed connection without sending complete message body")
    replies = [ok(b"da", **{"Content-Length": "4"}), cut, ok(b"data", **{"Content-Length": "4"})]
    assert fetcher(tmp_path, replies).fetch(request()) == b"data"


def test_a_body_that_stays_cut_off_is_malformed(tmp_path):
    with pytest.raises(MalformedError, match="cut off after 2 of 4 bytes"):
        fetcher(tmp_path, lambda _: ok(b"da", **{"Content-Length": "4"})).fetch(request())


def test_an_error_page_with_status_200_is_neither_taken_for_data_nor_cached(tmp_path):
    def check(body: bytes) -> None:
        if b"<html" in body:
            raise MalformedError("a page")

    cached = Cached(Cache(tmp_path / "cache"), fetcher(tmp_path, [ok(b"<html>"), ok(b"data")]))
    assert cached.fetch(request(check)) == b"data"
    blocked = Cached(Cache(tmp_path / "other"), fetcher(tmp_path, lambda _: ok(b"<html>")))
    with pytest.raises(MalformedError):
        blocked.fetch(request(check))
    assert Cache(tmp_path / "other").get("yahoo/AAPL/prices") is None


# --- the bucket


def bucket(tmp_path, time: Time, name: str = "a") -> Bucket:
    return Bucket(tmp_path / "buckets.sqlite", name, 2.0, 3.0, time.now, time.sleep)


def test_a_burst_is_free_and_then_the_rate_holds(tmp_path):
    time = Time()
    for _ in range(7):
        bucket(tmp_path, time).take()  # each time a new one: the file remembers, as over a restart
    assert time.slept == pytest.approx([0.5] * 4)


def test_rest_fills_the_bucket_and_no_more_than_its_size(tmp_path):
    time = Time()
    for pause in (0, 0, 0, 1000, 0, 0):
        time.at += pause
        bucket(tmp_path, time).take()
    assert time.slept == []
    bucket(tmp_path, time).take()
    assert time.slept == pytest.approx([0.5])


def test_sources_do_not_share_and_a_clock_set_back_blocks_nobody(tmp_path):
    time = Time()
    for _ in range(3):
        bucket(tmp_path, time).take()
    bucket(tmp_path, time, "b").take()
    time.at -= 1e6
    bucket(tmp_path, time).take()
    assert time.slept == pytest.approx([0.5])


def test_two_processes_that_wait_get_one_turn_each(tmp_path):
    """Neither sleeps in truth: the second must be told to wait for its own token, not for the first one's."""
    first, second = Time(), Time()
    for _ in range(3):
        bucket(tmp_path, first).take()
    first.sleep, second.sleep = first.slept.append, second.slept.append
    bucket(tmp_path, first).take()
    bucket(tmp_path, second).take()
    assert (first.slept, second.slept) == ([pytest.approx(0.5)], [pytest.approx(1.0)])


def test_a_damaged_bucket_says_what_to_do(tmp_path):
    (tmp_path / "buckets.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="remove it and run again"):
        bucket(tmp_path, Time()).take()


# --- Yahoo


def chart(**changes) -> dict:
    opens = [int(np.datetime64(f"2024-01-0{d}T14:30:00", "s").astype(int)) for d in (2, 3, 4, 5)]
    quote = {"open": [10.0, 10, 5, 5], "high": [11.0, 11, 6, 6], "low": [9.0, 9, 4, 4], "close": [10.0, 10, 5, None],
             "volume": [100, 100, 200, None]}  # fmt: skip
    events = {
        "splits": {"1": {"date": opens[2], "numerator": 4, "denominator": 1}},
        "dividends": {"1": {"date": opens[1], "amount": 0.25}, "2": {"date": opens[3], "amount": 0.5}},
    }
    result = {
        "meta": {"gmtoffset": -18000},
        "timestamp": opens,
        "indicators": {"quote": [quote]},
        "events": events,
    }
    return {"chart": {"result": [result | changes], "error": None}}


def test_yahoo_s_prices_become_those_that_people_saw():
    prices = yahoo.prices(json.dumps(chart()).encode())
    assert prices.bars.day.astype(str).tolist() == ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]
    assert prices.bars.close[:3].tolist() == [40.0, 40.0, 5.0]
    assert prices.bars.volume[:3].tolist() == [25.0, 25.0, 200.0]
    assert (prices.split_day.astype(str).tolist(), prices.split_ratio.tolist()) == (["2024-01-04"], [4.0])
    assert prices.dividend.tolist() == [1.0, 0.5]
    assert adjusted(prices).close[2] / adjusted(prices).close[1] == pytest.approx(0.5)


def test_yahoo_s_bar_of_a_session_that_still_goes_on_is_left_out():
    last = chart()["chart"]["result"][0]["timestamp"][-1]
    period = {"regular": {"start": last, "end": last + 23400}}
    for now, bars in ((last + 100, 3), (last + 23400, 4)):
        meta = {"gmtoffset": -18000, "currentTradingPeriod": period, "regularMarketTime": now}
        assert len(yahoo.prices(json.dumps(chart(meta=meta)).encode()).bars) == bars


def test_yahoo_s_errors_are_known_by_their_names():
    unknown = {"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}}
    with pytest.raises(NoSuchSymbolError, match="No data found"):
        yahoo.prices(json.dumps(unknown).encode())
    other = {"chart": {"result": None, "error": {"code": "Unauthorized", "description": "Invalid Crumb"}}}
    empty = {"meta": {"gmtoffset": 0}, "timestamp": [], "indicators": {"quote": [{}]}}
    for body in (
        other,
        {},
        [],
        {"chart": {"result": [empty]}},
        {"chart": {"result": [{}]}},
        chart(timestamp=[1]),
    ):
        with pytest.raises(MalformedError):
            yahoo.prices(json.dumps(body).encode())
    with pytest.raises(MalformedError, match="no JSON"):
        yahoo.prices(b"Edge: Too Many Requests")


# --- Stooq, Tiingo, CBOE


def test_stooq_s_table_is_read_and_its_sentences_are_errors(tmp_path):
    prices = stooq.prices(b"Date,Open,High,Low,Close,Volume\r\n2024-01-02,1,2,0.5,1.5,100\r\n")
    assert prices.bars.close.tolist() == [1.5] and "adjusted already" in prices.findings[-1].what
    for body, error in (
        (b"No data", NoSuchSymbolError), (b"Exceeded the daily hits limit", RateLimitedError),
        (b"<html>", MalformedError), (b"Date,Open,High,Low,Close,Volume\n", MalformedError),
    ):  # fmt: skip
        with pytest.raises(error):
            stooq.prices(body)
    seen = []
    Stooq(
        fetcher(tmp_path, lambda asked: seen.append(str(asked.url)) or ok("Date,Close\n2024-01-02,1\n"))
    ).prices("BRK.B")
    assert seen == ["https://stooq.com/q/d/l/?s=brk-b.us&i=d"]


def day(date: str, **changes) -> dict:
    return {"date": f"{date}T00:00:00.000Z", "open": 1, "high": 2, "low": 0.5, "close": 1.5, "volume": 10,
            "divCash": 0.0, "splitFactor": 1.0} | changes  # fmt: skip


def test_tiingo_s_prices_come_with_splits_and_dividends():
    rows = [day("2024-01-02"), day("2024-01-03", divCash=0.1), day("2024-01-04", splitFactor=2.0)]
    prices = tiingo.prices(json.dumps(rows).encode())
    assert prices.bars.close.tolist() == [1.5] * 3
    assert (prices.dividend_day.astype(str).tolist(), prices.dividend.tolist()) == (["2024-01-03"], [0.1])
    assert (prices.split_day.astype(str).tolist(), prices.split_ratio.tolist()) == (["2024-01-04"], [2.0])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"detail": "Error: You have run over your hourly request allocation."}, RateLimitedError),
        ({"detail": "Error: Ticker 'XX' not found"}, NoSuchSymbolError),
        ({"detail": "Please supply a token"}, MalformedError),
        ([], MalformedError),
        ([{"date": "2024-01-02"}], MalformedError),
        ("text", MalformedError),
    ],
)
def test_tiingo_s_errors_with_status_200_are_known_by_their_names(body, error):
    with pytest.raises(error):
        tiingo.prices(json.dumps(body).encode())


def test_the_token_is_asked_for_and_never_shown(tmp_path):
    with pytest.raises(UsageError, match="set TIINGO_TOKEN"):
        Tiingo.of(fetcher(tmp_path, []), {})
    seen = []

    def answer(asked: httpx.Request) -> httpx.Response:
        seen.append(asked)
        return httpx.Response(401, text="no")

    given = Tiingo.of(fetcher(tmp_path, answer), {"TIINGO_TOKEN": "secret"})
    with pytest.raises(SourceError) as caught:
        given.prices("AAPL")
    assert seen[0].headers["Authorization"] == "Token secret"
    assert "secret" not in f"{given!r} {caught.value} {seen[0].url}"


def test_the_vix_comes_from_cboe(tmp_path):
    table = "DATE,OPEN,HIGH,LOW,CLOSE\n12/29/2023,12,13,12,12.45\n01/02/2024,13,14,13,13.2\n"
    found = Cboe(fetcher(tmp_path, lambda _: ok(table)))
    assert found.index("VIX").value.tolist() == [12.45, 13.2]
    assert found.index("VIX").day.astype(str).tolist() == ["2023-12-29", "2024-01-02"]
    assert found.index("GOLD") is None
    with pytest.raises(MalformedError, match="in place of a table"):
        cboe.closes(b"<!DOCTYPE html>")


# --- GDELT


def timeline(*rows: tuple[str, float]) -> bytes:
    data = [{"date": f"{at}T000000Z", "value": value} for at, value in rows]
    return json.dumps({"timeline": [{"series": "x", "data": data}]}).encode()


def test_a_day_s_news_counts_from_the_end_of_the_day(tmp_path):
    bodies = {"timelinevolraw": timeline(("20240102", 4), ("20240103", 0), ("20240104", 2)),
              "timelinetone": timeline(("20240102", -5.0), ("20240103", 1), ("20240104", 30))}  # fmt: skip
    found = Gdelt(
        fetcher(tmp_path, lambda asked: ok(bodies[asked.url.params["mode"]])), np.datetime64("2024-02-01")
    )
    news = found.news("AAPL", company="Apple Inc.")
    assert news.available_at.astype(str).tolist() == ["2024-01-03T00:00:00", "2024-01-05T00:00:00"]
    assert news.articles.tolist() == [4.0, 2.0]
    assert news.sentiment.tolist() == [-0.5, 1.0]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"Please limit requests to one every 5 seconds or contact ...", RateLimitedError),
        (b"Your query was too short or too long.", MalformedError),
        (b"{}", MalformedError),
        (b'{"timeline": []}', MalformedError),
        (b'{"timeline": [{"data": []}]}', MalformedError),
        (b'{"timeline": [{"data": [{"date": "2024"', MalformedError),
    ],
)
def test_gdelt_s_sentences_are_errors(body, error):
    with pytest.raises(error):
        gdelt.timeline(body)


# --- EDGAR


TICKERS = {"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}}
FORM_4 = """<SEC-HEADER>
<ACCEPTANCE-DATETIME>20240116183015
</SEC-HEADER><XML>
<?xml version="1.0"?>
<ownershipDocument><issuer><issuerCik>0000320193</issuerCik></issuer>
<reportingOwner><reportingOwnerId><rptOwnerName>COOK TIMOTHY D</rptOwnerName></reportingOwnerId></reportingOwner>
{box}<nonDerivativeTable>{rows}</nonDerivativeTable>{notes}</ownershipDocument>
</XML>"""
ROW = (
    "<nonDerivativeTransaction><transactionCoding><transactionCode>{}</transactionCode></transactionCoding>"
    "<transactionAmounts><transactionShares><value>{}</value></transactionShares>"
    "<transactionPricePerShare><value>{}</value></transactionPricePerShare></transactionAmounts>"
    "</nonDerivativeTransaction>"
)


def form_4(*rows: tuple, box: str = "", notes: str = "") -> bytes:
    return FORM_4.format(box=box, rows="".join(ROW.format(*row) for row in rows), notes=notes).encode()


def page(rows: list[tuple]) -> dict:
    names = ("accessionNumber", "form", "items", "size", "acceptanceDateTime")
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


def edgar_answer(asked: httpx.Request) -> httpx.Response:
    assert asked.headers["User-Agent"] == "perdure Ann a@b.c"
    path = asked.url.path
    header = "<pre>&lt;ACCEPTANCE-DATETIME&gt;{}\n</pre>"
    recent = page([
        ("1-24-4", "4", "", 100, "2024-01-16T18:30:15.000Z"),
        ("1-24-3", "10-Q", "", 9000, "2024-02-02T18:01:00.000Z"),
        ("1-24-2", "8-K", "2.02,9.01", 500, "2024-02-01T21:30:30.000Z"),
        ("1-24-1", "SC 13G", "", 1, "2024-01-01T21:30:30.000Z"),
    ])  # fmt: skip
    older = page(
        [
            ("1-15-9", "10-K", "", 8000, "2015-06-01T10:00:00.000Z"),
            ("1-05-9", "8-K", "", 1, "2005-01-01T10:00:00.000Z"),
        ]
    )
    files = [
        {"name": "older.json", "filingTo": "2016-01-01"},
        {"name": "oldest.json", "filingTo": "2001-01-01"},
    ]
    answers = {
        "/files/company_tickers.json": json.dumps(TICKERS),
        "/submissions/CIK0000320193.json": json.dumps({"filings": {"recent": recent, "files": files}}),
        "/submissions/older.json": json.dumps(older),
        "/Archives/edgar/data/320193/1243/1-24-3-index-headers.html": header.format("20240202180100"),
        "/Archives/edgar/data/320193/1242/1-24-2-index-headers.html": header.format("20240201163030"),
        "/Archives/edgar/data/320193/1244/1-24-4.txt": form_4(("S", 10, 180.5), ("S", 10, 181.5)),
        "/api/xbrl/companyfacts/CIK0000320193.json": json.dumps(
            facts(("2023-10-01", "2023-12-30", 2.18, "2024-02-02"))
        ),
    }  # fmt: skip
    return ok(answers[path]) if path in answers else httpx.Response(404)


def facts(*rows: tuple) -> dict:
    found = [{"start": a, "end": b, "val": value, "filed": filed} for a, b, value, filed in rows]
    return {"facts": {"us-gaap": {"EarningsPerShareDiluted": {"units": {"USD/shares": found}}}}}


def an_edgar(tmp_path, answer=edgar_answer) -> Edgar:
    contact = {"EDGAR_CONTACT": "Ann a@b.c"}
    return Edgar.of(fetcher(tmp_path, answer), contact, first=np.datetime64("2012-01-01"))


def test_a_filing_s_moment_is_the_header_s_new_york_time_whatever_the_list_s_z_means(tmp_path):
    filings = an_edgar(tmp_path).events("AAPL").filings
    assert filings.form.tolist() == ["10-K", "8-K", "10-Q"]
    assert filings.available_at.astype(str).tolist() == [
        "2015-06-01T14:00:00",  # without a header: the list's time, read as New York's
        "2024-02-01T21:30:30",  # the list's Z was right
        "2024-02-02T23:01:00",  # the list's Z was wrong
    ]
    assert filings.items.tolist() == ["", "2.02,9.01", ""]
    assert filings.size.tolist() == [8000.0, 500.0, 9000.0]


def test_insiders_trades_count_from_their_acceptance(tmp_path):
    trades = an_edgar(tmp_path).events("AAPL").insider_trades
    assert trades.available_at.astype(str).tolist() == ["2024-01-16T23:30:15"]
    assert trades.code.tolist() == ["S"] and trades.dollars.tolist() == [3620.0]
    assert trades.insider.tolist() == ["COOK TIMOTHY D"] and trades.planned.tolist() == [False]


def test_a_release_tells_the_earnings_of_the_quarter_that_ended(tmp_path):
    found = an_edgar(tmp_path).events("AAPL").earnings
    assert found.available_at.astype(str).tolist() == ["2024-02-01T21:30:30"]
    assert found.eps.tolist() == [2.18]


def test_edgar_wants_a_contact_and_knows_its_symbols(tmp_path):
    with pytest.raises(UsageError, match="EDGAR_CONTACT"):
        Edgar.of(fetcher(tmp_path, []), {}, first=np.datetime64("2012-01-01"))
    with pytest.raises(NoSuchSymbolError, match="'NOPE'"):
        an_edgar(tmp_path).events("NOPE")


def test_only_purchases_and_sales_on_the_open_market_count():
    found = insiders.trades(
        form_4(("P", 5, 10), ("S", 2, 10), ("A", 100, 0), ("M", 7, 3), ("S", 1, "")), issuer=320193
    )
    assert [(trade.code, trade.dollars) for trade in found] == [("P", 50.0), ("S", 20.0)]


@pytest.mark.parametrize(
    "said",
    [
        {"box": "<aff10b5One>1</aff10b5One>"},
        {"box": "<aff10b5One>true</aff10b5One>"},
        {"notes": "<footnotes><footnote>Under a Rule 10b5-1 plan.</footnote></footnotes>"},
    ],
)
def test_a_plan_is_known_by_its_box_or_its_footnote(said):
    assert insiders.trades(form_4(("S", 1, 1), **said), issuer=320193)[0].planned
    assert not insiders.trades(form_4(("S", 1, 1), box="<aff10b5One>0</aff10b5One>"), issuer=320193)[
        0
    ].planned


def test_what_a_company_trades_in_others_is_not_its_insiders_business():
    assert insiders.trades(form_4(("S", 1, 1)), issuer=5) == []
    assert insiders.trades(b"<SEC-DOCUMENT>on paper", issuer=320193) == []
    with pytest.raises(MalformedError, match="no XML"):
        insiders.trades(b"<XML><broken</XML>", issuer=320193)


def test_earnings_are_those_first_reported_and_the_last_quarter_is_the_rest_of_the_year():
    rows = [
        ("2023-01-01", "2023-03-31", 1.0, "2023-05-01"), ("2023-01-01", "2023-03-31", 1.5, "2024-05-01"),
        ("2023-04-01", "2023-06-30", 2.0, "2023-08-01"), ("2023-07-01", "2023-09-30", 3.0, "2023-11-01"),
        ("2023-01-01", "2023-09-30", 6.0, "2023-11-01"), ("2023-01-01", "2023-12-31", 10.0, "2024-02-20"),
    ]  # fmt: skip
    quarters = earnings.quarters(json.dumps(facts(*rows)).encode())
    assert [
        quarters[np.datetime64(end)] for end in ("2023-03-31", "2023-06-30", "2023-09-30", "2023-12-31")
    ] == [1, 2, 3, 4]
    release = np.array(["2023-04-25", "2023-12-24", "2024-01-30"], "datetime64[s]")
    told = earnings.released(release, quarters)
    assert told[0] == 1.0 and np.isnan(told[1]) and told[2] == 4.0
    assert np.isnan(earnings.released(release, {})).all()


@pytest.mark.parametrize(
    "read", [company.tickers, company.filings, company.accepted, earnings.quarters]
)  # fmt: skip
def test_edgar_s_answers_of_another_shape_are_malformed(read):
    for body in (b"<html>", b'{"message": "no"}', b'{"0": {}}'):
        with pytest.raises(MalformedError):
            read(body)


# --- all together


def test_the_web_is_asked_once_and_a_rerun_downloads_nothing(tmp_path):
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if request.url.host == "query1.finance.yahoo.com":
            return ok(json.dumps(chart()))
        if request.url.host == "cdn.cboe.com":
            return ok("DATE,OPEN,HIGH,LOW,CLOSE\n01/02/2024,13,14,13,13.2\n")
        if request.url.host == "api.gdeltproject.org":
            return ok(timeline(("20240102", 4)))
        return edgar_answer(request)

    def provider(answer) -> Web:
        cached = Cached(Cache(tmp_path / "cache"), fetcher(tmp_path, answer))
        edgar = Edgar(cached, "Ann a@b.c", np.datetime64("2012-01-01"))
        return Web("yfinance", Yahoo(cached), edgar, Gdelt(cached, np.datetime64("2024-02-01")), Cboe(cached))

    def all_of(web: Web) -> str:
        return repr(
            [web.prices("AAPL"), web.events("AAPL"), web.index("VIX"), web.events("SPY"), web.oracle("AAPL")]
        )

    first = all_of(provider(answer))
    assert len(set(asked)) == len(asked) == 12
    assert all_of(provider([])) == first
    assert len(provider([]).events("AAPL").news) == 1


def test_sources_on_the_web_are_made_from_their_name_alone(tmp_path):
    given = {"EDGAR_CONTACT": "Ann a@b.c", "TIINGO_TOKEN": "secret"}
    for name in ("yfinance", "stooq", "tiingo"):
        assert web(name, cache=tmp_path, last=np.datetime64("2024-02-01"), environment=given).name == name
    assert list(tmp_path.iterdir()) == []


def test_the_user_s_word_for_a_source_finds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGAR_CONTACT", "Ann a@b.c")
    assert source("stooq", cache=tmp_path, config={}).name == "stooq"
    monkeypatch.delenv("TIINGO_TOKEN", raising=False)
    with pytest.raises(UsageError, match="TIINGO_TOKEN"):
        source("tiingo", cache=tmp_path, config={})
