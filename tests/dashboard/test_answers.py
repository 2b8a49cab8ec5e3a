"""What the pages of one run are given: units, grid, history, snapshots, journal, results, files, log."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from dashboards import HOSTILE, HOSTILE_NAME, HOSTILE_PHASE, client
from inprocess import Dead, killed
from perdure.dashboard.answers import records
from perdure.dashboard.answers.runs import id_of


def ask(browser, run: str, part: str = "", **parameters):
    answer = browser.get(f"/api/runs/{run}{part and '/' + part}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def leave(place: Path) -> None:
    """Let the lock say what it says when the process that held the run is gone."""
    lock = place / "lock"
    lock.write_text(json.dumps(json.loads(lock.read_text()) | {"boot": "before"}))


# -- one run -----------------------------------------------------------------------------------------------------


def test_a_run_has_all_that_status_says_and_what_can_be_done_with_it(folder: Path, browser) -> None:
    found = ask(browser, "grid")
    assert (found["id"], found["name"], found["run"]) == ("grid", "grid", str(folder / "grid"))
    assert {phase["name"] for phase in found["phases"]} > {"models", "models/forest, fold 1/rounds", "plain"}
    assert found["seq"] == ask(browser, "grid", "journal", limit=1)["events"][0]["seq"]
    assert found["attempt_log"][0]["outcome"] == "completed"
    assert found["last_saved_age_s"] > 0 and found["message"] is None
    assert found["actions"] == ["reset"]


def test_hostile_names_come_through_unharmed_as_json(browser) -> None:
    run = id_of(HOSTILE_NAME)
    assert ask(browser, run)["name"] == HOSTILE_NAME
    units = ask(browser, run, "units", phase=HOSTILE_PHASE)["units"]
    assert [unit["key"] for unit in units] == HOSTILE
    history = ask(browser, run, "history")
    assert history["loop"].startswith(f"{HOSTILE_PHASE}/")
    assert history["series"] == {"<i>loss</i>": ["NaN"], "loss": [1.0]}, "NaN is no JSON, and text no curve"
    raw = browser.get(f"/api/runs/{run}/units", params={"phase": HOSTILE_PHASE})
    assert raw.headers["content-type"] == "application/json" and raw.content.isascii()


# -- units and grid ----------------------------------------------------------------------------------------------


def test_units_come_in_pages_by_state_with_their_groups(folder: Path, browser) -> None:
    found = ask(browser, "grid", "units", phase="models")
    assert (found["phase"], found["total"], found["counts"]) == ("models", 3, {"done": 3})
    assert [(unit["key"], unit["group"], unit["state"], unit["tries"]) for unit in found["units"]] == [
        ("forest, fold 1", "forest", "done", 1), ("forest, fold 2", "forest", "done", 1),
        ("net, fold 1", "net", "done", 1),
    ]  # fmt: skip
    page = ask(browser, "grid", "units", phase="models", offset=1, limit=1)
    assert page["total"] == 3 and [unit["key"] for unit in page["units"]] == ["forest, fold 2"]
    assert ask(browser, "grid", "units", phase="models", state="failed")["units"] == []
    assert ask(browser, "grid", "units", phase="plain")["units"][0]["group"] is None
    assert ask(browser, "grid", "units", phase="no such phase")["total"] == 0
    assert ask(browser, "grid", "units", phase="models/net, fold 1/rounds")["counts"] == {}


def test_units_that_were_not_begun_are_listed_where_their_keys_are_known_and_counted_elsewhere(
    tmp_path,
) -> None:
    with killed(tmp_path / "known") as run:
        for unit in run.each("units", {key: key * 2 for key in "dbca"}, version="1"):
            if unit.key == "c":
                break
            unit.result = 1
            run.insert("facts", [{"Group": f"of {unit.key}"}])
    with killed(tmp_path / "unknown") as run:
        items = iter(run.each("units", ["x", "y", "z"], version="1"))
        next(items), next(items)
    browser = client(tmp_path)
    found = ask(browser, "known", "units", phase="units")
    states = [(unit["key"], unit["state"], unit["group"]) for unit in found["units"]]
    assert states == [("d", "done", "of d"), ("b", "done", "of b"), ("c", "new", None), ("a", "new", None)]
    assert found["counts"] == {"done": 2, "new": 2}
    assert [unit["key"] for unit in ask(browser, "known", "units", phase="units", state="new")["units"]] == [
        "c",
        "a",
    ]
    found = ask(browser, "unknown", "units", phase="units")
    assert [unit["key"] for unit in found["units"]] == ["x"] and found["counts"] == {"done": 1, "new": 2}


def test_keys_that_were_given_up_since_are_not_said_to_wait(tmp_path: Path) -> None:
    for keys in ("abc", "ab"):
        with killed(tmp_path / "fewer") as run:
            items = iter(run.each("units", {key: key * 2 for key in keys}, version="1"))
            next(items)
            if keys == "abc":
                next(items)
    found = ask(client(tmp_path), "fewer", "units", phase="units")
    assert [unit["key"] for unit in found["units"]] == ["a"] and found["counts"] == {"done": 1, "new": 1}


def test_units_left_by_a_break_are_left_and_not_new(tmp_path: Path) -> None:
    from perdure import open as open_run

    with open_run(tmp_path / "broken", budget=None) as run:
        for unit in run.each("units", {"a": "1", "b": "2"}, version="1"):
            unit.result = 1
            break
    assert ask(client(tmp_path), "broken", "units", phase="units")["counts"] == {"done": 1, "left": 1}


def test_a_grid_has_a_row_a_model_and_a_column_a_fold(browser) -> None:
    found = ask(browser, "grid", "grid", phase="models")
    assert (found["rows"], found["columns"]) == (["forest", "net"], ["fold 1", "fold 2"])
    path = "models/forest, fold 2/rounds"
    assert found["cells"][0][1] == {"state": "done", "done": 3, "total": 3, "path": path}
    assert found["cells"][1][1] is None, "there is no such unit"


def test_other_keys_are_rows_and_the_phases_inside_columns(browser) -> None:
    found = ask(browser, "grid", "grid", phase="plain")
    assert (found["rows"], found["columns"]) == (["a/b", "c"], ["steps"])
    assert found["cells"][0] == [{"state": "done", "done": 2, "total": 2, "path": "plain/a~1b/steps"}]
    assert ask(browser, "grid", "grid", phase="nothing") == {"rows": [], "columns": [], "cells": []}


def test_a_cell_whose_unit_was_interrupted_says_how_far_it_is(tmp_path: Path) -> None:
    with killed(tmp_path / "cut") as run:
        for _ in run.each("models", ["net, 1", "net, 2"], version="1"):
            for number in run.range("rounds", 4, version="1", state={"w": np.zeros(1)}):
                run.log(loss=1.0)
                if number == 2:
                    raise Dead
    leave(tmp_path / "cut")
    (cells,) = ask(client(tmp_path), "cut", "grid", phase="models")["cells"]
    assert cells == [{"state": "stopped", "done": 2, "total": 4, "path": "models/net, 1/rounds"}]


# -- history and snapshots ---------------------------------------------------------------------------------------


def interrupted(place: Path) -> None:
    """Killed in the fourth iteration after three were saved, then in the sixth."""
    for last in (3, 5):
        with killed(place) as run:
            for number in run.range("epoch", 9, version="1", state={"w": np.zeros(2)}):
                run.log(begun=number)
                run.log(loss=1 / (number + 1), name="text", even=number % 2 == 0)
                if number == last:
                    raise Dead


def test_history_has_a_point_a_position_and_marks_interruptions_and_saves(tmp_path: Path) -> None:
    interrupted(tmp_path / "cut")
    leave(tmp_path / "cut")
    with sqlite3.connect(tmp_path / "cut" / "run.db") as connection:  # as it is shown before it is saved
        (seq,) = connection.execute("SELECT max(seq) + 1 FROM history").fetchone()
        entry = json.dumps({"loss": 1 / 6})
        connection.execute("INSERT INTO history VALUES ('epoch', ?, 5, ?, 1e9, 2)", (seq, entry))
    found = ask(client(tmp_path), "cut", "history")
    assert (found["loops"], found["loop"]) == (["epoch"], "epoch")
    assert found["positions"] == [0, 1, 2, 3, 4, 5]
    assert set(found["series"]) == {"begun", "loss", "even"}
    assert found["series"]["loss"] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6])
    assert [(one["position"], one["outcome"]) for one in found["interruptions"]] == [
        (3, "killed"),
        (6, "killed"),
    ]
    (saved,) = sqlite3.connect(tmp_path / "cut" / "run.db").execute(
        "SELECT max(at) FROM snapshots WHERE position <= 3"
    )
    assert found["interruptions"][0]["at"] >= saved[0], "it was alive when it saved"
    assert found["saves"] == [1, 2, 3, 4, 5]
    assert found["provisional_from"] == 5, "the sixth iteration was not saved"


def test_entries_of_one_position_with_the_same_names_share_it(tmp_path: Path) -> None:
    with killed(tmp_path / "often") as run:
        for _ in run.range("epoch", 2, version="1"):
            for batch in range(4):
                run.log(loss=float(batch))
    found = ask(client(tmp_path), "often", "history", loop="epoch")
    assert found["positions"] == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]
    assert found["provisional_from"] is None and found["interruptions"] == []


def test_a_long_history_is_thinned_and_keeps_its_newest_point(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(records, "MOST_POINTS", 10)
    with killed(tmp_path / "long") as run:
        for number in run.range("epoch", 35, version="1", every=100):
            run.log(loss=number)
    found = ask(client(tmp_path), "long", "history")
    assert found["positions"] == [2, 6, 10, 14, 18, 22, 26, 30, 34] and found["every"] == 4
    assert found["series"]["loss"] == found["positions"]
    monkeypatch.setattr(records, "MOST_POINTS", 30)
    with killed(tmp_path / "often") as run:
        for number in run.range("epoch", 2, version="1", every=100):
            for _ in range(50):
                run.log(loss=number)
    positions = ask(client(tmp_path), "often", "history")["positions"]
    assert len(positions) <= 30 and positions[-1] == 1.98


def test_a_run_without_history_and_a_loop_that_is_not_there_are_empty(tmp_path: Path, browser) -> None:
    assert ask(browser, "grid", "history", loop="none")["positions"] == []
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "lock").touch()
    half = client(tmp_path)
    assert ask(half, "half", "history")["loops"] == [] and ask(half, "half", "snapshots") == {"snapshots": []}
    assert ask(half, "half", "journal") == {"events": [], "names": []}
    assert ask(half, "half", "units", phase="x")["units"] == [] and ask(half, "half", "grid")["rows"] == []


def test_snapshots_are_listed_newest_first_with_what_became_of_them(browser) -> None:
    found = ask(browser, "grid", "snapshots")["snapshots"]
    assert set(found[0]) == {
        "loop", "generation", "position", "batch", "size", "sha256", "state", "final", "at", "stall_s",
    }  # fmt: skip
    assert [one["at"] for one in found] == sorted((one["at"] for one in found), reverse=True)
    assert {one["state"] for one in found} <= {"kept", "removed"} and found[0]["final"] is True


# -- journal -----------------------------------------------------------------------------------------------------


def test_the_journal_can_be_paged_and_searched(browser) -> None:
    everything = ask(browser, "grid", "journal", limit=1000)
    seqs = [event["seq"] for event in everything["events"]]
    assert seqs == list(range(len(seqs), 0, -1))
    page = ask(browser, "grid", "journal", before=4, limit=2)["events"]
    assert [event["seq"] for event in page] == [3, 2]
    done = ask(browser, "grid", "journal", event="unit done")["events"]
    assert {event["event"] for event in done} == {"unit done"} <= set(everything["names"])
    assert done[0]["detail"]["key"] == "c"
    assert {event["detail"].get("key") for event in ask(browser, "grid", "journal", text="NET, FOLD")["events"]} == {
        None, "net, fold 1",
    }  # fmt: skip
    assert ask(browser, "grid", "journal", text="%' OR 1=1 --")["events"] == []
    for wrong in ({"before": "x"}, {"limit": "-1"}, {"limit": "1e3"}, {"before": "9" * 30}):
        assert browser.get("/api/runs/grid/journal", params=wrong).status_code == 400


# -- results and files -------------------------------------------------------------------------------------------


@pytest.fixture
def exports(folder: Path) -> Path:
    place = folder / "grid" / "exports"
    (place / "results.json").write_text(
        '{"auc": NaN, "gate": {"checks": [{"check": "AUC", "verdict": "failed"}]}}'
    )
    (place / "roc_curve.png").write_bytes(b"\x89PNG")
    (place / "drawn.svg").write_text(
        "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    )
    (place / "report.html").write_text("<script>alert(1)</script>")
    (place / "model.zip").write_bytes(b"PK")
    (place / "deep").mkdir()
    (place / "deep" / "table.csv").write_text("a,b")
    return place


def test_results_plots_the_report_and_the_gate_are_found_in_the_exports(exports: Path, browser) -> None:
    found = ask(browser, "grid", "results")
    assert found["results"]["auc"] is None, "NaN is no JSON"
    assert found["gate"] == [{"check": "AUC", "verdict": "failed"}]
    assert found["report"] == "report.html" and found["registry"] is None
    assert {"path": "roc_curve.png", "title": "roc curve"} in found["plots"]
    for wrong in ("{", "[" * 100_000, "[]"):
        (exports / "results.json").write_text(wrong)
        assert ask(browser, "grid", "results")["gate"] is None


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [
        ("roc_curve.png", "image/png", True), ("drawn.svg", "image/svg+xml", True), ("report.html", "text/html", True),
        ("deep/table.csv", "text/csv", True), ("results.json", "application/json", True),
        ("model.zip", "application/octet-stream", False),
    ],
)  # fmt: skip
def test_a_file_is_shown_without_rights_of_its_own_or_handed_over(
    exports, browser, name, kind, shown
) -> None:
    answer = browser.get(f"/api/runs/grid/files/{name}")
    assert answer.status_code == 200 and answer.content == (exports / name).read_bytes()
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert ("attachment" in answer.headers.get("content-disposition", "")) != shown
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox;") and "default-src 'none'" in policy and "script" not in policy


@pytest.mark.parametrize(
    "path",
    ["..%2frun.db", "../run.db", "%2e%2e/run.db", "deep/../../lock", "%2fetc%2fpasswd", "/etc/passwd", "", ".", "deep",
     "none.png", "out", "fifo", "a%00b", "..\\run.db", "x" * 5000],
)  # fmt: skip
def test_no_path_leads_out_of_the_exports(exports: Path, browser, path: str) -> None:
    (exports / "out").symlink_to(exports.parent / "run.db")
    if hasattr(os, "mkfifo"):
        os.mkfifo(exports / "fifo")
    answer = browser.get(f"/api/runs/grid/files/{path}")
    assert answer.status_code == 404 and b"SQLite" not in answer.content


def test_exports_that_are_a_link_elsewhere_are_not_followed(folder: Path, tmp_path: Path, browser) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.json").write_text("{}")
    place = folder / "grid" / "exports"
    place.rename(place.with_name("aside"))
    place.symlink_to(tmp_path / "elsewhere")
    assert browser.get("/api/runs/grid/files/a.json").status_code == 404


def test_the_log_comes_from_its_end_without_control_characters(folder: Path, browser) -> None:
    log = folder / "grid" / "run.log"
    log.write_bytes(b"first\nbar 1%\rbar 2%\n\x1b[31mred \xff\n<b>last</b>\n")
    assert ask(browser, "grid", "log", lines=3)["lines"] == ["bar 2%", "\\x1b[31mred \\xff", "<b>last</b>"]
    assert ask(browser, "grid", "log", lines=0)["lines"] == []
    log.write_text("x" * 30 + "\n" + "".join(f"{number}\n" for number in range(600_000)))
    assert ask(browser, "grid", "log", lines=2)["lines"] == ["599998", "599999"]
    log.unlink()
    assert ask(browser, "grid", "log")["lines"] == []
