"""The course of a fit: a loop over chunks of rounds, each a training of its own from the scores so far.

A library's random streams and caches cannot be saved in mid-fit. So no chunk inherits any: its seeds derive from the
run's seed, the phase and the chunk's number, and all that it takes over are the raw scores of each row. These are in
the snapshot, bit for bit; whether the process was killed in between makes no difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from perdure import fingerprint
from perdure.boosting.library import Chunk, Library, Scores, library_of
from perdure.errors import UsageError
from perdure.loop import Loop
from perdure.phase import Session, caller, place_of
from perdure.run import Run
from perdure.snapshot.parts import sources_of
from perdure.snapshot.policy import Every
from perdure.snapshot.streams import seed_for


def train(
    run: Run,
    name: str,
    params: Mapping[str, Any],
    data: Any,
    *,
    rounds: int,
    valid: Any = None,
    every: Every = None,
    chunk: int = 50,
    stop_after: int | None = None,
    version: str | None = None,
) -> Any:
    """Train `rounds` rounds in chunks, go on where a process before was killed, and return the whole model.

    params: the library's own, without the number of rounds and early stopping.
    data: a lightgbm.Dataset, xgboost.DMatrix or catboost.Pool; it decides the library.
    valid: another one; its metrics after each chunk are the history, `run.history(name)`.
    every: when to save: None after each chunk (as the run's budget allows), "30s", 5 for each fifth chunk.
    chunk: rounds in a chunk. The result depends on it: sampling starts anew with each.
    stop_after: so many chunks without a better metric end the fit, and the best chunk's model is returned. Judged is
        the first metric (LightGBM), the last one (XGBoost), or `eval_metric` (CatBoost).
    version: stands in for data whose content cannot be told from outside.

    Raises ChangedError when parameters, data, library or threads are others than those of what was saved, and
    UsageError for what cannot be resumed exactly.
    """
    _check(rounds, chunk, stop_after, valid)
    library = library_of(params, data, valid)
    total = math.ceil(rounds / chunk)
    session, track = run.enter_loop(
        name, total, every=every, place=place_of(caller()),
        fingerprint=lambda session: _fingerprint(session, library, chunk, stop_after, version),
    )  # fmt: skip
    state = _State()
    loop = Loop(session, track, name, total, sources_of(state.parts), None)
    run.enter_scope(loop)
    try:
        for number in loop:
            state.check_grows_from_whole_chunks(name, number * chunk)
            count, seed = (
                min(chunk, rounds - state.rounds),
                seed_for(run.seed or 0, loop.path, "chunk", number),
            )
            done = library.train(count, seed=seed, done=state.rounds, scores=state.scores)
            if stop_after is not None and not done.metrics:
                raise UsageError(
                    f"stop_after= of the fit {name!r} has no metric to look at; name one in the parameters"
                )
            state.add(done, number, count)
            loop.log({"rounds": state.rounds} | {f"valid_{k}": m.value for k, m in done.metrics.items()})
            track.batch_done()
            if stop_after is not None and state.is_stale(number, stop_after):
                loop.stop()
    finally:
        library.let_go()
    _check_complete(state, name, track.loop, rounds, chunk, stop_after)
    return library.join(state.models if stop_after is None else state.best_models())


def _check_complete(
    state: _State, name: str, path: str, rounds: int, chunk: int, stop_after: int | None
) -> None:
    """A fit that was complete before may have been asked for fewer rounds, or have ended with a part of a chunk."""
    stopped = stop_after is not None and state.is_stale(len(state.models) - 1, stop_after)
    if state.rounds != rounds and not stopped:
        raise UsageError(
            f"the fit {name!r} is complete with {state.rounds} rounds and is asked for {rounds}; ask for "
            f"{state.rounds}, or for more whole chunks of {chunk}, or start over with --redo {path}"
        )


def _check(rounds: int, chunk: int, stop_after: int | None, valid: Any) -> None:
    for name, value in (("rounds", rounds), ("chunk", chunk), ("stop_after", stop_after)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UsageError(f"{name}={value!r} is not possible; use a whole number from 1")
    if stop_after is not None and valid is None:
        raise UsageError("stop_after= looks at a metric on validation data; pass valid= too")


def _fingerprint(
    session: Session, library: Library, chunk: int, stop_after: int | None, version: str | None
) -> fingerprint.Fingerprint:
    """Of all that decides the model: not of the calling code, which reaches it by nothing else."""
    try:
        contents = library.contents()
    except UsageError:
        if version is None:
            raise
        contents = {}
    return fingerprint.of_values(
        {"params": library.settings, "chunk": chunk, "stop_after": stop_after},
        arguments=contents,
        libraries=("numpy", library.name),
        version=version,
        files=session.file_digests,
    )


class _State:
    """What a fit has come to. `parts` is what the loop saves and restores in place."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {
            "models": [],
            "scores": {},
            "progress": {"rounds": 0, "best": -1, "value": None},
        }

    @property
    def rounds(self) -> int:
        return int(self.parts["progress"]["rounds"])

    @property
    def scores(self) -> Scores | None:
        saved = self.parts["scores"]
        return Scores(saved["train"], saved.get("valid")) if saved else None

    @property
    def models(self) -> list[bytes]:
        return [model.tobytes() for model in self.parts["models"]]

    def best_models(self) -> list[bytes]:
        """Chunks up to the best one; all where no metric was a number."""
        best = self.parts["progress"]["best"]
        return self.models if best < 0 else self.models[: best + 1]

    def add(self, done: Chunk, number: int, rounds: int) -> None:
        self.parts["models"].append(np.frombuffer(done.model, np.uint8))
        scores = {"train": done.scores.train}
        if done.scores.valid is not None:
            scores["valid"] = done.scores.valid
        self.parts["scores"].update(scores)
        progress = self.parts["progress"]
        progress["rounds"] += rounds
        judged = next(iter(done.metrics.values()), None)
        if judged is not None and judged.beats(progress["value"]):
            progress["best"], progress["value"] = number, judged.value

    def is_stale(self, number: int, stop_after: int) -> bool:
        """Whether the last `stop_after` chunks up to `number` brought nothing better."""
        return number - int(self.parts["progress"]["best"]) >= stop_after

    def check_grows_from_whole_chunks(self, name: str, expected: int) -> None:
        """More rounds than before go on from whole chunks only: a short one in between gives another model."""
        if self.rounds != expected:
            raise UsageError(
                f"the fit {name!r} has ended with a part of a chunk, after {self.rounds} rounds, and cannot be made "
                f"longer with the same result; ask for rounds={self.rounds}, or start over with --redo"
            )
