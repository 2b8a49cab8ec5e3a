"""Processes that train, started fast: a server imports Keras, or other libraries, once and forks for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from processes import SCRIPTS, digest, environment


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class KerasServer:
    """Runs scripts on one backend, each in a new process."""

    backend: str
    process: subprocess.Popen[str]
    folder: Path
    _references: dict[str, tuple[str, dict[str, dict[str, str]]]] = field(default_factory=dict)

    def run(self, script: str, run_folder: Path, **variables: str) -> Ended:
        job = {
            "script": str(SCRIPTS / script),
            "environment": {"PERDURE_RUN": str(run_folder)} | variables,
            "out": str(self.folder / "out"),
            "err": str(self.folder / "err"),
        }
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()
        code = int(self.process.stdout.readline())
        return Ended(code, (self.folder / "out").read_text(), (self.folder / "err").read_text())

    def finish(self, script: str, run_folder: Path, **variables: str) -> str:
        """What a script prints that must end well."""
        ended = self.run(script, run_folder, **variables)
        assert ended.code == 0, ended.err
        return ended.out

    def reference(self, script: str, **variables: str) -> tuple[str, dict[str, dict[str, str]]]:
        """What an uninterrupted run prints, and its digest; run once for all tests."""
        key = json.dumps([script, variables])
        if key not in self._references:
            run_folder = self.folder / f"reference-{len(self._references)}"
            printed = self.finish(script, run_folder, **variables)
            self._references[key] = printed, digest(run_folder)
        return self._references[key]

    def seams(self, script: str, run_folder: Path, **variables: str) -> list[str]:
        """The seams that an uninterrupted run passes, in order; `run_folder` then holds that run."""
        log = run_folder.with_suffix(".seams")
        self.finish(script, run_folder, PERDURE_SEAM_LOG=str(log), **variables)
        return log.read_text().split()


@contextmanager
def keras_server(backend: str, folder: Path, *, preload: str = "keras") -> Iterator[KerasServer]:
    """Compiled programs are kept beside the server, so that each is compiled once. `preload` names other modules."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "keras_server.py")],
        env=environment(folder, KERAS_BACKEND=backend, PRELOAD=preload, **cache),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield KerasServer(backend, process, folder)
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
