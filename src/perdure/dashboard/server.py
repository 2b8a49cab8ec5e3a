"""The server's process: from a folder to a listening dashboard, until Ctrl+C."""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from perdure.dashboard.answers.runs import Runs
from perdure.dashboard.application import application
from perdure.dashboard.guard import Access, token, token_file
from perdure.dashboard.watch import Watch
from perdure.reading import is_run


@dataclass(frozen=True, slots=True)
class Dashboard:
    """What `perdure ui` serves."""

    folder: Path
    access: Access
    app: Starlette
    watch: Watch

    @property
    def address(self) -> str:
        """What a person opens; it holds the token."""
        return self.access.address

    def serve(self, listener: socket.socket, *, browser: bool) -> None:
        """Answer until Ctrl+C or SIGTERM; open a browser first, if asked to."""
        config = uvicorn.Config(
            self.app, log_level="error", access_log=False, lifespan="off", server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=3, http="h11",
        )  # fmt: skip
        if browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(self.access.invitation(),), daemon=True).start()
        try:
            _server(config, self.watch).run(sockets=[listener])
        except KeyboardInterrupt:
            pass  # the way to end it


def _has_screen() -> bool:
    """Whether a browser would get a window; one for the terminal would fight with what is printed there."""
    wanted = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform in {"win32", "darwin"} or any(os.environ.get(name) for name in wanted)


def _server(config: Any, watch: Watch) -> Any:
    """A server that ends the streams which browsers keep open: it waits for the end of every answer."""
    server = uvicorn.Server(config)
    usual = server.handle_exit

    def handle_exit(number: int, frame: FrameType | None) -> None:
        watch.close()
        usual(number, frame)

    server.handle_exit = handle_exit
    return server


def open_dashboard(folder: Path, *, port: int) -> Dashboard:
    """A dashboard over the runs of a folder, or over one run."""
    runs = Runs(folder.parent, only=folder.name) if is_run(folder) else Runs(folder)
    access = Access(token(token_file()), port)
    watch = Watch(runs)
    return Dashboard(folder, access, application(runs, access, watch), watch)
