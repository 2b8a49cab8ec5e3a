"""A run on data from the web, which a server of our own plays: what was downloaded is never downloaded again."""

from __future__ import annotations

import csv
import io
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from perdure.pipelines.market.data.symbols import companies
from perdure.pipelines.market.synthetic.provider import SyntheticProvider
from processes import KILLED, digest, environment, rows

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1200)]
HOSTS = ("stooq.com", "cdn.cboe.com", "api.gdeltproject.org", "www.sec.gov", "data.sec.gov")
SAMPLES = "SELECT * FROM samples ORDER BY _position, _row"
NUMBERS = {company.symbol: number for number, company in enumerate(companies(), 1)}
MARKET = SyntheticProvider(sessions=800, dirt=False)
HEADER = "<pre>&lt;ACCEPTANCE-DATETIME&gt;{}\n</pre>"


def table(header: str, lines: Iterator[tuple[object, ...]]) -> bytes:
    text = io.StringIO(header + "\n")
    text.seek(0, io.SEEK_END)
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def stooq(symbol: str) -> bytes:
    bars = MARKET.prices(symbol).bars
    return table(
        "Date,Open,High,Low,Close,Volume",
        zip(bars.day, bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True),
    )


def cboe() -> bytes:
    vix = MARKET.index("VIX")
    assert vix is not None
    days = (f"{str(day)[5:7]}/{str(day)[8:10]}/{str(day)[:4]}" for day in vix.day)
    return table("DATE,CLOSE", zip(days, vix.value, strict=True))


def gdelt(mode: str) -> bytes:
    days = [str(day).replace("-", "") for day in MARKET.prices("SPY").bars.day[::3]]
    values = [(7 * k) % 11 + 1 if mode == "timelinevolraw" else (5 * k) % 13 - 6 for k in range(len(days))]
    data = [{"date": f"{day}T000000Z", "value": value} for day, value in zip(days, values, strict=True)]
    return json.dumps({"timeline": [{"data": data}]}).encode()


def edgar(path: str) -> bytes | None:
    if path.endswith("company_tickers.json"):
        listed = [{"cik_str": cik, "ticker": symbol, "title": symbol} for symbol, cik in NUMBERS.items()]
        return json.dumps(dict(enumerate(listed))).encode()
    if path.startswith("/submissions/"):
        filings = [(f"1-24-{k}", "8-K", "2.02", 500, f"2024-{k:02}-05T21:30:30.000Z") for k in range(1, 13)]
        names = ("accessionNumber", "form", "items", "size", "acceptanceDateTime")
        recent = dict(zip(names, zip(*filings, strict=True), strict=True))
        return json.dumps({"filings": {"recent": recent, "files": []}}).encode()
    if path.startswith("/api/xbrl/companyfacts/"):
        return json.dumps({"facts": {}}).encode()
    month = int(path.rpartition("1-24-")[2].partition("-")[0])
    return HEADER.format(f"2024{month:02}05163030").encode() if month % 4 else None  # some have no page


def answer(url: str) -> bytes | None:
    parts = urlsplit(url)
    if parts.netloc == "stooq.com":
        return stooq(parse_qs(parts.query)["s"][0].removesuffix(".us").upper().replace("-", "."))
    if parts.netloc == "cdn.cboe.com":
        return cboe()
    if parts.netloc == "api.gdeltproject.org":
        return gdelt(parse_qs(parts.query)["mode"][0])
    return edgar(parts.path)


class Visitor(BaseHTTPRequestHandler):
    """A proxy at which every tunnel ends in ourselves."""

    protocol_version = "HTTP/1.1"
    asked: Counter[str]
    certificate: ssl.SSLContext

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.host = self.path.partition(":")[0]
        self.connection = self.certificate.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")

    def do_GET(self) -> None:
        url = f"https://{self.host}{self.path}"
        self.asked[url] += 1
        body = answer(url)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"none")))
        self.end_headers()
        self.wfile.write(body or b"none")
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (openssl := shutil.which("openssl")):
        pytest.skip("openssl makes the server's certificate")
    place = tmp_path_factory.mktemp("certificate")
    names = ",".join(f"DNS:{host}" for host in HOSTS)
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
         "-addext", f"subjectAltName={names}", "-keyout", place / "key.pem", "-out", place / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return place


@pytest.fixture
def internet(certificate: Path) -> Iterator[ThreadingHTTPServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    visitor = type("Visitor", (Visitor,), {"asked": Counter(), "certificate": context})
    server = ThreadingHTTPServer(("127.0.0.1", 0), visitor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def perdure(
    folder: Path, *words: str, port: int, certificate: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    named = environment(
        folder, KERAS_BACKEND="jax", EDGAR_CONTACT="Ann a@b.c", HTTPS_PROXY=f"http://127.0.0.1:{port}",
        SSL_CERT_FILE=str(certificate / "cert.pem"), **more,
    )  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "perdure", *words], env=named, capture_output=True, text=True, timeout=900
    )


def nobody() -> int:
    """A port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_what_was_downloaded_is_kept_by_a_kill_and_a_reset_and_goes_with_reset_all(
    internet: ThreadingHTTPServer, certificate: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "web"
    asked: Counter[str] = internet.RequestHandlerClass.asked  # type: ignore[attr-defined]
    port = int(internet.server_address[1])

    def run(port: int, **more: str) -> int:
        words = ("run", "market", "--preset", "tiny", "--source", "stooq", "--run", str(folder))
        done = perdure(folder, *words, port=port, certificate=certificate, **more)
        assert done.returncode in (0, KILLED), done.stderr
        return done.returncode

    assert run(port, PERDURE_KILL_AT="unit.computed:2") == KILLED
    assert asked
    assert run(port) == 0
    again = [url for url, times in asked.items() if times > 1]
    assert len(again) <= 2, again  # each of the two workers may have died between an answer and its keeping
    assert {urlsplit(url).netloc for url in asked} == set(HOSTS)

    first, samples, before = digest(folder), rows(folder, SAMPLES), asked.total()
    assert perdure(folder, "reset", str(folder), port=port, certificate=certificate).returncode == 0
    assert run(nobody()) == 0  # without a way to the web
    assert rows(folder, SAMPLES) == samples and digest(folder) == first

    removed = perdure(folder, "reset", "--all", str(folder), port=port, certificate=certificate)
    assert removed.returncode == 0, removed.stderr
    assert asked.total() == before
    assert run(port, PERDURE_KILL_AT="unit.computed:1") == KILLED
    assert asked.total() > before
