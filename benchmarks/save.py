"""The cost of a save: what the training thread waits, and how long until the state is on disk."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import contenders
from benchmarks.contenders import Contender, Sample
from benchmarks.table import RESULTS, Goal, Line, median, show

# Goals as multiples of what the machine itself takes in the same run, for machines differ by a factor of two: the stall
# of a memcpy, the time to durable of a write and fdatasync. On the machine that they were set on, where these took 0.8,
# 12 and 72 ms and 9.6, 62 and 310 to 840 ms, they were 2, 15 and 90 ms, and 14 and 75 ms and 1.2 times the write.
_GOALS = {12: (2 / 0.8, 14 / 9.6), 100: (15 / 12, 75 / 62), 1000: (90 / 72, 1.2)}
_ROUNDS = {12: 25, 100: 11, 1000: 5}
_FLOOR = "write + fdatasync"


def run(*, sizes: tuple[int, ...] = (12, 100, 1000), slow: bool = False) -> None:
    """slow: also what takes half a minute a save."""
    for megabytes in sizes:
        _run_size(megabytes, slow=slow)


def _run_size(megabytes: int, *, slow: bool) -> None:
    RESULTS.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=RESULTS, prefix="save-"))
    with ExitStack() as ends:
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        samples = _rounds(_contenders(megabytes, folder, ends, slow=slow), _ROUNDS[megabytes])
    _report(megabytes, samples)


def _contenders(
    megabytes: int, folder: Path, ends: ExitStack, *, slow: bool
) -> dict[str, tuple[Contender, int]]:
    """Each with the number of rounds that it sits out between two of its own."""
    state = contenders.keras_like(megabytes)
    chosen: dict[str, tuple[Contender, int]] = {
        "memcpy": (contenders.copying(state), 0),
        _FLOOR: (contenders.writing(state, folder), 0),
        "perdure": (contenders.perdure_loop(state, folder / "run", ends), 0),
        "safetensors": (contenders.safetensors(state, folder / "safetensors"), 0),
        "torch.save": (contenders.torch_save(state, folder / "torch"), 0),
        "torch DCP async": (contenders.torch_dcp(state, folder / "dcp"), 0),
    }
    if megabytes < 1000:
        chosen["Orbax async"] = (contenders.orbax(state, folder / "orbax"), 0)
        chosen["Keras .keras"] = (contenders.keras_model(state, folder / "keras"), 0)
    if megabytes < 1000 or slow:
        chosen["np.savez_compressed"] = (contenders.savez_compressed(state, folder / "npz"), 4)
    return chosen


def _rounds(chosen: dict[str, tuple[Contender, int]], rounds: int) -> dict[str, list[Sample]]:
    """Take turns, so that whatever else the machine does hits all alike. The first two turns warm up.

    Each turn begins with another one, and nobody pays for pages that another left to be written.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in chosen}
    names = list(chosen)
    for number in range(-2, rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            save, pause = chosen[name]
            if number % (pause + 1):
                continue
            _sync_all()
            sample = save(number)
            if number >= 0:
                samples[name].append(sample)
    return samples


def _sync_all() -> None:
    if sys.platform != "win32":
        os.sync()


def _report(megabytes: int, samples: dict[str, list[Sample]]) -> None:
    stalls = {name: 1e3 * median([s.stall for s in taken]) for name, taken in samples.items()}
    durables = {name: 1e3 * median([s.durable for s in taken]) for name, taken in samples.items()}
    lines = []
    for name in samples:
        values = {"stall": stalls[name], "x memcpy": stalls[name] / stalls["memcpy"]}
        if name != "memcpy":
            values |= {"durable": durables[name], "x write": durables[name] / durables[_FLOOR]}
        lines.append(Line(name, values, _goals(megabytes) if name == "perdure" else {}))
    show(
        f"Save {megabytes} MB: median of {_ROUNDS[megabytes]} rounds, milliseconds",
        ["stall", "x memcpy", "durable", "x write"],
        lines,
    )


def _goals(megabytes: int) -> dict[str, Goal]:
    stall, durable = _GOALS[megabytes]
    return {"x memcpy": Goal(stall), "x write": Goal(durable)}
