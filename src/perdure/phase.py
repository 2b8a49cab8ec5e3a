"""What every verb shares: the session of one attempt, how a phase begins, and how a unit commits."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from perdure import fingerprint, results
from perdure.console import Console
from perdure.content import FileKey, digest_value
from perdure.errors import ChangedError, DamagedError, NameReusedError, NondeterminismError, UsageError
from perdure.fingerprint import Fingerprint
from perdure.settings import Settings
from perdure.signals import Signals
from perdure.store import Store
from perdure.store.generations import Entry
from perdure.store.tables import Rows
from perdure.store.units import Unit

if TYPE_CHECKING:
    from perdure.snapshot.track import Track

_LONGEST_KEY = 1000  # characters
_SCALARS = (bool, int, float, str, type(None))


@dataclass(slots=True)
class Session:
    """One attempt's shared objects."""

    store: Store
    console: Console
    signals: Signals
    settings: Settings
    config: Mapping[str, object]
    seed: int | None
    exit_code: int = 0
    used: dict[str, str] = field(default_factory=dict)  # phase path -> place in the script
    file_digests: dict[FileKey, str] = field(default_factory=dict)

    def begin(
        self, path: str, *, kind: str, total: int | None, current: Fingerprint, place: str, data: bool = False
    ) -> bool:
        """Enter a phase; returns whether it was there before. Raises ChangedError, NameReusedError or UsageError."""
        if path in self.used:
            raise NameReusedError(
                f"the phase {path!r} is used at {self.used[path]} and again at {place}; give each its own name"
            )
        self.used[path] = place
        self.remember_files()
        recorded = self.store.units.phase(path)
        if recorded is None:
            with self.store.transaction():
                self.store.units.start_phase(
                    path, kind=kind, total=total, fingerprint=current.as_document(), data=data
                )
                self.store.journal.add("phase started", path, kind=kind, total=total)
            return False
        if recorded.kind != kind:
            raise ChangedError(
                f"the phase {path!r} was a {recorded.kind} and is a {kind} now; "
                f"rename it, or start over with `perdure reset {self.store.folder}`"
            )
        self._compare(path, Fingerprint.from_document(recorded.fingerprint), current)  # type: ignore[arg-type]
        with self.store.transaction():
            if recorded.total != total:
                self.store.journal.add("phase resized", path, was=recorded.total, now=total)
            self.store.units.refresh_phase(path, total=total, fingerprint=current.as_document())
        return True

    def remember_files(self) -> None:
        """Keep digests of unchanged files from attempt to attempt, so that a resume need not read them again."""
        saved: Any = self.store.meta("file digests")
        listed = saved["files"] if isinstance(saved, dict) else ()
        known = {(str(p), int(size), int(mtime), int(inode)): str(d) for p, size, mtime, inode, d in listed}
        if set(self.file_digests) - set(known):
            with self.store.transaction():
                pairs = (known | self.file_digests).items()
                self.store.set_meta("file digests", {"files": [[*key, digest] for key, digest in pairs]})
        self.file_digests.update(known)

    def _compare(self, path: str, saved: Fingerprint, current: Fingerprint) -> None:
        different = fingerprint.differences(saved, current)
        if not different:
            return
        with self.store.transaction():
            event = "changes accepted" if self.settings.accept_changes else "changes refused"
            self.store.journal.add(event, path, differences=different)
            if self.settings.accept_changes:
                self.store.generations.supersede(path)
        if self.settings.accept_changes:
            self.console.say(f"{path}: going on with changes: {'; '.join(different)}")
            return
        listed = "".join(f"\n  - {line}" for line in different)
        raise ChangedError(
            f"phase {path!r} was saved with something else than what would run now:{listed}\n"
            f"Restore it; or keep the results with --accept-changes; or compute it and all after it again with "
            f"--redo {path} (`perdure run SCRIPT --accept-changes`, or PERDURE_ACCEPT_CHANGES=1)",
            different,
        )

    def fingerprint_function(
        self, function: Callable[..., object], *, arguments: Mapping[str, object], version: str | None
    ) -> Fingerprint:
        return fingerprint.of_function(
            function, config=self.config, arguments=arguments, version=version, files=self.file_digests
        )

    def check_arguments(self, path: str, arguments: Mapping[str, object]) -> None:
        """Refuse keys whose argument is another than the one that their recorded unit was given."""
        if not arguments:
            return
        now = {
            key: digest_value(value, name=key, files=self.file_digests) for key, value in arguments.items()
        }
        name = f"arguments:{path}"
        saved: Any = self.store.meta(name) or {}
        done = self.store.units.all(path)
        different = [
            f"argument of {key!r} changed"
            for key in now
            if key in done and saved.get(key, now[key]) != now[key]
        ]
        if different and not self.settings.accept_changes:
            raise ChangedError(
                f"units of {path!r} were computed from other arguments:\n  - "
                + "\n  - ".join(different[:20])
                + f"\nRestore them; or keep the results with --accept-changes; or compute again with --redo {path}",
                different,
            )
        with self.store.transaction():
            self.store.set_meta(name, {**saved, **now})

    def entries_of(self, tracks: Iterable[Track], loop: str) -> list[Entry]:
        """Saved history of a loop and, if it runs now, what was logged since."""
        saved = {entry.seq: entry for entry in self.store.generations.entries(loop)}
        for track in tracks:
            if track.loop == loop:
                saved = {seq: entry for seq, entry in saved.items() if seq < track.logged}
                saved.update({entry.seq: entry for entry in track.entries})
        return [saved[seq] for seq in sorted(saved)]

    def fingerprint_caller(self, frame: FrameType, *, version: str | None) -> Fingerprint:
        """Of the module in which a loop is written."""
        path = Path(frame.f_code.co_filename)
        if not path.is_file() and version is None:
            raise UsageError(
                f"a loop written in {path} has no source file whose changes could be seen; "
                'put it into a script, or pass version="1" and count it up when you change the code'
            )
        return fingerprint.of_module_file(path, config=self.config, version=version)

    def commit_unit(
        self, path: str, key: str, value: results.Encoded | Rows, *, position: int, tries: int, seconds: float,
        table: str | None = None, data: bool = False, fingerprint_digest: str = "", entries: Iterable[Entry] = (),
        rows: Mapping[str, Rows] | None = None, before: Unit | None = None, event: str = "unit done",
    ) -> Unit:  # fmt: skip
        """Make a unit count: its blobs first, then everything else in one transaction."""
        with self.signals.deferred():
            encoded, sizes = self._publish(value)
            if before is not None and before.state == "redo" and not _is_again(encoded, before):
                raise NondeterminismError(
                    f"{path} {key!r} was computed again and gave another result than the first time "
                    f"(digest {encoded.digest[:12]}, recorded {str(before.digest)[:12]}); it depends on something "
                    "that is not recorded (time, network, unordered sets). --redo takes the new result"
                )
            with self.store.transaction():
                for blob in encoded.blobs:
                    self.store.blobs.record(blob.digest, blob.suffix, sizes[blob.digest])
                if isinstance(value, Rows) and table:
                    self.store.tables.replace(
                        table,
                        value,
                        phase=path,
                        key=key,
                        position=position,
                        fingerprint=fingerprint_digest,
                        data=data,
                    )
                for name, added in (rows or {}).items():
                    self.store.tables.replace(
                        name, added, phase=path, key=key, position=position, fingerprint="", data=False
                    )
                self.store.generations.log(path_of_unit(path, key), list(entries))
                self.store.units.complete(
                    path, key, position=position, document=encoded.document, digest=encoded.digest, tries=tries,
                    seconds=seconds,
                )  # fmt: skip
                self.store.journal.add(event, path, key=key, seconds=round(seconds, 3))
            self.store.back_up(only_if_due=True)
        return self._unit(path, key)

    def _unit(self, path: str, key: str) -> Unit:
        unit = self.store.units.one(path, key)
        assert unit is not None
        return unit

    def _publish(self, value: results.Encoded | Rows) -> tuple[results.Encoded, dict[str, int]]:
        if isinstance(value, Rows):
            return results.encode({"rows": len(value.values), "digest": value.digest()}), {}
        publish = self.store.blobs.publish
        return value, {b.digest: publish(b.digest, b.suffix, [memoryview(b.content)]) for b in value.blobs}

    def reload(self, path: str, unit: Unit) -> object:
        """A unit's result as its record has it. Raises DamagedError when a file of it is gone or damaged."""
        return results.decode(self.document_of(path, unit), self.store.blobs.locate)

    def document_of(self, path: str, unit: Unit) -> str:
        """A unit's recorded document. Raises DamagedError when it does not match its digest."""
        document = unit.document or ""
        if hashlib.sha256(document.encode()).hexdigest() != unit.digest:
            raise DamagedError(
                f"the recorded result of {path_of_unit(path, unit.key)} does not match its digest"
            )
        return document

    def arrange(self, path: str, keys: list[str]) -> None:
        """Keys may have been added before others: give the units that are done the positions of now."""
        recorded = self.store.units.all(path)
        positions = {key: number for number, key in enumerate(keys)}
        rest = [key for key in recorded if key not in positions]
        positions |= {key: len(keys) + number for number, key in enumerate(rest)}
        moved = {key: positions[key] for key in recorded if recorded[key].position != positions[key]}
        if moved:
            with self.store.transaction():
                self.store.tables.move(path, moved)
                self.store.units.move(path, moved)

    def lost(self, path: str, unit: Unit, error: DamagedError) -> Unit:
        """A result's file is damaged: note it, so that the unit is computed again."""
        self.console.say(f"{error}; {path} {unit.key or ''} is computed again".replace("  ", " "))
        with self.store.transaction():
            self.store.units.expect_again(path, unit.key)
            self.store.journal.add("result damaged", path, key=unit.key)
        return self._unit(path, unit.key)

    def reopen(self, path: str) -> None:
        """There is work to do again in a phase that may have been through."""
        with self.store.transaction():
            self.store.units.set_phase(path, state="running")

    def complete(self, path: str, *, seconds: float) -> None:
        """A phase is through: record it and refresh the rolling backup. Nothing when that was done before."""
        with self.signals.deferred():
            recorded = self.store.units.phase(path)
            if recorded is not None and recorded.state == "completed":
                return
            with self.store.transaction():
                self.store.units.set_phase(path, state="completed", more_seconds=seconds)
                self.store.journal.add("phase completed", path, seconds=round(seconds, 3))
            self.store.back_up(only_if_due="/" in path)


def _is_again(encoded: results.Encoded, before: Unit) -> bool:
    """Whether a result has the bits of the first time: the digest or the document tells, if the other was damaged."""
    return encoded.digest == before.digest or encoded.document == before.document


def valid_name(name: object) -> str:
    """A phase's name as the user gave it. Raises UsageError."""
    if not isinstance(name, str) or not name or "/" in name or len(name) > 100:
        raise UsageError(f"{name!r} cannot name a phase; use a short text without '/'")
    return name


def keyed(keys: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Units by key: a mapping as it is, or an iterable of texts and whole numbers that are their own keys."""
    pairs = list(keys.items()) if isinstance(keys, Mapping) else [(key, key) for key in keys]
    result: dict[str, Any] = {}
    for key, argument in pairs:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise UsageError(
                f"{key!r} ({type(key).__name__}) cannot be a unit's key; use text or whole numbers, "
                "or pass a dict from keys to arguments"
            )
        text = str(key)
        if text in result:
            raise UsageError(f"the key {text!r} occurs twice; keys must differ")
        if not text:  # it would be the phase itself
            raise UsageError("a unit's key is empty; give each unit a text or a whole number of its own")
        if len(text) > _LONGEST_KEY or "\0" in text or _is_broken(text):
            raise UsageError(f"the key {text[:40]!r} is too long, or holds characters that cannot be stored")
        result[text] = argument
    return result


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def loggable(name: str, value: Any) -> object:
    """A logged value as JSON keeps it. Raises UsageError for what is no number, text or None."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, _SCALARS):
        return value
    raise UsageError(f"run.log({name}=...) got {type(value).__name__}; log numbers, text or None")


def path_of_unit(path: str, key: str) -> str:
    """Where a unit's own log, and the loops inside it, are kept: a '/' in its key opens no level of its own."""
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}" if key else path


def units_around(path: str) -> list[tuple[str, str]]:
    """Phase and key of every unit that a phase may be inside of, outermost first: the reverse of `path_of_unit`."""
    names = path.split("/")
    return [
        ("/".join(names[:depth]), names[depth].replace("~1", "/").replace("~0", "~"))
        for depth in range(1, len(names))
    ]


def place_of(frame: FrameType) -> str:
    """Where in the script a verb was called."""
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def caller(depth: int = 2) -> FrameType:
    """The frame that called the verb."""
    return sys._getframe(depth)
