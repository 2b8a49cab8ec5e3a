"""The web application: its routes, and how what they raise is answered."""

from __future__ import annotations

import json
import math
import mimetypes
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from perdure.dashboard import actions
from perdure.dashboard.answers import exports, records, units
from perdure.dashboard.answers.registry import Deployments
from perdure.dashboard.answers.runs import PROBLEMS, Runs, UnknownRunError, name_of, summary
from perdure.dashboard.guard import LOGIN, Access, Guard
from perdure.dashboard.watch import Watch
from perdure.errors import DamagedError, FormatError, LockedError, PerdureError, StorageError, UsageError
from perdure.overview import Overview

STATIC = Path(__file__).with_name("static")
_LARGEST_BODY = 64 << 10  # bytes
_SHOWN = {
    ".png",
    ".svg",
    ".json",
    ".csv",
    ".html",
    ".txt",
    ".md",
}  # in the browser; all else is handed over as a file
# A report may have its own style and pictures inside, and neither scripts nor anything from elsewhere.
_FILE_POLICY = (
    "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


class Json(JSONResponse):
    """JSON in ASCII, without NaN: any text and any number that a run has recorded can be parsed by a browser."""

    def render(self, content: Any) -> bytes:
        try:
            text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = json.dumps(_finite(content), allow_nan=False, separators=(",", ":"))
        return text.encode("ascii")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def application(runs: Runs, access: Access, watch: Watch) -> Starlette:
    """Everything that the browser asks for. Blocking reads run in threads."""
    pages = _Pages(runs, access, watch)
    api = [
        Route("/session", pages.session), Route("/runs", pages.runs_list), Route("/live", pages.live),
        Route("/runs/{run}", pages.one), Route("/runs/{run}/units", pages.units),
        Route("/runs/{run}/grid", pages.grid), Route("/runs/{run}/history", pages.history),
        Route("/runs/{run}/snapshots", pages.snapshots), Route("/runs/{run}/journal", pages.journal),
        Route("/runs/{run}/results", pages.results), Route("/runs/{run}/log", pages.log),
        Route("/runs/{run}/files/{path:path}", pages.file),
        *(Route(f"/runs/{{run}}/{name}", pages.action(name), methods=["POST"]) for name in actions.ACTIONS),
    ]  # fmt: skip
    problems: dict[Any, Any] = dict.fromkeys(PROBLEMS, _problem)
    return Starlette(
        routes=[
            Route(LOGIN, pages.login), Route("/", pages.index), Mount("/api", routes=api),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers=problems | {HTTPException: _refused},
    )  # fmt: skip


_CODES = {UnknownRunError: 404, exports.NoFileError: 404, UsageError: 400, LockedError: 409, DamagedError: 409,
          FormatError: 409, StorageError: 503}  # fmt: skip


def _problem(_: Request, error: Exception) -> Response:
    """What is wrong with a run, or with what was asked, is an answer."""
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), 409)
    if isinstance(error, PerdureError):
        return Json({"error": str(error)}, code)
    kind = "the database" if isinstance(error, sqlite3.Error) else "what is recorded"
    return Json(
        {"error": f"{kind} cannot be understood ({type(error).__name__}); run `perdure verify`"}, code
    )


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Json({"error": error.detail}, error.status_code, error.headers)


@dataclass(slots=True)
class _Pages:
    """The routes' answers."""

    watched: Runs
    access: Access
    watch: Watch
    busy: set[str] = field(default_factory=set)  # runs that an action is changing

    # -- the page ------------------------------------------------------------------------------------------------

    def login(self, request: Request) -> Response:
        if not self.access.admits(request.query_params.get("token", "")):
            return Json({"error": "the token is not right; open the address that `perdure ui` printed"}, 401)
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(self.access.cookie, self.access.token, httponly=True, samesite="strict", path="/")
        return answer

    def index(self, _: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    def session(self, _: Request) -> Response:
        return Json({"token": self.access.token, "version": version("perdure")})

    # -- runs ----------------------------------------------------------------------------------------------------

    def runs_list(self, _: Request) -> Response:
        listed = [summary(run, seen) for run, seen in self.watched.all_seen().items()]
        return Json({"folder": str(self.watched.folder), "runs": listed})

    def one(self, request: Request) -> Response:
        run = request.path_params["run"]
        seen = self.watched.seen(run)
        found = seen.overview
        saved = found.last_saved_at
        age = None if saved is None else max(0.0, self.watched.now() - saved)
        return Json(
            found.as_document() | {
                "id": run, "name": name_of(run), "seq": seen.seq, "message": seen.message, "command": seen.command,
                "last_saved_age_s": age, "progress": seen.progress,
                "actions": actions.possible(found, Deployments.of(seen.place)),
            }
        )  # fmt: skip

    def units(self, request: Request) -> Response:
        run, phase = request.path_params["run"], _text(request, "phase") or ""
        found = next((one for one in self._overview(run).phases if one.name == phase), None)
        left = None
        if found is not None and found.kind != "range" and found.total is not None:
            left = max(0, found.total - found.done - found.failed)
        with self.watched.opened(run) as (_, reader):
            return Json(
                units.units(
                    reader, phase=phase, state=_text(request, "state"), offset=_count(request, "offset", 0),
                    limit=_count(request, "limit", units.MOST), left=left,
                )
            )  # fmt: skip

    def grid(self, request: Request) -> Response:
        run = request.path_params["run"]
        seen = self._overview(run)
        with self.watched.opened(run) as (_, reader):
            return Json(units.grid(reader, seen, phase=_text(request, "phase") or ""))

    def history(self, request: Request) -> Response:
        run = request.path_params["run"]
        seen = self._overview(run)
        with self.watched.opened(run) as (_, reader):
            return Json(records.history(reader, seen, loop=_text(request, "loop")))

    def _overview(self, run: str) -> Overview:
        return self.watched.seen(run).overview

    def snapshots(self, request: Request) -> Response:
        with self.watched.opened(request.path_params["run"]) as (_, reader):
            return Json(records.snapshots(reader))

    def journal(self, request: Request) -> Response:
        before = _count(request, "before", -1)
        with self.watched.opened(request.path_params["run"]) as (_, reader):
            return Json(
                records.journal(
                    reader, before=None if before < 0 else before, limit=_count(request, "limit", 200),
                    event=_text(request, "event"), text=_text(request, "text"),
                )
            )  # fmt: skip

    def results(self, request: Request) -> Response:
        place = self.watched.place(request.path_params["run"])
        deployments = Deployments.of(place)
        return Json(exports.results(place) | {"registry": deployments.as_document() if deployments else None})

    def log(self, request: Request) -> Response:
        place = self.watched.place(request.path_params["run"])
        return Json(exports.log(place, lines=_count(request, "lines", 200)))

    def file(self, request: Request) -> Response:
        path = exports.file(self.watched.place(request.path_params["run"]), request.path_params["path"])
        headers = {"Content-Security-Policy": _FILE_POLICY, "Cache-Control": "no-cache"}
        shown = path.suffix.lower() in _SHOWN
        kind = mimetypes.guess_type(path.name)[0] if shown else None
        return FileResponse(
            path, media_type=kind or "application/octet-stream", headers=headers,
            filename=None if shown else path.name,
        )  # fmt: skip

    # -- live ----------------------------------------------------------------------------------------------------

    async def live(self, request: Request) -> Response:
        stream: AsyncIterator[str] = self.watch.events(_text(request, "run"))
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    # -- actions -------------------------------------------------------------------------------------------------

    def action(self, name: str) -> Callable[[Request], Any]:
        """The answer to a POST."""

        async def act(request: Request) -> Response:
            run = request.path_params["run"]
            place = self.watched.place(run)
            asked = actions.Request.of(await _document(request))
            if run in self.busy:
                raise LockedError(
                    f"something else is being done with {name_of(run)} right now; try again shortly"
                )
            self.busy.add(run)
            try:
                said = await run_in_threadpool(actions.ACTIONS[name], place, asked)
            finally:
                self.busy.discard(run)
            return Json({"ok": True, "said": said})

        return act


async def _document(request: Request) -> Any:
    """The JSON of a request; None where there is none. Raises UsageError."""
    content = b""
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > _LARGEST_BODY:
                raise UsageError("the request is too large")
    except ClientDisconnect:
        raise UsageError("the request was broken off") from None
    try:
        return json.loads(content) if content.strip() else None
    except (ValueError, RecursionError):
        raise UsageError("the request is not JSON") from None


def _text(request: Request, name: str) -> str | None:
    return request.query_params.get(name) or None


def _count(request: Request, name: str, default: int) -> int:
    """A whole number from the query. Raises UsageError."""
    given = request.query_params.get(name)
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise UsageError(f"{name}={given[:40]!r} is not a whole number")
    return int(given)
