"""`perdure.open` and the verbs of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from perdure import changes, files
from perdure.attempt import Attempt
from perdure.console import counted, show_own_errors
from perdure.errors import MainGuardError, Stopped, UsageError
from perdure.phase import caller, keyed, loggable, place_of, valid_name
from perdure.settings import Settings, folder_for, overridden

if TYPE_CHECKING:
    import numpy as np

    from perdure.clock import Clock
    from perdure.each import Each, Step
    from perdure.fingerprint import Fingerprint
    from perdure.loop import Loop
    from perdure.mapping import MapResults
    from perdure.phase import Session
    from perdure.snapshot.policy import Every
    from perdure.snapshot.track import Track


def open(
    folder: str | os.PathLike[str],
    *,
    config: Mapping[str, object] | None = None,
    seed: int | None = 0,
    budget: float | None = 0.01,
    phases: Sequence[str] = (),
    keep: int = 2,
    clock: Clock | None = None,
) -> Run:
    """Start a run in `folder`, or resume what is there; the same call does both.

    folder: a relative path lies beside the script. `--run` and `PERDURE_RUN` override it.
    config: settings that results depend on; JSON values. `--set key=value` overrides them; see `run.config`.
    seed: seeds every random stream (Python, NumPy, loaded frameworks); None leaves them alone.
    budget: the share of time that saving may take (0.01 is 1%); saves are delayed to hold it. None never delays.
    phases: names of the run's phases in order, for "[1/7]" in the log and for `perdure status`.
    keep: how many of a loop's latest snapshots stay (at least two). clock: for tests, see perdure.testing.FakeClock.

    Raises LockedError when another process holds the run, ChangedError when it was started with another config or
    seed, StorageError, FormatError, DamagedError, or UsageError.
    """
    show_own_errors()
    if os.environ.get("PERDURE_WORKER"):
        raise MainGuardError(
            "a worker process imported the training script and reached perdure.open; put the script's code under "
            'if __name__ == "__main__": (functions stay outside), as Python needs it for new processes'
        )
    if keep < 2:
        raise UsageError(f"keep={keep} leaves nothing to fall back to; use 2 or more")
    if budget is not None and not 0 < budget <= 1:
        raise UsageError(f"budget={budget} is not a share; use a number such as 0.01 for 1%, or None")
    settings = Settings.from_environment()
    attempt = Attempt.begin(
        folder_for(folder, settings), config=overridden(config or {}, settings.changes), seed=seed,
        settings=settings, budget=None if settings.save_always else budget, phases=phases, keep=keep, clock=clock,
    )  # fmt: skip
    return Run(attempt)


class Run:
    """One run, held open by this process. Use it as a context manager; made by `perdure.open`."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._session = attempt.session
        self._store = attempt.session.store
        self._scopes: list[Loop | Each | Step] = []

    # -- what adapters use ---------------------------------------------------------------------------------------

    def enter_loop(
        self,
        name: str,
        total: int,
        *,
        every: Every,
        fingerprint: Callable[[Session], Fingerprint],
        place: str,
    ) -> tuple[Session, Track]:
        """Begin a loop that a framework drives: a phase of `total` iterations, and the track that saves it."""
        path = self._enter(name)
        current = fingerprint(self._session)
        self._session.begin(path, kind="range", total=total, current=current, place=place)
        self._session.console.phase(path, f"{total} iterations")
        return self._session, self._attempt.track(path, every, current.digest)

    def enter_each(
        self, name: str, items: dict[str, Any], *, fingerprint: Callable[[Session], Fingerprint], place: str
    ) -> Each:
        """Begin sequential units that an adapter computes: what `run.each` gives."""
        from perdure.each import Each

        path = self._enter(name)
        current = fingerprint(self._session)
        self._session.begin(path, kind="each", total=len(items), current=current, place=place)
        self._session.console.phase(path, counted(len(items), "unit"))
        each = Each(self._session, path, self._fingerprinted(path, items))
        self._scopes.append(each)
        return each

    def enter_scope(self, scope: Any) -> None:
        """Until it says that it is finished, `run.log` and `run.insert` go to this scope."""
        self._scopes.append(scope)

    # -- what a script reads -------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._store.folder

    @property
    def config(self) -> Mapping[str, object]:
        """The config with its overrides."""
        return self._session.config

    @property
    def seed(self) -> int | None:
        return self._session.seed

    @property
    def exit_code(self) -> int:
        """0, or 3 when units are in quarantine; for `sys.exit(run.exit_code)`."""
        return self._session.exit_code

    @property
    def exports(self) -> Path:
        """The folder for what people open: reports, plots, models, predictions."""
        return self.folder / "exports"

    # -- verbs ---------------------------------------------------------------------------------------------------

    def step(
        self,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        version: str | None = None,
        **options: Any,
    ) -> Any:
        """Call `function(*arguments, **options)` once; on every rerun return the recorded result.

        The result is JSON values, NumPy arrays, tables, bytes or paths, and is always returned as its record has it.
        `version` stands in for code or arguments that cannot be fingerprinted.
        """
        from perdure.each import Step

        path, frame = self._enter(name), caller()
        given = {str(i): value for i, value in enumerate(arguments)} | options
        current = self._session.fingerprint_function(function, arguments=given, version=version)
        known = self._session.begin(path, kind="step", total=1, current=current, place=place_of(frame))
        unit = self._store.units.one(path, "") if known else None
        self._session.console.phase(path, "done before" if unit and unit.state == "done" else "running")
        step = Step(self._session, path)
        self._scopes.append(step)
        try:
            return step.run(function, arguments, options)
        finally:
            self._scopes.remove(step)

    def map(
        self,
        name: str,
        keys: Iterable[Any] | Mapping[str, Any],
        function: Callable[[Any], object],
        *,
        workers: int | None = None,
        retries: int = 1,
        timeout: str | float | None = None,
        into: str | None = None,
        data: bool = False,
        version: str | None = None,
    ) -> MapResults:
        """Call `function(key)` for each key (or `function(argument)` for a mapping) in worker processes.

        A unit that raises, crashes or takes longer than `timeout` ("10m") is tried again `retries` times, then set
        aside with its reason; the others go on, and `exit_code` becomes 3. With `into` a unit returns rows, which go
        into that table of `run.db` in the transaction that marks the unit done; `data=True` keeps them over a reset.
        """
        from perdure.mapping import Mapped, default_workers
        from perdure.snapshot.policy import seconds_of

        path, frame, items = self._enter(name), caller(), keyed(keys)
        current = self._session.fingerprint_function(function, arguments={}, version=version)
        self._session.begin(
            path, kind="map", total=len(items), current=current, place=place_of(frame), data=data
        )
        self._session.console.phase(path, counted(len(items), "unit"))
        mapped = Mapped(
            self._session, path, self._fingerprinted(path, items), function, workers or default_workers(), retries,
            seconds_of(timeout, name="timeout") if timeout is not None else None, into, data, current.digest,
            lambda: changes.forget_after(self._session, path, why="a unit that had failed is done now"),
        )  # fmt: skip
        return mapped.run()

    def _fingerprinted(self, path: str, items: dict[str, Any]) -> dict[str, Any]:
        """Refuse units whose argument is another than the one their result was computed from."""
        self._session.check_arguments(path, {key: value for key, value in items.items() if str(value) != key})
        self._session.arrange(path, list(items))
        return items

    def each(self, name: str, keys: Iterable[Any] | Mapping[str, Any], *, version: str | None = None) -> Each:
        """Sequential units: `for unit in run.each(...)` runs the body for those not done yet.

        Set `unit.result` in the body; it is committed when the next unit is asked for. A body may hold loops.
        """
        frame = caller()
        return self.enter_each(
            name, keyed(keys), place=place_of(frame),
            fingerprint=lambda session: session.fingerprint_caller(frame, version=version),
        )  # fmt: skip

    def range(
        self,
        name: str,
        count: int,
        *,
        state: Mapping[str, object] | None = None,
        best: str | None = None,
        every: Every = None,
        version: str | None = None,
    ) -> Loop:
        """A loop of `count` iterations whose `state` is saved and restored.

        state: named objects with `state_dict`/`load_state_dict`, arrays, dicts and lists of arrays, random generators.
        best: "max:metric" or "min:metric" of what `run.log` gets; the best state is kept apart.
        every: None saves after each iteration, "30s" after that time, 500 after so many batches, a tuple whichever
        comes first. Saves within an iteration happen between two batches of `run.batches`.
        """
        from perdure.loop import Goal, Loop
        from perdure.snapshot.parts import sources_of

        path, frame = self._enter(name), caller()
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise UsageError(
                f"range {name!r} is asked for {count!r} iterations; use a whole number, 0 or more"
            )
        goal, sources = Goal.of(best), sources_of(state or {})
        current = self._session.fingerprint_caller(frame, version=version)
        self._session.begin(path, kind="range", total=count, current=current, place=place_of(frame))
        self._session.console.phase(path, f"{count} iterations")
        track = self._attempt.track(path, every, current.digest)
        loop = Loop(self._session, track, name, count, sources, goal)
        self._scopes.append(loop)
        return loop

    def batches(
        self, count: int, *, batch_size: int, shuffle: bool = True, drop_last: bool = False
    ) -> Iterator[np.ndarray]:
        """Indices 0 to count - 1 in batches (int64 arrays), inside a loop's body.

        The order depends on the run's seed and the iteration alone, so that a resume goes on at any batch.
        """
        import numpy as np

        from perdure.loop import Loop
        from perdure.snapshot.streams import seed_for

        self._settle()
        loop = self._scopes[-1] if self._scopes else None
        if not isinstance(loop, Loop):
            raise UsageError("run.batches belongs into the body of a run.range loop")
        if count < 0 or batch_size < 1:
            raise UsageError(
                f"run.batches({count}, batch_size={batch_size}) is not possible; use positive numbers"
            )
        order = np.arange(count)
        if shuffle:
            key = seed_for(self.seed or 0, loop.track.loop, loop.position, "order")
            order = np.random.Generator(np.random.Philox(key=key)).permutation(count)
        return loop.batches(order, batch_size, drop_last=drop_last)

    def log(self, **values: object) -> None:
        """Add an entry to the history of the loop or unit whose body runs; numbers, text, None."""
        self._settle()
        if not self._scopes:
            raise UsageError("run.log belongs into a loop, a step or an each, whose history it adds to")
        plain = {name: loggable(name, value) for name, value in values.items()}
        scope: Any = self._scopes[-1]
        (scope.log.log if hasattr(scope.log, "log") else scope.log)(plain)

    def insert(self, table: str, rows: object) -> None:
        """Add rows to a table of `run.db`; they commit with the loop's next snapshot, or with the unit."""
        from perdure.store.tables import rows_of

        self._settle()
        if not self._scopes:
            raise UsageError("run.insert belongs into a loop, a step or an each")
        scope: Any = self._scopes[-1]
        if hasattr(scope, "track"):
            scope.track.insert(table, rows_of(rows), position=scope.position)
        else:
            scope.log.insert(table, rows_of(rows))

    def export(self, name: str, content: bytes) -> Path:
        """Put a file into `exports/`, completely or not at all; returns its path."""
        path = self.exports / name
        if path.parent != self.exports or path.name.startswith("."):
            raise UsageError(f"run.export({name!r}): name a file, without folders")
        if not files.is_portable(name):
            raise UsageError(
                f"run.export({name!r}): Windows does not take this name; choose one that every system takes"
            )
        if not path.exists() or path.read_bytes() != content:
            files.publish(path, [content], kind="export")
        return path

    def history(self, loop: str) -> list[dict[str, object]]:
        """All that was logged in a loop: one dict an entry, with `position`."""
        self._attempt.drain()  # what is being saved right now belongs to it
        entries = self._session.entries_of(self._attempt.tracks, loop)
        return [{"position": entry.position, **entry.values} for entry in entries]

    def interruptions(self, loop: str) -> list[int]:
        """Positions of a loop at which another attempt took over."""
        return self._store.generations.takeovers(loop)

    # -- where in the script we are ------------------------------------------------------------------------------

    def _enter(self, name: str) -> str:
        """The path of a new phase at this point of the script."""
        from perdure.each import Each, Step

        self._settle()
        if not self._scopes:
            return valid_name(name)
        scope = self._scopes[-1]
        if isinstance(scope, Each):
            return f"{scope.unit_path()}/{valid_name(name)}"
        if not isinstance(scope, Step) and scope.running is None:
            raise UsageError(
                f"{name!r} comes before the loop {scope.path!r}, made above, was run; run that one first"
            )
        raise UsageError(
            f"{name!r} is used inside the body of {scope.path!r}; loops and steps may be nested in run.each only "
            "(inside a loop use run.batches, run.log and state=)"
        )

    def _settle(self) -> None:
        """Notice loops that the script has left by `break` or by an exception."""
        from perdure.each import Step

        while self._scopes:
            scope = self._scopes[-1]
            if isinstance(scope, Step):
                return
            if not scope.finished:
                if scope.running is None or scope.running() is not None:
                    return
                if scope.left == "break":
                    scope.end_by_break()
                else:
                    scope.abandon()
                    self._session.console.say(
                        f"{scope.path}: left by an exception; what was running does not count"
                    )
            self._scopes.pop()

    # -- the end -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Stopped):
            self._tell_discarded()
        if error is None or isinstance(error, OSError):
            try:
                if error is None:
                    self._settle()
                self._attempt.drain()  # a save that failed on the same disk says more than the script's own error
            except BaseException as late:
                self._attempt.leave(late)
                raise
        self._attempt.leave(error)

    def _tell_discarded(self) -> None:
        from perdure.each import Each

        for scope in self._scopes:
            if isinstance(scope, Each) and scope.current is not None:
                self._session.console.say(f"{scope.unit_path()}: discarded; it starts again next time")

    def close(self) -> None:
        """End the run's attempt in order; the same as leaving the `with` block."""
        self.__exit__(None, None, None)
