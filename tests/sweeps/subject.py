"""What is swept: a script or a pipeline, what it must end with, and what it has acknowledged so far."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from processes import SCRIPTS, SOURCE, digest, environment
from sweeps.tracer import AVAILABLE, Visitor, start, trace
from sweeps.warm import Done, Warm

Digest = dict[str, dict[str, str]]
Facts = frozenset[tuple[object, ...]]
MEND = Path(__file__).with_name("mend.py")
_QUIET = {
    "KERAS_BACKEND": "jax",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "OMP_NUM_THREADS": "1",
    "PERDURE_SAVE_ALWAYS": "1",
}
_ACKNOWLEDGED = (
    "SELECT 'unit', phase, key, digest, attempt, at FROM units WHERE state = 'done'",
    "SELECT 'generation', loop, generation, position, stream, batch, final, parts, attempt, at FROM snapshots "
    "WHERE state != 'damaged'",
    "SELECT 'entry', h.loop, h.seq, h.entry, h.attempt, h.at FROM history h WHERE h.seq < "
    "(SELECT logged FROM snapshots s WHERE s.loop = h.loop AND s.state = 'kept' ORDER BY s.generation DESC LIMIT 1)",
)


@dataclass(slots=True)
class Subject:
    """One target of the sweeps, and the uninterrupted run that all others must equal."""

    name: str
    script: Path | None  # a script that the warm process can run
    words: Sequence[str]  # the command; {run} stands for the run's folder
    scratch: Path
    source: Path = SOURCE
    seconds: float = 240  # for one run
    reference: Path = field(init=False)
    expected: Digest = field(init=False)
    printed: str = field(init=False)
    calls: int = field(
        init=False
    )  # of an uninterrupted run that change its files; 0 where they cannot be counted
    _warm: Warm | None = None

    def prepare(self, *, warm: Warm | None) -> None:
        """Make the uninterrupted run, and count its calls on the way."""
        self.reference, seen = self.scratch / f"reference-{self.name}", []
        if AVAILABLE:
            done = self.traced(self.reference, lambda call: seen.append(call.index))
        else:
            done = self.run(self.reference, cold=True)
        assert done.code == 0, done.err
        self.calls = len(seen)
        self.expected, self.printed = digest(self.reference), done.out
        self._warm = warm

    def command(self, folder: Path) -> list[str]:
        return [word.replace("{run}", str(folder)) for word in self.words]

    def variables(self, folder: Path, **more: str) -> dict[str, str]:
        path = os.pathsep.join([str(self.source), str(SCRIPTS.parent)])
        return environment(folder, **(_QUIET | {"PYTHONPATH": path} | more))

    def run(self, folder: Path, *, cold: bool = False, **more: str) -> Done:
        """Start or resume the run in `folder`; in a process of its own from the start where `cold`."""
        if self._warm is not None and self.script is not None and not cold:
            return self._warm.run(self.script, {"PERDURE_RUN": str(folder), **more})
        return self._process(self.command(folder), folder, **more)

    def _process(self, command: list[str], folder: Path, **more: str) -> Done:
        done = subprocess.run(
            command, env=self.variables(folder, **more), capture_output=True, text=True, timeout=self.seconds
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def findings(self, folder: Path, *, repair: bool = False) -> list[str]:
        """What `perdure verify` finds in a run, files that count for nothing included; after a repair if asked."""
        more = {"PERDURE_RUN": str(folder), "SWEEP_REPAIR": "1" if repair else ""}
        if self._warm is not None:
            done = self._warm.run(MEND, more)
        else:
            done = self._process([sys.executable, str(MEND)], folder, **more)
        return list(json.loads(done.out)) if not done.code else [f"verify: {last_line(done.err)}"]

    def traced(self, folder: Path, visit: Visitor, *, watched: Path | None = None, **more: str) -> Done:
        """Run it under the tracer; with `watched` its seams are told to the visitor as writes to that file."""
        if watched is not None:
            more["PERDURE_SEAM_LOG"] = str(watched)

        def follow(process: int) -> int:
            return trace(process, visit, folder=folder, watched=watched, seconds=self.seconds)

        if self._warm is not None and self.script is not None:
            return self._warm.run(self.script, {"PERDURE_RUN": str(folder), **more}, follow)
        out, err = self.scratch / "stdout", self.scratch / "stderr"
        code = follow(start(self.command(folder), self.variables(folder, **more), out, err))
        return Done(code, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def wrong(self, folder: Path, done: Done) -> str:
        """What is wrong with a run that must be complete and equal now; empty where nothing is."""
        if done.code:
            return f"the rerun exits {done.code}: {last_line(done.err)}"
        found = digest(folder)
        if found != self.expected:
            return f"silently different: {sorted(_differing(found, self.expected))}"
        return "" if done.out == self.printed else f"prints {done.out[:80]!r}"

    def resumed(self, folder: Path, acknowledged: Facts) -> str:
        """Run it to its end; what is wrong with that, given what had been acknowledged before."""
        done = self.run(folder)
        wrong = self.wrong(folder, done)
        if not wrong and (lost := acknowledged - facts(folder)):
            wrong = f"acknowledged and done again or lost: {sorted(map(str, lost))[:3]}"
        if not wrong and (left := self.findings(folder)):
            wrong = f"after a rerun with the same bits verify finds {left[0]}"
        return wrong


def last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "(it says nothing)")


def _differing(found: Digest, expected: Digest) -> Iterator[str]:
    for phase in found.keys() | expected.keys():
        one, other = found.get(phase, {}), expected.get(phase, {})
        yield from (
            f"{phase}: {part}" for part in one.keys() | other.keys() if one.get(part) != other.get(part)
        )


def facts(folder: Path) -> Facts:
    """What the run in `folder` has acknowledged: its results, generations and history, with when and by whom.

    Read from a copy, so that no log is rolled back or written into the database by looking at it.
    """
    with tempfile.TemporaryDirectory() as place:
        for name in ("run.db", "run.db-wal", "run.db-journal"):
            if (folder / name).exists():
                shutil.copy(folder / name, place)
        database = sqlite3.connect(
            Path(place, "run.db")
        )  # writable: a journal of its first moments is undone
        try:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal'").fetchall():
                return frozenset()
            return frozenset(row for sql in _ACKNOWLEDGED for row in database.execute(sql))
        finally:
            database.close()


def script_words(name: str) -> list[str]:
    return [sys.executable, str(SCRIPTS / name)]


def pipeline_words(name: str) -> list[str]:
    return [sys.executable, "-m", "perdure", "run", name, "--preset", "tiny", "--run", "{run}"]


@contextmanager
def subject(name: str, scratch: Path, *, source: Path = SOURCE) -> Iterator[Subject]:
    """The subject of that name, with its reference made: raw, heavy, units, keras, exoplanet or market."""
    scripts = {"raw": "raw_loop.py", "units": "units.py", "keras": "keras_fit.py", "heavy": "heavy.py"}
    with ExitStack() as stack:
        if name in scripts:
            script = scripts[name]
            made = Subject(name, SCRIPTS / script, script_words(script), scratch, source)
        else:
            made = Subject(name, None, pipeline_words(name), scratch, source, seconds=900)
        # JAX keeps threads, and worker processes import the main module: neither stands a fork
        warm = (
            stack.enter_context(Warm(made.variables(scratch / "unused")))
            if name in {"raw", "heavy"}
            else None
        )
        made.prepare(warm=warm)
        yield made
