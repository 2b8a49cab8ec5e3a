"""`perdure report`: a run as one page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure.cli.app import AsJson, RunArgument, command, emit, recorded, run_folder, say, size_of
from perdure.cli.records.target import target


@command("report")
def report(
    run: RunArgument = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to; by default into the run's exports/."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Write a run's report, one HTML file that needs nothing else.

    What ran and when, attempts and what ended them, what interruptions cost and resuming saved, curves, values,
    failures, tables, digests, versions, plots. A run that completes writes one by itself: exports/report.html, or
    exports/run.html where the run makes a report.html of its own; PERDURE_REPORT=0 leaves it out.
    """
    from perdure import report as reports

    folder = run_folder(run)
    path = target(output) if output is not None else reports.place_for(folder).absolute()
    with recorded(folder) as reader:
        size = reports.write(folder, reader, path, thorough=True)
    if as_json:
        emit({"run": str(folder), "file": str(path), "bytes": size})
    else:
        say(f"wrote {path} ({size_of(size)})")
    return 0
