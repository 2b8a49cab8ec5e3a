"""Fetching: paced by a bucket, repeated after what may pass, and every failure under its own name."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from perdure.pipelines.market.data.provider import (
    MalformedError,
    NoSuchSymbolError,
    RateLimitedError,
    SourceError,
)
from perdure.pipelines.market.web.bucket import Bucket

if TYPE_CHECKING:
    import httpx

_TRIES = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between two tries: doubled from the first to the longest
_LONGEST_WAIT = 900.0  # seconds that a source may ask for; beyond, the run is told instead


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted. source, symbol, kind: name it in the cache ("tiingo", "AAPL", "prices").

    check: reads a body and raises SourceError where it is no data, so that no error page is taken for data or kept.
    optional: whether it may be missing for good, so that its absence is worth keeping too.
    """

    source: str
    symbol: str
    kind: str
    url: str
    check: Callable[[bytes], object]
    headers: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False


class Fetcher(Protocol):
    """Gets the body of a request that passed its check. Raises SourceError."""

    def fetch(self, request: Request) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Http:
    """Fetches from the web. now: seconds since the epoch, for a Retry-After that is a date."""

    client: httpx.Client
    bucket: Bucket
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def fetch(self, request: Request) -> bytes:
        for tried in range(1, _TRIES + 1):
            self.bucket.take()
            try:
                body = self._once(request)
                request.check(body)
            except NoSuchSymbolError:
                raise
            except SourceError as error:
                if tried == _TRIES or not (pause := self._pause(error, tried)):
                    raise
                self.sleep(pause)
            else:
                return body
        raise AssertionError("the last try returns or raises")

    def _pause(self, error: SourceError, tried: int) -> float:
        """Seconds until another try; 0 when it would be no use."""
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            return max(error.retry_after, _FIRST_PAUSE) if error.retry_after <= _LONGEST_WAIT else 0.0
        if isinstance(error, RateLimitedError | MalformedError | _PassingError):
            return min(_FIRST_PAUSE * 2 ** (tried - 1), _LONGEST_PAUSE)
        return 0.0

    def _once(self, request: Request) -> bytes:
        import httpx

        try:
            response = self.client.get(request.url, headers=dict(request.headers))
        except httpx.RemoteProtocolError as error:
            raise MalformedError(f"{_named(request)}: the answer was cut off ({error})") from error
        except httpx.HTTPError as error:
            raise _PassingError(
                f"{_named(request)}: no answer ({type(error).__name__}: {error}); check the connection and run again"
            ) from error
        self._refuse(response, request)
        promised, size = response.headers.get("content-length", ""), len(response.content)
        if promised.isdigit() and "content-encoding" not in response.headers and size < int(promised):
            raise MalformedError(
                f"{_named(request)}: the answer was cut off after {size} of {promised} bytes"
            )
        if not response.content.strip():
            raise MalformedError(f"{_named(request)}: the answer was empty")
        return response.content

    def _refuse(self, response: httpx.Response, request: Request) -> None:
        status = response.status_code
        shown = f"{_named(request)}: HTTP {status}, {response.text[:100]!r}"
        if status == 429 or (status == 403 and "rate" in response.text.lower()):  # EDGAR says it with 403
            raise RateLimitedError(f"{shown}; wait, and run again", self._retry_after(response))
        if status == 404:
            raise NoSuchSymbolError(f"{shown}; check the symbol")
        if status >= 500:
            raise _PassingError(f"{shown}; run again later")
        if status >= 400:
            raise SourceError(f"{shown}; check the source's terms, and its token if it needs one")

    def _retry_after(self, response: httpx.Response) -> float | None:
        """Seconds, from a number or from a date (RFC 9110, 10.2.3)."""
        text = response.headers.get("retry-after", "")
        if text.isdigit():
            return float(text)
        try:
            return email.utils.parsedate_to_datetime(text).timestamp() - self.now()
        except ValueError:
            return None


class _PassingError(SourceError):
    """The source, or the way to it, failed in a manner that may pass."""


def document(body: bytes, shape: Any) -> Any:
    """The JSON document of a body; `shape`: the type, or union of types, that it must have. Raises MalformedError."""
    try:
        value = json.loads(body)
    except ValueError as error:
        shown = body[:100].decode("utf-8", "replace").strip()
        raise MalformedError(f"the source answered {shown!r}, which is no JSON ({error})") from error
    if not isinstance(value, shape):
        raise MalformedError(
            f"the source answered {str(value)[:100]!r}, which has another shape than expected"
        )
    return value


def _named(request: Request) -> str:
    return f"{request.source}, {request.kind} of {request.symbol}"
