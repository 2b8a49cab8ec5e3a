"""The built-in pipelines as the command line knows them: their own options, and `perdure predict`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from perdure.cli.app import AsJson, command, emit, run_folder, say
from perdure.errors import UsageError


def _place(text: str) -> Path:
    place = Path(text).expanduser()
    if not place.exists():
        raise UsageError(f"{place}: there is no such file or folder")
    return place


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"{text!r} is not a number of seconds; use 0 or more")
    return value


def _limit(text: str) -> float:
    if not (value := _seconds(text)):
        raise UsageError(f"{text!r} leaves no time; use more than 0 seconds")
    return value


@dataclass(frozen=True, slots=True)
class Pipeline:
    """preset: the one without --preset. options: `--name` -> how its value is read; None for a mere switch."""

    preset: str
    options: Mapping[str, Callable[[str], Any] | None] = field(default_factory=dict)


PIPELINES = {
    "exoplanet": Pipeline("small", {"--data": _place}),
    "market": Pipeline("quick", {"--source": str, "--pace": _seconds, "--timeout": _limit, "--leak": None}),
}


def options_of(target: str, arguments: Sequence[str]) -> dict[str, Any]:
    """A pipeline's own options, by the names of its `main`. Raises UsageError for what it does not know."""
    known, found, words = PIPELINES[target].options, {}, list(arguments)
    while words:
        name, separator, value = words.pop(0).partition("=")
        if name not in known:
            raise UsageError(f"{name!r} is not understood; the {target} pipeline takes {', '.join(known)}")
        read = known[name]
        if read is None and separator:
            raise UsageError(f"{name} is a switch and takes no value; it got {value!r}")
        if read is not None and not separator:
            if not words:
                raise UsageError(f"{name} needs a value")
            value = words.pop(0)
        found[name.removeprefix("--")] = True if read is None else _read(name, read, value)
    return found


def _read(name: str, read: Callable[[str], Any], value: str) -> object:
    try:
        return read(value)
    except UsageError as error:
        raise UsageError(f"{name} {error}") from error


def part_of(target: str, part: str) -> Any:
    """A module of a pipeline. Raises UsageError saying what to install."""
    import importlib

    try:
        return importlib.import_module(f"perdure.pipelines.{target}.{part}")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the {target} pipeline needs {error.name!r}, which is not installed: pip install 'perdure[{target}]'"
        ) from error


@command("predict")
def predict(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A built-in pipeline: exoplanet, market.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT", help="Files and folders of light curves; or symbols, all by default."
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="DIR", help="The run that trained. [default: runs/TARGET]")
    ] = None,
    asof: Annotated[
        str | None,
        typer.Option(metavar="DAY", help="market: as of the close of this day, 2025-12-31. [default: today]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for the predictions; exoplanet: a run of its own, resumable."
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Predict with what a pipeline trained; market: with the champion of the registry beside its run.

    Exit code 3 when some of the inputs could not be read. Data that are too old are refused.
    """
    if target not in PIPELINES:
        raise UsageError(f"{target!r} is not a built-in pipeline; there are: {', '.join(PIPELINES)}")
    given: list[Any] = list(inputs or [])
    options: dict[str, Any] = {"output": output}
    if target == "market":
        options |= {"run": Path(run or Path("runs") / target), "asof": asof}
    else:
        given = _files(given, target, asof)
        options["run"] = run_folder(run if run is not None else _trained(target))
    part = part_of(target, "prediction")
    with redirect_stdout(sys.stderr):
        code, document = part.predict(given, **options)
    if as_json:
        emit(document)
    else:
        _tell_predictions(document)
    return int(code)


def _trained(target: str) -> str:
    place = Path("runs") / target
    if not place.is_dir():
        raise UsageError(
            f"there is no run {place.absolute()}; train one first with `perdure run {target}`, or name the run that "
            "trained with --run"
        )
    return str(place)


def _files(inputs: Sequence[str], target: str, asof: str | None) -> list[Path]:
    """Files and folders that are there."""
    if asof is not None:
        raise UsageError(f"--asof is for the market; {target} has no days to choose from")
    if not inputs:
        raise UsageError(f"nothing to predict: name files or folders, as in `perdure predict {target} DIR`")
    missing = [name for name in inputs if not Path(name).exists()]
    if missing:
        raise UsageError(f"there is no file or folder {', '.join(missing)}")
    return [Path(name) for name in inputs]


def _tell_predictions(document: dict[str, Any]) -> None:
    from perdure.console import printable

    for line in document["lines"]:
        print(printable(line))
    for name, reason in document["failed"].items():
        say(f"{name}: {reason}")
    if not document["lines"] and not document["failed"]:
        say("nothing was predicted: the inputs hold no star with numbers")
    if document["exports"] is not None:
        say(f"predictions: {document['exports']}")
