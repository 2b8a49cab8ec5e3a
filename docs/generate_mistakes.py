"""Write docs/mistakes.md by making each mistake; `--check` says whether the page is what making them gives.

`--only WORD` makes those whose description has the word. A mistake that this machine cannot make (root makes a small
disk) keeps the row that the page has.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parent / "mistakes.md"
SOURCE = Path(__file__).parents[1] / "src"
HEAD = """# Mistakes, and what perdure answers

This page is written by `docs/generate_mistakes.py`, which makes each of these mistakes and notes the answer. An
answer is one message on standard error, with what happened, the value seen and what to do next, and never a traceback;
in a script it is an exception of `perdure.errors`. What was saved before is intact after each of them.

| mistake | exit code | answer |
|---|---|---|
"""
SCRIPT = """
import sys
import numpy as np
import perdure

def prepare():
    return [1, 2, 3]

def network():
    import keras
    return keras.Sequential()

if __name__ == "__main__":
    with perdure.open("runs/demo", config={"rate": 0.1}, seed=7) as run:
        data = run.step("prepare", prepare)
        weights = np.zeros(4)
        for epoch in run.range("epoch", int((sys.argv[1:] or [3])[0]), state={"weights": weights}):
            weights += run.config["rate"]
            run.log(loss=float(epoch))
"""
BODY = """
import numpy as np
import perdure

def nothing(*_):
    return None

def thing():
    return object()

if __name__ == "__main__":
    with perdure.open("runs/demo") as run:
"""
HOLDER = """
import sys
import perdure

with perdure.open("runs/demo"):
    print("held", flush=True)
    sys.stdin.read()
"""
UNGUARDED = """
import perdure

def unit(key):
    return key

with perdure.open("runs/demo") as run:
    run.map("units", ["a"], unit, workers=1)
"""


@dataclass(frozen=True)
class Answer:
    """How a process ended: its exit code, and what it said on standard error."""

    code: int
    said: str


@dataclass
class Place:
    """A folder of its own for one mistake, in which `train.py` may have run before."""

    folder: Path
    limits: dict[str, int] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return self.folder / "runs" / "demo"

    def write(self, text: str, name: str = "train.py") -> None:
        (self.folder / name).write_text(text)

    def edit(self, before: str, after: str) -> None:
        text = (self.folder / "train.py").read_text()
        assert before in text
        self.write(text.replace(before, after))

    def sql(self, statement: str, *values: object) -> None:
        connection = sqlite3.connect(self.run / "run.db", isolation_level=None)
        connection.execute(statement, values)
        connection.close()

    def python(self, *words: str) -> Answer:
        """Run python on a script, or `-m perdure COMMAND`."""
        named = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
        done = subprocess.run(
            [sys.executable, *words], cwd=self.folder, capture_output=True, text=True, timeout=120,
            env=named | {"PYTHONPATH": str(SOURCE), "COLUMNS": "100"}, preexec_fn=self._limited,
        )  # fmt: skip
        return Answer(done.returncode, done.stderr)

    def _limited(self) -> None:
        import resource

        for name, value in self.limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))

    def perdure(self, *words: str) -> Answer:
        return self.python("-m", "perdure", *words)

    def train(self) -> Answer:
        return self.python("train.py")

    def body(self, *lines: str) -> Answer:
        """Run a script whose `with perdure.open(...)` block has these lines."""
        self.write(BODY + "".join(f"        {line}\n" for line in lines))
        return self.train()


Make = Callable[[Place], Answer]


@dataclass(frozen=True)
class Mistake:
    what: str
    make: Make
    after_a_run: bool = False  # train.py has run to its end before
    as_root: bool = False


def _edited(before: str, after: str) -> Make:
    def make(place: Place) -> Answer:
        place.edit(before, after)
        return place.train()

    return make


def _typed(*words: str) -> Make:
    return lambda place: place.perdure(*words)


def _written(*lines: str) -> Make:
    return lambda place: place.body(*lines)


def _several(place: Place) -> Answer:
    shutil.copytree(place.run, place.run.with_name("other"))
    return place.perdure("status")


def _no_run(place: Place) -> Answer:
    (place.folder / "notes").mkdir()
    (place.folder / "notes" / "a.txt").write_text("a")
    return place.perdure("status", "notes")


def _other_keras(place: Place) -> Answer:
    connection = sqlite3.connect(place.run / "run.db")
    ((text,),) = connection.execute("SELECT fingerprint FROM phases WHERE path = 'epoch'")
    connection.close()
    document = json.loads(text)
    document["libraries"]["keras"] = "3.9.0"
    place.sql("UPDATE phases SET fingerprint = ? WHERE path = 'epoch'", json.dumps(document))
    return place.train()


def _newer(place: Place) -> Answer:
    place.sql("PRAGMA user_version=99")
    return place.train()


def _both_lost(place: Place) -> Answer:
    for name in ("run.db", "run.db.backup"):
        (place.run / name).write_bytes(b"no database" * 999)
    return place.train()


def _damaged(place: Place) -> Answer:
    for path in (place.run / "snapshots" / "epoch").iterdir():
        path.write_bytes(b"damaged")
    return place.train()


def _second(place: Place) -> Answer:
    place.write(HOLDER, "holder.py")
    named = dict(os.environ, PYTHONPATH=str(SOURCE))
    with subprocess.Popen(
        [sys.executable, "holder.py"], cwd=place.folder, env=named, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        answer = place.train()
        holder.stdin.close()
    return answer


def _unguarded(place: Place) -> Answer:
    place.write(UNGUARDED)
    return place.train()


def _limited(place: Place) -> Answer:
    place.limits["RLIMIT_FSIZE"] = 200_000
    return place.body(
        "big = np.zeros(100_000)", 'for _ in run.range("epoch", 3, state={"big": big}):', "    big += 1"
    )


@contextmanager
def _disk(place: Place, options: str) -> Iterator[None]:
    place.run.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place.run], check=True, capture_output=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place.run], check=True)


def _full(place: Place) -> Answer:
    with _disk(place, "size=2m,mode=700"):
        return place.train()


def _read_only(place: Place) -> Answer:
    with _disk(place, "ro,mode=700"):
        return place.train()


def _foreign(place: Place) -> Answer:
    place.run.mkdir(parents=True)
    os.chown(place.run, 65534, 65534)
    return place.train()


MISTAKES = (
    Mistake("`perdure status nowhere`: there is no such folder", _typed("status", "nowhere")),
    Mistake("`perdure status` where nothing ever ran", _typed("status")),
    Mistake("`perdure status notes`: a folder without a run", _no_run),
    Mistake("`perdure status` with two runs", _several, after_a_run=True),
    Mistake("`perdure run missing.py`", _typed("run", "missing.py")),
    Mistake("`perdure restore demo yesterday`: no such", _typed("restore", "demo", "yesterday"), after_a_run=True),
    Mistake("`perdure run train.py --set rate`: no value", _typed("run", "train.py", "--set", "rate")),
    Mistake(
        "`perdure run train.py --redo epochs`: no such phase", _typed("run", "train.py", "--redo", "epochs"),
        after_a_run=True,
    ),
    Mistake("the config was edited", _edited('"rate": 0.1', '"rate": 0.2'), after_a_run=True),
    Mistake("the seed was edited", _edited("seed=7", "seed=8"), after_a_run=True),
    Mistake("the code was edited", _edited("weights += run", "weights -= run"), after_a_run=True),
    Mistake("another Keras was installed", _other_keras, after_a_run=True),
    Mistake("fewer epochs than were trained", lambda place: place.python("train.py", "2"), after_a_run=True),
    Mistake("the run was written by a newer perdure", _newer, after_a_run=True),
    Mistake("the database and its backup are both damaged", _both_lost, after_a_run=True),
    Mistake("every snapshot of a loop is damaged", _damaged, after_a_run=True),
    Mistake("the same script is started twice at once", _second),
    Mistake('`run.map` in a script without `if __name__ == "__main__":`', _unguarded),
    Mistake("the disk is full", _full, as_root=True),
    Mistake("the file system is read-only", _read_only, as_root=True),
    Mistake("the run's folder belongs to another user", _foreign, as_root=True),
    Mistake("a file grows beyond the limit (`ulimit -f`)", _limited),
    Mistake("one name for two phases", _written('run.step("data", nothing)', 'run.step("data", nothing)')),
    Mistake('`run.range("epoch", -1)`', _written('run.range("epoch", -1)')),
    Mistake("a `/` in a phase's name", _written('run.range("fold/1", 3)')),
    Mistake(
        "`state=` with an object that cannot be captured", _written('run.range("epoch", 3, state={"log": object()})')
    ),
    Mistake("a generator in `state=`", _written('run.range("epoch", 3, state={"rows": iter([1, 2])})')),
    Mistake("a step that returns an object", _written('run.step("model", thing)')),
    Mistake("`run.map` with a lambda", _written('run.map("units", ["a"], lambda key: key)')),
    Mistake("the same key twice", _written('run.map("units", ["a", "a"], nothing)')),
    Mistake("`run.log` outside of a loop", _written("run.log(loss=1.0)")),
    Mistake("`run.batches` outside of a loop", _written("for rows in run.batches(10, batch_size=2):", "    pass")),
    Mistake(
        "`best=` of a metric that is not logged",
        _written('for _ in run.range("epoch", 1, state={"w": np.zeros(2)}, best="max:auc"):', "    run.log(loss=1.0)"),
    ),
    Mistake('`best="auc"`', _written('run.range("epoch", 1, best="auc")')),
    Mistake("a name that Windows reserves", _written('run.export("con.json", b"")')),
    Mistake("a loop inside a loop", _written(
        'for _ in run.range("outer", 1, state={"w": np.zeros(2)}):', '    run.range("inner", 1)')),
)  # fmt: skip


def row(mistake: Mistake) -> str:
    """Make a mistake in a new folder; returns its row of the page."""
    with tempfile.TemporaryDirectory(prefix="mistake-") as name:
        place = Place(Path(name).resolve())
        place.write(SCRIPT)
        if mistake.after_a_run:
            before = place.train()
            assert before.code == 0, before.said
        answer = mistake.make(place)
        if not answer.code or "Traceback" in answer.said or "perdure: error: " not in answer.said:
            raise SystemExit(f"{mistake.what}: no clear answer (exit code {answer.code}):\n{answer.said}")
        return f"| {mistake.what} | {answer.code} | {_shown(answer.said, place.folder)} |"


def _shown(said: str, folder: Path) -> str:
    """The message, without what differs from machine to machine."""
    message = said.rpartition("perdure: error: ")[2]
    for pattern, stands in (
        (re.escape(str(folder)), "…"),
        (r"process \d+ on \S+ since [\d-]+ [\d:]+[+-][\d:]+", "process 4711 on HOST since TIME"),
        (r"[\d.]+ MB free", "N MB free"),
        (re.escape(version("keras")), "VERSION"),
        (r"\.tmp[0-9a-f]+|\.[0-9a-f]{8}\.tmp", ".tmp"),
    ):
        message = re.sub(pattern, stands, message)
    lines = [line.strip().replace("|", "\\|") for line in message.splitlines()]
    return "<br>".join(line for line in lines if line and not line.startswith("see http"))


def _can(mistake: Mistake) -> bool:
    return not mistake.as_root or (os.name == "posix" and os.geteuid() == 0 and sys.platform == "linux")


def _rows(page: str) -> dict[str, str]:
    lines = [line for line in page.splitlines() if line.startswith("| ")][1:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def _made(mistake: Mistake, known: dict[str, str]) -> str | None:
    if not _can(mistake):
        return known.get(mistake.what)
    try:
        return row(mistake)
    except subprocess.CalledProcessError:  # this root may not mount
        return known.get(mistake.what)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 when out of date")
    parser.add_argument("--only", default="", metavar="WORD", help="mistakes whose description has this word")
    given = parser.parse_args()
    known = _rows(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    rows = {m.what: _made(m, known) if given.only in m.what else known.get(m.what) for m in MISTAKES}
    page = HEAD + "".join(f"{line}\n" for line in rows.values() if line)
    if not given.check:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    different = [what for what, line in rows.items() if line != known.get(what)]
    if different or set(known) - set(rows):
        listed = "".join(f"\n  {rows[what]}" for what in different)
        print(
            f"{PAGE} is out of date; write it with `python docs/generate_mistakes.py`:{listed}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
