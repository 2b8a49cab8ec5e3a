"""The list of runs: what each line says, cheaply, whatever state a folder is in."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

import perdure
from dashboards import HOSTILE_NAME, client
from inprocess import killed
from perdure.dashboard.answers import runs as module
from perdure.dashboard.answers.runs import Runs, UnknownRunError, id_of, name_of
from perdure.overview import AttemptState, Overview, PhaseState

SHAPE = {
    "id", "name", "target", "state", "alive", "phase", "progress", "eta_s", "last_saved_at", "failed", "attempts",
    "overhead", "budget", "proof", "message", "outcome",
}  # fmt: skip


def lines(browser) -> dict[str, dict]:
    answer = browser.get("/api/runs")
    assert answer.status_code == 200, answer.text
    return {line["name"]: line for line in answer.json()["runs"]}


def test_each_run_is_a_line_with_all_that_the_list_shows(folder: Path, browser) -> None:
    found = lines(browser)
    assert list(found) == sorted(["grid", HOSTILE_NAME])
    assert all(set(line) == SHAPE for line in found.values())
    grid = found["grid"]
    assert (grid["state"], grid["progress"], grid["attempts"], grid["failed"]) == ("completed", 1.0, 1, 0)
    assert (grid["alive"], grid["phase"], grid["message"]) == (False, None, None)
    assert browser.get("/api/runs").json()["folder"] == str(folder)


def test_progress_goes_by_time_where_that_is_known_and_by_phases_elsewhere() -> None:
    data = PhaseState("data", "step", "completed", 1, 0, 1, None, 1)
    train = PhaseState("train", "range", "running", 0, 0, 99, None, 0)
    attempt = AttemptState(1, 0.0, None, "running", None, 7, "host", 100.0, 0.0)
    seen = Overview("r", "", "running", (data, train), attempt_log=(attempt,))
    assert module._progress(seen) == 0.5
    assert module._progress(replace(seen, eta_s=300.0)) == 0.25


def test_an_id_means_the_same_however_often_an_address_is_quoted(browser) -> None:
    for name in [HOSTILE_NAME, "plain", "a%2fb", "~7E", "ünï", "\udcff raw byte"]:
        run = id_of(name)
        assert name_of(run) == name
        assert run.isascii() and not set(run) - set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~"
        )
    run = id_of(HOSTILE_NAME)
    for address in (run, run.replace("~", "%7E")):
        assert browser.get(f"/api/runs/{address}").json()["name"] == HOSTILE_NAME


@pytest.mark.parametrize(
    "run", ["..", ".", "~2E~2E", "..~2Fruns~2Fgrid", "grid~2F..~2Fgrid", "~2Fetc", "grid~00", "", "gri%64", "g~72id",
            "none", "%2e%2e", "%2e%2e%2fruns%2fgrid", "grid\\..\\grid"]
)  # fmt: skip
def test_no_id_leads_out_of_the_folder_or_names_a_run_in_two_ways(folder: Path, run: str, browser) -> None:
    with pytest.raises(UnknownRunError):
        Runs(folder).place(run)
    if run not in {"", "gri%64"}:
        answer = browser.get(f"/api/runs/{run}/log")
        assert answer.status_code == 404, answer.text


def test_a_link_that_leads_out_of_the_folder_is_no_run_of_it(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere" / "secret"
    shutil.copytree(folder / "grid", outside)
    (folder / "link").symlink_to(outside)
    (folder / "inner").symlink_to(folder / "grid")
    (folder / "broken").symlink_to(folder / "nothing")
    browser = client(folder)
    assert set(lines(browser)) == {"grid", HOSTILE_NAME, "inner"}
    assert browser.get("/api/runs/link").status_code == 404


def test_one_run_can_be_shown_alone(folder: Path) -> None:
    browser = client(folder, only="grid")
    assert set(lines(browser)) == {"grid"}
    assert browser.get(f"/api/runs/{id_of(HOSTILE_NAME)}").status_code == 404


def test_a_folder_that_is_not_there_yet_has_no_runs(tmp_path: Path) -> None:
    assert lines(client(tmp_path / "runs")) == {}


def _damaged(place: Path) -> None:
    content = bytearray((place / "run.db").read_bytes())
    content[100:] = os.urandom(len(content) - 100)
    (place / "run.db").write_bytes(content)


def _newer(place: Path) -> None:
    with sqlite3.connect(place / "run.db") as connection:
        connection.execute("PRAGMA user_version=99")


def _half(place: Path) -> None:
    shutil.rmtree(place)
    place.mkdir()
    (place / "lock").write_text("")


def _emptied(place: Path) -> None:
    (place / "run.db").write_bytes(b"")


def _without_database(place: Path) -> None:
    (place / "run.db").unlink()


def _without_a_table(place: Path) -> None:
    with sqlite3.connect(place / "run.db") as connection:
        connection.execute("DROP TABLE attempts")


def _strange_facts(place: Path) -> None:
    with sqlite3.connect(place / "run.db") as connection:
        connection.execute("UPDATE meta SET value = '17' WHERE key = 'phases'")


def _strange_names(place: Path) -> None:
    with sqlite3.connect(place / "run.db") as connection:
        connection.execute("UPDATE meta SET value = '[1, null]' WHERE key = 'phases'")


def _endless_facts(place: Path) -> None:
    with sqlite3.connect(place / "run.db") as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'phases'", ("[" * 100_000,))


def _text_for_a_database(place: Path) -> None:
    (place / "run.db").write_text("this is no database " * 200)


@pytest.mark.parametrize(
    ("harm", "state"),
    [
        (_damaged, "damaged"), (_newer, "newer"), (_half, "new"), (_emptied, "damaged"),
        (_without_database, "damaged"), (_without_a_table, "damaged"), (_strange_facts, "damaged"),
        (_text_for_a_database, "damaged"), (_strange_names, "damaged"), (_endless_facts, "damaged"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_read_is_one_line_with_its_message_and_the_others_stay(
    folder: Path, browser, harm, state: str
) -> None:
    for side in (folder / "grid").glob("run.db-*"):
        side.unlink()
    harm(folder / "grid")
    found = lines(browser)
    assert found["grid"]["state"] == state
    assert (found["grid"]["message"] is None) == (state == "new")
    assert found[HOSTILE_NAME]["state"] == "completed"
    assert browser.get("/api/runs/grid").json()["state"] == state
    for part in ("units", "grid", "history", "snapshots", "journal", "results", "log"):
        answer = browser.get(f"/api/runs/grid/{part}?phase=models")
        assert answer.status_code in {200, 409}, part
        assert answer.status_code == 200 or answer.json()["error"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(folder: Path, browser) -> None:
    for name in ("run.log", "run.db-shm", "run.db-wal"):
        (folder / "grid" / name).unlink(missing_ok=True)
        os.mkfifo(folder / "grid" / name)
    assert browser.get("/api/runs/grid/log").json()["lines"] == []
    assert "grid" in lines(browser)
    shutil.copytree(folder / HOSTILE_NAME, folder / "locked")
    (folder / "locked" / "lock").unlink()
    os.mkfifo(folder / "locked" / "lock")
    assert "locked" not in lines(browser)


def test_a_folder_without_permission_is_one_line_too(folder: Path, browser, monkeypatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(module, "reading", refused)
    assert {line["state"] for line in lines(browser).values()} == {"unreadable"}


def test_what_was_read_of_a_hundred_runs_is_kept_until_one_of_them_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(98):
        shutil.copytree(folder / "grid", folder / f"copy {number}")
    read: list[str] = []
    usual = module.overview
    monkeypatch.setattr(
        module,
        "overview",
        lambda place, *more, **named: read.append(place.name) or usual(place, *more, **named),
    )
    browser = client(folder)
    assert len(lines(browser)) == 100 and len(read) == 100
    before = lines(browser)
    assert len(read) == 100
    with killed(folder / "copy 7") as run:
        for _ in run.each("more", ["a", "b"], version="1"):
            pass
    after = lines(browser)
    assert set(read[100:]) == {"copy 7"}
    assert [name for name in after if after[name] != before[name]] == ["copy 7"]


def test_each_commit_changes_the_mark_of_its_run_and_of_no_other(folder: Path) -> None:
    runs = Runs(folder)
    marks = [runs.marks()]
    with perdure.open(folder / "grid", budget=None) as run:
        marks.append(runs.marks())
        marks += [runs.marks() for _ in run.each("more", ["a", "b", "c"], version="1")]
    marks.append(runs.marks())
    assert len({mark["grid"] for mark in marks}) == len(marks)
    assert len({mark[id_of(HOSTILE_NAME)] for mark in marks}) == 1


def test_looking_keeps_no_file_of_a_run_open_and_leaves_none_behind(folder: Path, browser) -> None:
    before = sorted(path for path in folder.rglob("*"))
    for run in map(id_of, ("grid", HOSTILE_NAME)):
        for part in ("", "/units?phase=models", "/history", "/snapshots", "/journal", "/results"):
            assert browser.get(f"/api/runs/{run}{part}").status_code == 200
    assert sorted(path for path in folder.rglob("*")) == before
    if Path("/proc/self/fd").is_dir():
        opened = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.exists()]
        assert not [path for path in opened if path.startswith(str(folder))]


def test_a_proof_is_shown_as_it_was_left_and_only_if_it_is_one(folder: Path, browser) -> None:
    place = folder / "grid" / "exports" / "proof.json"
    assert lines(browser)["grid"]["proof"] is None
    proof = {"verdict": "exact", "kills": 25, "equal": 25, "at": 1_700_000_000.5}
    place.write_text(json.dumps(proof | {"basis": {}, "more": 1}))
    assert lines(browser)["grid"]["proof"] == proof | {"outdated": False}
    assert browser.get("/api/runs/grid").json()["proof"] == proof | {"outdated": False}
    place.write_text(json.dumps(proof | {"basis": {"models": "of other code"}}))
    assert lines(browser)["grid"]["proof"]["outdated"] is True
    for wrong in ("[]", "{", '"exact"', json.dumps(proof), json.dumps(proof | {"basis": {}, "kills": "many"}),
                  json.dumps(proof | {"basis": {}, "at": None}), "[" * 100_000):  # fmt: skip
        place.write_text(wrong)
        assert lines(browser)["grid"]["proof"] is None, wrong[:40]
