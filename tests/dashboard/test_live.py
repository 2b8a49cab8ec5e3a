"""`perdure ui` as people use it: a process, a browser that listens, runs that train and die beside it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import LONG, environment, perdure, script, started, wait_for
from perdure.cli.runs import ui
from perdure.dashboard.watch import Watch

BROWSER = """
import sys, webbrowser
webbrowser.open = lambda address: open(sys.argv[1], "w").write(address)
from perdure.cli import main
main(["ui", "--port", "0"])
"""


class Visitor:
    """A browser that has opened the printed address."""

    def __init__(self, address: str) -> None:
        place = urllib.parse.urlsplit(address)
        assert place.hostname == "127.0.0.1" and place.port
        self.port, self.host = place.port, f"127.0.0.1:{place.port}"
        status, headers, _ = self.get(f"{place.path}?{place.query}")
        assert status == 303
        self.cookie = str(headers["set-cookie"]).partition(";")[0]

    def _asked(self, path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers={"Cookie": getattr(self, "cookie", "")})
        return connection.getresponse()

    def get(self, path: str):
        answer = self._asked(path)
        return answer.status, answer.headers, answer.read()

    def ask(self, path: str):
        status, _, content = self.get(path)
        assert status == 200, content
        return json.loads(content)

    def listen(self, path: str, changes: list[dict]) -> threading.Thread:
        """Collect what the stream says, until it ends."""
        answer = self._asked(path)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.readline() == b": listening\n"
        thread = threading.Thread(target=_collect, args=(answer, changes), daemon=True)
        thread.start()
        return thread


def _collect(answer: http.client.HTTPResponse, changes: list[dict]) -> None:
    name = b""
    for line in answer:
        if line.startswith(b"event:"):
            name = line.split(b":", 1)[1].strip()
        elif line.startswith(b"data:") and name == b"change":
            changes.append(json.loads(line[5:]))


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[tuple[Visitor, subprocess.Popen[str]]]:
    """A dashboard over tmp_path/runs, which is not there yet."""
    child = subprocess.Popen(
        [sys.executable, "-m", "perdure", "ui", "--no-browser", "--port", "0", "--json"], cwd=tmp_path,
        env=environment(XDG_STATE_HOME=str(tmp_path / "state")), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert child.stdout is not None
    text = ""
    while not text.endswith("}\n"):
        line = child.stdout.readline()
        assert line, child.communicate()
        text += line
    document = json.loads(text)
    assert document["folder"] == str(tmp_path / "runs") and set(document) == {"address", "folder"}
    yield Visitor(document["address"]), child
    child.kill()
    child.communicate()


def test_a_browser_hears_of_commits_and_of_a_killed_run_and_ctrl_c_ends_it_all(
    dashboard, tmp_path: Path
) -> None:
    visitor, server = dashboard
    changes: list[dict] = []
    other: list[dict] = []
    stream = visitor.listen("/api/live", changes)
    visitor.listen("/api/live?run=another", other)
    assert visitor.ask("/api/runs") == {"folder": str(tmp_path / "runs"), "runs": []}

    trainer = started("run", script(tmp_path, LONG), folder=tmp_path)
    threading.Thread(target=trainer.wait, daemon=True).start()
    wait_for(lambda: len(changes) >= 3 and visitor.ask("/api/runs/long")["phases"])
    assert {run for change in changes for run in change["runs"]} == {"long"}
    assert [change["seq"] for change in changes] == list(range(1, len(changes) + 1))
    running = visitor.ask("/api/runs/long")
    assert (running["state"], running["alive"], running["actions"]) == ("running", True, ["stop"])
    wait_for(lambda: visitor.ask("/api/runs/long/history")["positions"])

    os.kill(running["pid"], signal.SIGKILL)
    wait_for(lambda: not visitor.ask("/api/runs")["runs"][0]["alive"])
    found = visitor.ask("/api/runs/long")
    assert (found["state"], found["attempt_log"][-1]["outcome"]) == ("stopped", "killed")
    assert visitor.ask("/api/runs/long/history")["interruptions"][-1]["outcome"] == "killed"
    assert visitor.ask("/api/runs/long")["actions"] == ["reset"]
    assert other == []

    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=60) == 0
    assert server.stderr is not None and server.stderr.read() == ""
    stream.join(timeout=60)
    assert not stream.is_alive()


def test_the_death_of_a_process_is_told_although_nothing_is_written(dashboard, tmp_path: Path) -> None:
    visitor, _ = dashboard
    holder = subprocess.Popen(
        [sys.executable, "-c", "import perdure; perdure.open('runs/idle'); print('open', flush=True); input()"],
        cwd=tmp_path, env=environment(PERDURE_RUN=str(tmp_path / "runs" / "idle")), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == "open\n"
    assert visitor.ask("/api/runs/idle")["state"] == "running"
    changes: list[dict] = []
    visitor.listen("/api/live?run=idle", changes)
    holder.kill()
    holder.communicate()
    wait_for(lambda: changes)
    assert changes[0]["runs"] == ["idle"]
    assert visitor.ask("/api/runs/idle")["state"] == "stopped"


def test_nothing_is_missed_by_who_asks_after_the_stream_has_begun() -> None:
    looks: list[dict[str, object]] = []

    class Slow:
        def marks(self) -> dict[str, object]:
            time.sleep(0.2)
            looks.append({})
            return looks[-1]

    async def first() -> str:
        return await anext(Watch(Slow()).events(None))  # type: ignore[arg-type]

    assert asyncio.run(first()).startswith(": listening\nevent: listening\n")
    assert len(looks) == 1  # the look that later ones are compared with


def test_the_browser_is_started_with_an_address_that_is_good_only_once(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    program = script(tmp_path, BROWSER, name="browser.py")
    child = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path / "opened")], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env=environment(XDG_STATE_HOME=str(tmp_path / "state"), BROWSER="one"),
    )  # fmt: skip
    assert child.stdout is not None
    line = child.stdout.readline()
    wait_for(lambda: (tmp_path / "opened").exists() and (tmp_path / "opened").read_text())
    opened = (tmp_path / "opened").read_text()
    printed = next(word for word in line.split() if word.startswith("http"))
    assert (tmp_path / "state" / "perdure" / "dashboard-token").read_text() in printed
    assert opened != printed, "others can see with what a browser is started"
    assert Visitor(opened).ask("/api/session")["token"] in printed
    with pytest.raises(AssertionError):
        Visitor(opened)
    assert Visitor(printed).ask("/api/runs")["runs"] == []
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=60) == 0
    child.communicate()


def test_a_busy_port_and_a_folder_that_is_none_are_told_as_usage(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        result = perdure("ui", tmp_path, "--no-browser", "--port", port)
    assert result.exit_code == 2 and f"port {port}" in result.stderr and "--port" in result.stderr
    result = perdure("ui", tmp_path / "none", "--no-browser")
    assert result.exit_code == 2 and "not a folder" in result.stderr


def test_a_folder_that_holds_the_runs_is_looked_into(folder: Path) -> None:
    assert ui._folder(folder.parent) == ui._folder(folder) == folder
    assert ui._folder(folder / "grid") == folder / "grid"


def test_it_listens_on_this_machine_alone() -> None:
    with ui._listening(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_missing_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "perdure.dashboard.server", raising=False)
    result = perdure("ui", tmp_path, "--no-browser", "--port", "0")
    assert result.exit_code == 2
    assert 'pip install "perdure[ui]"' in result.stderr and "'uvicorn'" in result.stderr
