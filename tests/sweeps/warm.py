"""A process that has imported everything already and forks for each run: thousands of reruns in little time.

As a program it reads one JSON line a run from standard input (script, environment, files for what it prints) and
answers with the exit code. The fork leaves through the interpreter's own end, as a fresh process does.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sweeps import tracer

MODULES = ("numpy", "numpy.random", "perdure.run", "perdure.each", "perdure.mapping", "perdure.changes",
           "perdure.snapshot.recovery", "perdure.snapshot.track", "perdure.snapshot.writer",
           "perdure.snapshot.streams", "perdure.snapshot.policy", "perdure.repair", "perdure.clock", "psutil",
           "blake3")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Done:
    """How a run ended."""

    code: int
    out: str
    err: str


class Warm:
    """Runs scripts in forks of one warm process. A context manager."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._scratch = tempfile.TemporaryDirectory()

    def run(self, script: Path, variables: dict[str, str], trace: Callable[[int], int] | None = None) -> Done:
        """Run it to its end. `trace` gets the number of a process that waits for its tracer, and traces it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        out, err = (Path(self._scratch.name, name) for name in ("out", "err"))
        request = {"script": str(script), "variables": variables, "out": str(out), "err": str(err),
                   "traced": trace is not None}  # fmt: skip
        print(json.dumps(request), file=self._process.stdin, flush=True)
        process = int(self._process.stdout.readline())
        if trace is not None:
            trace(process)
        code = int(self._process.stdout.readline())
        return Done(code, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def __enter__(self) -> Warm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._scratch.cleanup()


def _serve() -> Callable[[], None] | None:
    """Answer requests; in a fork, return what it is to run."""
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if not process:
            return _forked(request)
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def _forked(request: dict[str, object]) -> Callable[[], None]:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(str(request[name]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    variables = request["variables"]
    assert isinstance(variables, dict)
    os.environ.update(variables)
    importlib.reload(sys.modules["perdure.seams"])  # they read the environment once
    script = str(request["script"])
    sys.argv, sys.path[0] = [script], str(Path(script).parent)
    code = compile(Path(script).read_text(), script, "exec")
    main = sys.modules["__main__"].__dict__
    main.update(__file__=script, __name__="__main__")
    if request["traced"]:
        tracer.await_tracer()
    return lambda: exec(code, main)


if __name__ == "__main__":
    for module in MODULES:
        __import__(module)
    if (run := _serve()) is not None:
        run()
