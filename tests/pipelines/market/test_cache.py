"""What was fetched once is not fetched again, and damage is noticed and mended, whoever else writes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace

import pytest

from perdure.errors import StorageError
from perdure.pipelines.market.data.cache import Cache, Cached
from perdure.pipelines.market.data.provider import MalformedError, NoSuchSymbolError
from perdure.pipelines.market.web.http import Request
from processes import KILLED

WRITER = """
import sys
from pathlib import Path
from perdure.pipelines.market.data.cache import Cache
for number in range(40):
    Cache(Path(sys.argv[1])).put("source/AAPL/prices", sys.argv[2].encode() * 5000)
"""

VISITOR = """
import os, sys, time
from pathlib import Path
from perdure.pipelines.market.data.cache import Cache, Cached
from perdure.pipelines.market.web.http import Request
class Web:
    asked = 0
    def fetch(self, request):
        self.asked += 1
        time.sleep(0.5)
        return str(os.getpid()).encode()
web = Web()
print("ready", flush=True)
sys.stdin.readline()
body = Cached(Cache(Path(sys.argv[1])), web).fetch(Request("source", "SPY", "prices", "https://example.com", len))
print(body.decode(), web.asked)
"""
HOLDER = """
import sys, time
from pathlib import Path
from perdure.pipelines.market.data.cache import Cache
with Cache(Path(sys.argv[1])).alone("source/AAPL/prices"):
    print("held", flush=True)
    time.sleep(600)
"""


@dataclass
class Web:
    """Answers in order; remembers how often it was asked."""

    bodies: list[bytes]
    asked: list[Request] = field(default_factory=list)

    def fetch(self, request: Request) -> bytes:
        self.asked.append(request)
        return self.bodies.pop(0)


def request(symbol: str = "AAPL", check=len) -> Request:
    return Request("source", symbol, "prices", f"https://example.com/{symbol}", check)


def test_a_second_run_fetches_nothing_and_sees_the_same_bytes(tmp_path):
    first = Cached(Cache(tmp_path), Web([b"one"]))
    assert first.fetch(request()) == b"one"
    again = Web([])
    assert Cached(Cache(tmp_path), again).fetch(request()) == b"one"
    assert again.asked == []


def test_every_source_symbol_and_kind_has_an_entry_of_its_own(tmp_path):
    cache = Cache(tmp_path)
    keys = ["yahoo/AAPL/prices", "yahoo/aapl/prices", "stooq/AAPL/prices", "yahoo/AAPL/news", "yahoo/A/../B"]
    for key in keys:
        cache.put(key, key.encode())
    assert [cache.get(key) for key in keys] == [key.encode() for key in keys]
    assert cache.get("yahoo/MSFT/prices") is None


@pytest.mark.parametrize("damage", [b"", b"other bytes"])
def test_a_damaged_entry_is_fetched_again(tmp_path, damage):
    Cached(Cache(tmp_path), Web([b"one"])).fetch(request())
    (blob,) = (tmp_path / "blobs").iterdir()
    blob.write_bytes(damage)
    web = Web([b"two"])
    assert Cached(Cache(tmp_path), web).fetch(request()) == b"two"
    assert len(web.asked) == 1
    assert Cache(tmp_path).get("source/AAPL/prices") == b"two"


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"0" * 64, b"../../etc/passwd"])
def test_a_damaged_or_foreign_name_is_fetched_again(tmp_path, damage):
    Cached(Cache(tmp_path), Web([b"one"])).fetch(request())
    (name,) = tmp_path.glob("*.sha256")
    name.write_bytes(damage)
    assert Cached(Cache(tmp_path), Web([b"two"])).fetch(request()) == b"two"


def test_a_body_that_no_longer_reads_as_data_is_fetched_again(tmp_path):
    Cached(Cache(tmp_path), Web([b"old layout"])).fetch(request())

    def check(body: bytes) -> None:
        if body.startswith(b"old"):
            raise MalformedError("another layout")

    assert Cached(Cache(tmp_path), Web([b"new"])).fetch(request(check=check)) == b"new"


def test_a_failed_fetch_leaves_nothing_behind(tmp_path):
    class Broken:
        def fetch(self, request: Request) -> bytes:
            raise MalformedError("an error page")

    with pytest.raises(MalformedError):
        Cached(Cache(tmp_path), Broken()).fetch(request())
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]
    assert Cached(Cache(tmp_path), Web([b"one"])).fetch(request()) == b"one"


def test_two_processes_that_want_the_same_at_once_ask_once_and_see_the_same_bytes(tmp_path):
    command = [sys.executable, "-c", VISITOR, str(tmp_path)]
    visitors = [
        subprocess.Popen(
            command, env=dict(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    assert [visitor.stdout.readline() for visitor in visitors if visitor.stdout] == ["ready\n"] * 3
    for visitor in visitors:
        assert visitor.stdin
        visitor.stdin.write("\n")
        visitor.stdin.flush()
    seen = [visitor.communicate()[0].split() for visitor in visitors]
    assert all(visitor.returncode == 0 for visitor in visitors)
    assert len({body for body, _ in seen}) == 1
    assert sum(int(asked) for _, asked in seen) == 1


def test_who_waits_for_a_fetch_that_is_killed_fetches_himself(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], env=dict(os.environ), stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout and holder.stdout.readline() == "held\n"
    threading.Timer(0.2, holder.kill).start()
    assert Cached(Cache(tmp_path), Web([b"one"])).fetch(request()) == b"one"
    assert holder.wait() == KILLED  # the lock was not had before


def test_two_processes_may_write_the_same_entry_at_once(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), text], env=dict(os.environ))
        for text in "ab"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        seen.add(Cache(tmp_path).get("source/AAPL/prices"))
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {None, b"a" * 5000, b"b" * 5000}
    assert Cache(tmp_path).get("source/AAPL/prices") in (b"a" * 5000, b"b" * 5000)
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name]


def test_a_cache_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    for use in (
        lambda cache: cache.put("source/AAPL/prices", b"x"),
        lambda cache: cache.get("source/AAPL/prices"),
    ):
        with pytest.raises(StorageError, match="cache"):
            use(Cache(tmp_path / "cache"))


@pytest.mark.parametrize(("optional", "asked"), [(True, 1), (False, 2)])
def test_the_absence_of_what_may_be_missing_is_kept_too(tmp_path, optional, asked):
    class Empty(Web):
        def fetch(self, request: Request) -> bytes:
            super().fetch(request)
            raise NoSuchSymbolError("404")

    web = Empty([b"", b""])
    for _ in range(2):
        with pytest.raises(NoSuchSymbolError):
            Cached(Cache(tmp_path), web).fetch(replace(request(), optional=optional))
    assert len(web.asked) == asked
