"""Nobody but the person who has the address is answered."""

from __future__ import annotations

import logging
import os
import socket
import threading
from pathlib import Path

import pytest
import uvicorn
from starlette.routing import Mount, Route

from dashboards import PORT, SECRET, TOKEN, client, make_grid
from perdure.dashboard import guard
from perdure.dashboard.answers.runs import Runs, id_of
from perdure.dashboard.application import application
from perdure.dashboard.guard import Access
from perdure.dashboard.server import _server
from perdure.dashboard.watch import Watch

HERE = {"Host": f"localhost:{PORT}", "Origin": f"http://localhost:{PORT}"}


def addresses(routes, base: str = "") -> list[tuple[str, str]]:
    """(method, address) of every route that there is."""
    found = []
    for route in routes:
        if isinstance(route, Route):
            path = base + route.path.replace("{run}", "grid").replace("{path:path}", "a.json")
            found += [(method, path) for method in sorted(route.methods)]
        elif isinstance(route, Mount):
            found += addresses(route.routes, base + route.path) or [("GET", f"{base}{route.path}/app.js")]
    return found


@pytest.fixture
def every(folder: Path) -> list[tuple[str, str]]:
    found = addresses(client(folder, logged_in=False).app.routes)
    assert len(found) > 25
    assert {("POST", "/api/runs/grid/reset"), ("GET", "/static/app.js"), ("GET", "/api/live")} <= set(found)
    return found


def test_no_route_but_the_login_answers_without_the_cookie(folder: Path, every) -> None:
    stranger = client(folder, logged_in=False)
    for method, path in [*every, ("GET", "/no/such/page"), ("OPTIONS", "/api/runs"), ("DELETE", "/")]:
        if path == guard.LOGIN:
            continue
        answer = stranger.request(method, path, headers={guard.TOKEN_HEADER: TOKEN})
        assert answer.status_code == 401, (method, path)
        assert "grid" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"}, {"Host": "127.0.0.1"}, {"Host": f"127.0.0.1:{PORT + 1}"}, {"Host": ""},
        {"Host": f"evil.example:{PORT}"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
        {"Origin": f"https://127.0.0.1:{PORT}"}, {"Origin": f"http://127.0.0.1:{PORT}.evil.example"},
        {"Origin": ""},
    ],
    ids=str,
)  # fmt: skip
def test_no_route_answers_another_host_or_origin_even_with_the_cookie(folder: Path, every, headers) -> None:
    tricked = client(folder)
    for method, path in every:
        answer = tricked.request(method, path, headers={**headers, guard.TOKEN_HEADER: TOKEN})
        assert answer.status_code == 403, (method, path)


def test_port_80_is_answered_though_a_browser_leaves_it_out() -> None:
    assert guard.Access(TOKEN, 80).is_host("127.0.0.1") and guard.Access(TOKEN, 80).is_host("localhost:80")


def test_a_change_needs_the_token_in_a_header_too(folder: Path, every) -> None:
    forged = client(folder, headers=HERE)
    changes = [path for method, path in every if method not in {"GET", "HEAD"}]
    assert len(changes) == 5
    for path in changes:
        for header in ({}, {guard.TOKEN_HEADER: "x" * 43}, {guard.TOKEN_HEADER: "é".encode()}):
            assert forged.post(path, headers=header).status_code == 403, path


def test_the_login_takes_the_token_alone_and_gives_a_cookie_that_no_script_and_no_other_site_has(
    folder,
) -> None:
    stranger = client(folder, logged_in=False)
    for wrong in ("", "x" * 43, TOKEN + "t", "é"):
        refused = stranger.get("/login", params={"token": wrong}, follow_redirects=False)
        assert refused.status_code == 401 and "set-cookie" not in refused.headers
    answer = stranger.get("/login", params={"token": TOKEN}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "domain" not in cookie
    assert stranger.get("/api/session", headers=HERE).json()["token"] == TOKEN


def test_every_answer_forbids_foreign_content_and_guessing_of_types(folder: Path, every) -> None:
    for browser in (client(folder), client(folder, logged_in=False)):
        for path in ("/", "/api/session", "/api/runs", "/api/runs/none", "/static/app.js", "/no/such/page"):
            headers = browser.get(path).headers
            assert "default-src 'self'" in headers["content-security-policy"], path
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in headers


def test_a_secret_of_the_environment_is_in_no_answer(
    folder: Path, every, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_TOKEN", SECRET)
    browser = client(folder)
    for run in (path.name for path in folder.iterdir()):
        for method, path in every:
            if method == "GET" and path not in {"/api/live", guard.LOGIN}:
                answer = browser.get(path.replace("grid", id_of(run)))
                assert SECRET not in answer.text, path


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_token_is_kept_in_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "token"
    first = guard.token(path)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert guard.token(path) == first and len(first) == 43
    path.chmod(0o644)
    second = guard.token(path)
    assert second != first and path.stat().st_mode & 0o777 == 0o600, "others may have read it"
    path.write_text("short")
    assert guard.token(path) not in {first, second, "short"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_link_in_the_place_of_the_token_file_is_not_followed(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.write_text("k" * 43)
    planted.chmod(0o600)
    path = tmp_path / "token"
    path.symlink_to(planted)
    assert guard.token(path) != "k" * 43
    assert not path.is_symlink() and planted.read_text() == "k" * 43


BROKEN_OFF = b"Content-Length: 500\r\n\r\n{"
NO_HTTP = b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"


@pytest.mark.parametrize("body", [BROKEN_OFF, NO_HTTP])
@pytest.mark.parametrize("given", [f"X-Perdure-Token: {TOKEN}\r\n".encode(), b""])
def test_a_request_that_breaks_off_or_is_no_http_leaves_nothing_on_the_terminal(
    tmp_path: Path, body: bytes, given: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    make_grid(tmp_path / "grid")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        access, runs = Access(TOKEN, port), Runs(tmp_path)
        app = application(runs, access, watch := Watch(runs))
        server = _server(uvicorn.Config(app, lifespan="off", http="h11", log_config=None), watch)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                who = f"Host: 127.0.0.1:{port}\r\nCookie: {access.cookie}={TOKEN}\r\n".encode()
                client.sendall(b"POST /api/runs/grid/stop HTTP/1.1\r\n" + who + given + body)
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass
        finally:
            server.should_exit = True
            thread.join(timeout=20)
    assert [line.getMessage() for line in caplog.records if line.levelno >= logging.ERROR] == []
