"""What was fetched, as it was fetched: a run that is repeated or resumed downloads nothing, and sees the same data.

A small file a key names the SHA-256 of a blob, and `blobs/` holds the blobs. Both are published whole, so that workers
may fetch the same thing at once: each leaves a complete file, and the last one counts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from perdure import files
from perdure.pipelines.market.data.provider import MalformedError, NoSuchSymbolError
from perdure.pipelines.market.web.http import Fetcher, Request

_DIGEST = 64  # hexadecimal digits
_ABSENT = b""  # no source's answer is empty


@dataclass(frozen=True, slots=True)
class Cache:
    """Bytes by key, in `folder`."""

    folder: Path

    def get(self, key: str) -> bytes | None:
        """The bytes; None where there are none, or where they are damaged and must be fetched again."""
        try:
            digest = self._key(key).read_text("ascii").strip()
            blob = self._blob(digest).read_bytes() if len(digest) == _DIGEST else b""
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        except OSError as error:
            raise files.storage_error(error, self._key(key)) from error
        if hashlib.sha256(blob).hexdigest() == digest:
            return blob
        files.remove(self._key(key))
        files.remove(self._blob(digest))
        return None

    def put(self, key: str, content: bytes) -> None:
        """Keep `content`; first the blob, then the name that makes it count."""
        digest = hashlib.sha256(content).hexdigest()
        files.make_folder(self.folder / "blobs")
        files.publish(self._blob(digest), [content], kind="cache")
        files.publish(self._key(key), [digest.encode()], kind="cache")

    def _key(self, key: str) -> Path:
        return self.folder / f"{files.name_for(key)}.sha256"

    def _blob(self, digest: str) -> Path:
        return self.folder / "blobs" / files.name_for(digest)


@dataclass(frozen=True, slots=True)
class Cached:
    """Fetches what the cache does not have, and keeps it."""

    cache: Cache
    inner: Fetcher

    def fetch(self, request: Request) -> bytes:
        key = f"{request.source}/{request.symbol}/{request.kind}"
        kept = self.cache.get(key)
        if kept == _ABSENT:
            raise NoSuchSymbolError(f"{key}: there was none when it was asked for first")
        if kept is not None and _is_data(kept, request):
            return kept
        try:
            body = self.inner.fetch(request)
        except NoSuchSymbolError:
            if request.optional:
                self.cache.put(key, _ABSENT)
            raise
        self.cache.put(key, body)
        return body


def _is_data(body: bytes, request: Request) -> bool:
    """Whether this version can still read what an earlier one kept."""
    try:
        request.check(body)
    except MalformedError:
        return False
    return True
