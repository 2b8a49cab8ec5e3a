"""One attempt: a process opens a run, works on it, and leaves it in order, whatever ends it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from perdure import changes, files
from perdure.clock import Clock, SystemClock
from perdure.console import Console, duration
from perdure.errors import DamagedError, PerdureError, Stopped
from perdure.phase import Session
from perdure.settings import Settings
from perdure.signals import Signals
from perdure.store import DATABASE, Store, rest
from perdure.store.attempts import redacted_line

if TYPE_CHECKING:
    from perdure.snapshot.policy import Budget, Every
    from perdure.snapshot.track import Track
    from perdure.snapshot.writer import Writer


@dataclass(slots=True)
class Attempt:
    """What is open while a process holds a run."""

    session: Session
    budget: Budget
    keep: int
    tracks: list[Track] = field(default_factory=list)
    _writer: Writer | None = None
    _left: bool = False
    _process: int = field(default_factory=os.getpid)

    @classmethod
    def begin(
        cls,
        folder: Path,
        *,
        config: dict[str, object],
        seed: int | None,
        settings: Settings,
        budget: float | None,
        phases: Sequence[str],
        keep: int,
        clock: Clock | None,
    ) -> Attempt:
        """Open the run: lock, database, recovery, random streams, signals. Raises what `perdure.open` does."""
        clock = clock or SystemClock()
        try:
            from perdure.snapshot.policy import Budget

            mended = _compared(folder, clock)
            session = _opened(folder, config, seed, settings, phases, clock)
        except KeyboardInterrupt:  # it ends as one does that comes a moment later
            raise Stopped(128 + signal.SIGINT) from None
        attempt = cls(session, Budget(clock, budget), max(keep, settings.keep))
        try:
            attempt._recover(list(phases), mended)
        except BaseException as error:
            attempt.leave(error)
            raise
        return attempt

    def _recover(self, phases: list[str], mended: Sequence[str]) -> None:
        from perdure.snapshot import recovery

        session, store = self.session, self.session.store
        if files.is_world_writable(store.folder):
            session.console.say(f"warning: every user of this machine may write into {store.folder}")
        fresh = not store.units.phases()
        notes = [
            *mended,
            store.recovered,
            *(n.note for n in recovery.recover(store)),
            *changes.reopen_fallen(store),
        ]
        for note in filter(None, notes):
            session.console.say(f"warning: {note}")
        changes.compare_settings(session)
        with store.transaction():
            store.set_meta("phases", phases)
            store.set_meta("budget", self.budget.share)
            store.set_meta("target", redacted_line([session.settings.command or " ".join(sys.argv[:1])]))
        session.remember_files()
        changes.redo(session, session.settings.redo)
        self._seed_streams()
        self._tell_start(fresh)

    def _tell_start(self, fresh: bool) -> None:
        session = self.session
        if fresh:
            session.console.say(f"fresh start in {session.store.folder}")
            return
        died = f"; attempt {session.store.died} ended without a word" if session.store.died else ""
        session.console.say(
            f"resuming {session.store.folder} (attempt {session.store.attempts.current}{died})"
        )

    def _seed_streams(self) -> None:
        """Seed every stream; those of libraries that are imported later are seeded as they come."""
        from perdure import imports
        from perdure.snapshot import streams

        imports.install(arrived=streams.arrived)
        if self.session.seed is not None:
            streams.seed(self.session.seed)

    def track(self, path: str, every: Every, fingerprint: str) -> Track:
        """The track of the loop at `path`; starts the writer with the first one."""
        from perdure.snapshot.policy import policy_of
        from perdure.snapshot.track import Track
        from perdure.snapshot.writer import Writer

        policy = policy_of(every)
        if self._writer is None:
            self._writer = Writer(pulse=self._pulse)
        track = Track(self.session.store, self._writer, self.budget, policy, path, fingerprint, self.keep)
        self.tracks.append(track)
        return track

    def _pulse(self) -> None:
        """Now and then, on the writer's thread: show progress to others and stay datable."""
        for track in self.tracks:
            track.flush()
        with self.session.store.transaction():
            self._seen()
        self.session.store.back_up(only_if_due=True)

    def _seen(self) -> None:
        store = self.session.store
        store.attempts.seen(at=store.clock.now(), seconds=self.budget.elapsed(), saving=self.budget.spent)

    def drain(self) -> None:
        """Wait for what is being written; raises what it ended with."""
        if self._writer is not None:
            self._writer.wait()

    def leave(self, error: BaseException | None) -> None:
        """Stop the writer, record how the attempt ended, give everything back. Once.

        A signal waits until that is done. After a run that ended well it ends the script.
        """
        signals = self.session.signals
        with signals.shielded():
            if self._left or os.getpid() != self._process:  # a fork that ends leaves its parent's run alone
                return
            self._left = True
            try:
                self._end(error)
            finally:
                self.session.console.close()
                signals.restore()
        if error is None and signals.requested is not None:
            raise signals.stopped()

    def _end(self, error: BaseException | None) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
            self._record_end(error)
            self._report(error)
            self._tell_end(error)
        finally:
            self.session.store.close()  # the lock is let go, whatever comes

    def _record_end(self, error: BaseException | None) -> None:
        store = self.session.store
        outcome, code = _outcome(error, self.session.exit_code)
        try:
            if outcome == "completed" and any(p.state != "completed" for p in store.units.phases()):
                outcome = "stopped"
            with store.transaction():
                store.attempts.end(
                    at=store.clock.now(), seconds=self.budget.elapsed(), saving=self.budget.spent,
                    outcome=outcome, exit_code=code,
                )  # fmt: skip
                store.journal.add("attempt ended", "", outcome=outcome, exit_code=code)
            if not isinstance(error, DamagedError):  # then the backup may be what mends the database
                store.back_up()
        except PerdureError as late:
            if error is None:
                raise
            self.session.console.say(f"the end of this attempt could not be recorded: {late}")

    def _report(self, error: BaseException | None) -> None:
        """A completed run leaves a page for people; whatever is wrong with it never fails the run."""
        if error is None and self.session.settings.report:
            from perdure import report

            if problem := report.at_end(self.session.store.folder):
                self.session.console.say(f"the report could not be written ({problem}); see `perdure report`")

    def _tell_end(self, error: BaseException | None) -> None:
        say = self.session.console.say
        if isinstance(error, Stopped):
            say(
                f"stopped by {self.session.signals.name}; what is saved stays; the same command goes on from here"
            )
        elif error is None:
            share = f", saving took {100 * self.budget.overhead():.2f}%" if self.budget.spent else ""
            say(
                f"done in {duration(self.budget.elapsed())}{share}; results are in {self.session.store.folder}"
            )
        elif not isinstance(error, PerdureError):
            say(f"stopped by {_said(error)}; what is saved stays; the same command goes on from there")


def _said(error: BaseException) -> str:
    """An error's type and its first line: Python's traceback goes to the terminal only, the log keeps this."""
    message = "".join(str(error).strip().splitlines()[:1])
    return f"{type(error).__name__}: {message[:200]}" if message else type(error).__name__


def _opened(
    folder: Path,
    config: dict[str, object],
    seed: int | None,
    settings: Settings,
    phases: Sequence[str],
    clock: Clock,
) -> Session:
    """Hold the run, and answer signals from here on."""
    store = Store.open(folder, clock=clock, command=[settings.command] if settings.command else None)
    try:
        settings.tell_folder(folder)
        console = Console(folder / "run.log", phases=phases, detached=settings.detached)
        signals = Signals(grace=settings.grace, tell=console.say)
        return Session(store, console, signals, settings, config, seed)
    except BaseException:
        store.close()
        raise


def _compared(folder: Path, clock: Clock) -> Sequence[str]:
    """Compare all that was saved and mend it, where the database was altered while nobody had it open."""
    if not rest.was_altered(folder / DATABASE):
        return ()
    from perdure.repair import repair

    return repair(folder, clock=clock).done


def _outcome(error: BaseException | None, exit_code: int) -> tuple[str, int]:
    if error is None:
        return "completed", exit_code
    if isinstance(error, Stopped):
        return "stopped", error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return "stopped", 130
    return "failed", error.exit_code if isinstance(error, PerdureError) else 1
