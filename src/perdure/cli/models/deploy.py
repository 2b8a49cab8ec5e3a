"""`perdure promote`, `rollback`, `explain` and `serve`: what becomes of a model that a pipeline trained."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli.app import AsJson, command, emit, say, table, terminal_width
from perdure.cli.models.pipelines import part_of
from perdure.errors import UsageError

if TYPE_CHECKING:
    from perdure.pipelines.market.deployment.registry import Registry

_DEPLOYABLE = ("market",)
Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="A built-in pipeline that has a registry: market.")
]
Place = Annotated[
    Path | None,
    typer.Option("--registry", metavar="FILE", help="The registry. [default: runs/registry.db]"),
]
Version = Annotated[int | None, typer.Option(metavar="N", min=1, help="A version, by its number.")]
Source = Annotated[
    str | None, typer.Option(metavar="NAME", help="Where data come from. [default: as in training]")
]


@command("promote")
def promote(
    target: Target = "market",
    version: Version = None,
    force: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Promote what the gate did not pass; the reason is recorded."),
    ] = None,
    registry: Place = None,
    as_json: AsJson = False,
) -> int:
    """Make a trained model the champion: the one that predicts.

    Without --version it is the challenger, the model that was trained last. A model that the gate did not pass is
    refused. `perdure rollback` undoes a promotion.
    """
    with _registry(target, registry) as opened:
        done = opened.promote(target, version, who=_who(), force=force)
        verdicts = opened.gate(target, done.version)
    if as_json:
        emit({"deployment": asdict(done), "gate": [asdict(verdict) for verdict in verdicts]})
        return 0
    if verdicts:
        rows = [(one.verdict, one.check, one.text) for one in verdicts]
        say(table(("verdict", "check", "number"), rows, width=terminal_width()))
    before = "the first one" if done.replaced is None else f"before it: version {done.replaced}"
    forced = f"; forced: {done.reason}" if done.forced else ""
    say(f"version {done.version} is the champion of {target} ({before}{forced})")
    return 0


@command("rollback")
def rollback(
    target: Target = "market",
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it is recorded.")] = None,
    registry: Place = None,
    as_json: AsJson = False,
) -> int:
    """Make the champion before this one champion again.

    A second rollback goes back one promotion further.
    """
    with _registry(target, registry) as opened:
        done = opened.rollback(target, who=_who(), reason=reason)
    if as_json:
        emit({"deployment": asdict(done)})
    else:
        say(f"version {done.version} is the champion of {target} again (it replaces version {done.replaced})")
    return 0


@command("explain")
def explain(
    target: Target,
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="Such as AAPL.")],
    asof: Annotated[
        str | None,
        typer.Option(metavar="DAY", help="As of the close of this day, 2025-12-31. [default: today]"),
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="So many features of each model.")] = 10,
    version: Version = None,
    source: Source = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for a picture of each symbol.")
    ] = None,
    registry: Place = None,
    as_json: AsJson = False,
) -> int:
    """Say which features made the forecast of a symbol.

    Shown is what each feature added to the output of each base model of the champion, or of --version.
    """
    path = _path(target, registry)
    with redirect_stdout(sys.stderr):  # libraries that greet must not spoil a JSON document
        part = part_of(target, "deployment.explanation")
        found = part.explain_as_of(
            path, symbols, asof=asof, version=version, source=source, top=top, output=output
        )
    if as_json:
        emit({"explanations": [asdict(one) for one in found]})
        return 0
    for one in found:
        say(*part.lines(one))
    if output is not None:
        say(f"pictures: {output}")
    return 0


@command("serve")
def serve(
    target: Target,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Others than this machine need another address.")
    ] = "127.0.0.1",
    source: Source = None,
    registry: Place = None,
    as_json: AsJson = False,
) -> int:
    """Answer GET /predict?symbol=AAPL&asof=2025-12-31, /model and /health with the champion.

    A promotion or rollback counts from the next request on. /openapi.json describes the answers. There is no
    password: keep the address, or put a proxy that asks for one before it. Ctrl+C ends it.
    """
    with _registry(target, registry) as opened:
        part_of(target, "deployment.prediction").current(opened)  # better told now than by every answer
        path = opened.path
    application = part_of(target, "deployment.serving").app(path, source=source)
    with _listening(host, port) as listener:
        address = f"http://{host}:{listener.getsockname()[1]}"
        if as_json:
            emit({"address": address, "registry": str(path)})
        else:
            say(f"{target} answers on {address} (Ctrl+C ends it)")
        _run(application, listener)
    return 0


def _run(application: Any, listener: socket.socket) -> None:
    import uvicorn

    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(application, log_level="warning")).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host} port {port} ({error.strerror}); choose another --port or --host"
        ) from error


def _registry(target: str, given: Path | None) -> Registry:
    path = _path(target, given)
    found: Registry = part_of(target, "deployment.registry").Registry.existing(path)
    return found


def _path(target: str, given: Path | None) -> Path:
    if target not in _DEPLOYABLE:
        raise UsageError(f"{target!r} has no registry of models; there are: {', '.join(_DEPLOYABLE)}")
    path = Path("runs") / "registry.db" if given is None else given.expanduser()
    return path.absolute()


def _who() -> str:
    """The person at the keyboard, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
