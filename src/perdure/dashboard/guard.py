"""Who may ask: the token, the cookie that stands for it, and what every request is held to before it is answered.

A page of another site can make a browser send requests here, but not with this Host (DNS rebinding), nor with an
Origin of ours, nor with the cookie (SameSite=Strict), nor with the header that changes need.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

from h11 import LocalProtocolError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure import files

LOGIN = "/login"
TOKEN_HEADER = "X-Perdure-Token"  # noqa: S105 - a name
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_HARMLESS = {"GET", "HEAD"}
PAGE_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def token_file() -> Path:
    """Where this user's token is kept, across restarts."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "perdure" / "dashboard-token"


def token(path: Path) -> str:
    """The token in a file that only its owner can read (0600); a new one where there is none that can be trusted."""
    known = _trusted(path)
    if known is not None:
        return known
    made = secrets.token_urlsafe(32)
    files.make_folder(path.parent)
    files.publish(path, [made.encode()], kind="token")
    return made


def _trusted(path: Path) -> str | None:
    try:
        found = path.lstat()
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    private = sys.platform == "win32" or (found.st_uid == os.geteuid() and not found.st_mode & 0o077)
    return text if stat.S_ISREG(found.st_mode) and private and _TOKEN.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Access:
    """What a request must show: one of these hosts, and the token."""

    token: str
    port: int
    _invitations: set[str] = field(default_factory=set)

    @property
    def cookie(self) -> str:
        """Its name; cookies do not tell ports of one host apart."""
        return f"perdure-{self.port}"

    @property
    def address(self) -> str:
        """What a person opens."""
        return self._address(self.token)

    def invitation(self) -> str:
        """An address that is good for one login: what a browser is started with, other users of the machine can see."""
        code = secrets.token_urlsafe(32)
        self._invitations.add(code)
        return self._address(code)

    def _address(self, code: str) -> str:
        return f"http://127.0.0.1:{self.port}{LOGIN}?token={code}"

    def admits(self, given: str) -> bool:
        """Whether this opens the door: the token, or an invitation that was not used yet."""
        if given in self._invitations:
            self._invitations.discard(given)
            return True
        return self.is_token(given)

    def is_host(self, host: str) -> bool:
        given = host if ":" in host else f"{host}:80"  # which a browser leaves out
        return given in {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}

    def is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "surrogateescape"), self.token.encode())


class Guard:
    """ASGI middleware around the whole application: what is refused here reaches no route."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is None:
                await self._app(scope, receive, _with_headers(receive, send))
            else:
                code, text = refusal
                await JSONResponse({"error": text}, code)(scope, receive, _with_headers(receive, send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers, access = Headers(scope=scope), self._access
        if not access.is_host(headers.get("host", "")):
            return 403, "this server answers to 127.0.0.1 and localhost only"
        origin = headers.get("origin")
        if origin is not None and not access.is_host(origin.removeprefix("http://")):
            return 403, "requests of other sites are refused"
        if scope["path"] == LOGIN:
            return None
        given = cookie_parser(headers.get("cookie", "")).get(access.cookie, "")
        if not access.is_token(given):
            return 401, "open the address that `perdure ui` printed"
        if scope["method"] not in _HARMLESS and not access.is_token(headers.get(TOKEN_HEADER, "")):
            return 403, f"changes need the header {TOKEN_HEADER}"
        return None


def _with_headers(receive: Receive, send: Send) -> Send:
    """Every answer says how a browser must treat it; one that has said so itself keeps its word."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        try:
            await send(message)
        except (
            LocalProtocolError
        ):  # the server has answered a body that is no HTTP, and closes the connection
            while (await receive())["type"] != "http.disconnect":
                pass

    return sending
