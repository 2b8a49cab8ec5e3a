"""What was fetched, as it was fetched: a run that is repeated or resumed downloads nothing, and sees the same data.

A small file a key names the SHA-256 of a blob, and `blobs/` holds the blobs. Workers who want the same thing at once
wait for the one that fetches it: a source may answer the second of them something else, and every symbol of a run
must see the same market.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from perdure import files
from perdure.errors import StorageError
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

    @contextlib.contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Wait until no other process is here with `key`. A process that dies is no longer here."""
        folder = self.folder / "locks"
        files.make_folder(folder)
        name = hashlib.sha256(key.encode()).hexdigest()[0]  # sixteen files for all keys
        lock = FileLock(folder / name, mode=0o600)
        try:
            lock.acquire()
        except (OSError, NotImplementedError) as error:
            raise StorageError(
                f"cannot lock {folder / name}: {error}; put the run on a local disk, and run again"
            ) from error
        try:
            yield
        finally:
            lock.release()

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
        kept = self._kept(key, request)
        if kept is not None:
            return kept
        with self.cache.alone(key):
            kept = self._kept(key, request)  # another process may have fetched it in the meantime
            return self._fetch(key, request) if kept is None else kept

    def _kept(self, key: str, request: Request) -> bytes | None:
        kept = self.cache.get(key)
        if kept == _ABSENT:
            raise NoSuchSymbolError(f"{key}: there was none when it was asked for first")
        return kept if kept is not None and _is_data(kept, request) else None

    def _fetch(self, key: str, request: Request) -> bytes:
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
