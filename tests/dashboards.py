"""Small runs to look at in a dashboard, and the stand-in for a browser that has logged in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

import perdure
from perdure.dashboard.answers.runs import Runs
from perdure.dashboard.application import application
from perdure.dashboard.guard import Access
from perdure.dashboard.watch import Watch

PORT = 8181
TOKEN = "t" * 43
SECRET = "canary-5e1f-in-the-environment"
HOSTILE = [
    "<img src=x onerror=alert(1)>", "../../etc/passwd", 'a"b\\c', "line\nbreak", "\u202egnp", "\x1b[31m", "/", "~1",
]  # fmt: skip
HOSTILE_NAME = "hostile <b>&'%2e"
HOSTILE_PHASE = "<b>units"


def client(
    folder: Path, *, logged_in: bool = True, headers: dict[str, str] | None = None, only: str | None = None
) -> TestClient:
    """A browser's stand-in. What the application does not answer is raised."""
    runs = Runs(folder, only=only)
    app = application(runs, Access(TOKEN, PORT), Watch(runs))
    made = TestClient(app, base_url=f"http://127.0.0.1:{PORT}", headers=headers)
    if logged_in:
        assert made.get("/login", params={"token": TOKEN}, follow_redirects=False).status_code == 303
    return made


def change(browser: TestClient, run: str, action: str, code: int = 200, **body: Any) -> Any:
    """What a POST is answered with."""
    answer = browser.post(f"/api/runs/{run}/{action}", json=body, headers={"X-Perdure-Token": TOKEN})
    assert answer.status_code == code, answer.text
    return answer.json()


def make_hostile(folder: Path) -> None:
    with perdure.open(folder, budget=None, phases=[HOSTILE_PHASE]) as run:
        for unit in run.each(HOSTILE_PHASE, HOSTILE, version="1"):
            unit.result = unit.key
            run.log(**{"<i>loss</i>": float("nan"), "text": "</script>", "loss": 1.0})


def make_grid(folder: Path) -> None:
    with perdure.open(folder, budget=None) as run:
        for unit in run.each("models", ["forest, fold 1", "forest, fold 2", "net, fold 1"], version="1"):
            for _ in run.range("rounds", 3, version="1"):
                run.log(loss=0.5)
            run.insert("facts", [{"sector": unit.key.partition(",")[0]}])
        for item in run.each("plain", {"a/b": "one", "c": "two"}, version="1"):
            for _ in run.range("steps", 2, version="1"):
                pass
            item.result = 1
