"""`perdure ui`: the dashboard in a browser."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli.app import AsJson, command, emit, say
from perdure.errors import UsageError
from perdure.reading import is_run

_HOST = "127.0.0.1"


@command("ui")
def ui(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="The folder of the runs, one that holds it, or one run's. [default: runs]"
        ),
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 8181,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show all runs of a folder in a browser, live.

    The address holds a secret: only who has it can look, and only from this machine. Ctrl+C ends it; the runs go on.
    """
    try:
        from perdure.dashboard.server import open_dashboard
    except ModuleNotFoundError as error:
        raise UsageError(
            f'the dashboard needs {error.name!r}, which is not installed: pip install "perdure[ui]"'
        ) from error
    with _listening(port) as listener:
        dashboard = open_dashboard(_folder(folder), port=listener.getsockname()[1])
        if as_json:
            emit({"address": dashboard.address, "folder": str(dashboard.folder)})
        else:
            say(f"the dashboard is at {dashboard.address} (Ctrl+C ends it)")
        sys.stdout.flush()
        dashboard.serve(listener, browser=not no_browser)
    return 0


def _folder(given: Path | None) -> Path:
    """Where to look; runs/ need not be there yet."""
    place = (Path("runs") if given is None else given.expanduser()).absolute()
    if given is not None and not place.is_dir():
        raise UsageError(f"{place} is not a folder; name the folder of your runs")
    inside = place / "runs"
    holds = given is not None and inside.is_dir() and not is_run(inside) and not is_run(place)
    return inside if holds else place


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # `error.strerror` names the address once more
        raise UsageError(
            f"cannot listen on {_HOST} port {port} ({reason}); choose another --port, or 0 for a free one"
        ) from error
