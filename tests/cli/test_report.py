"""The report of a run: made at its end, made on demand, true, harmless, and without effect on the run."""

from __future__ import annotations

import json
import re
import shutil
import socket
import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import perdure as library
from command_line import answer, perdure, process
from perdure.overview import AttemptState
from perdure.report import curves, page, wording
from perdure.report.record import Curve, causes, logged
from perdure.store.database import Reader

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002"
    "00000500017a5eab3f0000000049454e44ae426082"
)


class Seen(HTMLParser):
    """Elements, where they point to, and the text outside the style."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.targets: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.targets += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data: str) -> None:
        if self.elements[-1:] != ["style"]:
            self.text += data + " "


def trained(folder: Path, epochs: int = 5, *, fail_at: int | None = None, name: str = "fit") -> None:
    """A loop; with `fail_at` an error ends it there."""
    with library.open(folder, config={"rate": 0.5}, budget=None) as run:
        weights = np.zeros(3)
        for epoch in run.range(name, epochs, state={"weights": weights}, version="1"):
            weights += 1
            if epoch == fail_at:
                raise ZeroDivisionError
            run.log(loss=1.0 / (epoch + 1), val_loss=2.0 / (epoch + 1), note="text")


def test_a_run_that_completes_leaves_a_page_that_needs_nothing_else(run: Path) -> None:
    seen = Seen(run / "exports" / "report.html")
    assert "script" not in seen.elements and "link" not in seen.elements
    assert all(target.startswith("data:") for target in seen.targets)
    assert seen.elements.count("svg") == 2  # when it ran, and loss; score only counts on
    digest = {line["path"]: line["digest"] for line in answer("digest", run)["phases"]}
    for word in ("prepare", "samples", "train", "completed", "uninterrupted", "numpy", *digest.values()):
        assert word in seen.text


def test_the_page_is_no_part_of_what_is_compared(run: Path) -> None:
    before = answer("digest", run)
    (run / "exports" / "report.html").unlink()
    assert answer("digest", run) == before and answer("verify", run)["ok"] is True
    answer("report", run)
    assert answer("digest", run) == before and answer("verify", run)["ok"] is True


def test_an_interrupted_run_tells_what_that_cost_and_what_resuming_saved(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        trained(tmp_path / "run", fail_at=3)
    assert not (tmp_path / "run" / "exports" / "report.html").exists()
    trained(tmp_path / "run")
    content = (tmp_path / "run" / "exports" / "report.html").read_text()
    assert "interrupted; another attempt went on at 4" in content
    assert content.count('<polyline class="line') == 2
    text = Seen(tmp_path / "run" / "exports" / "report.html").text
    assert "an error in the script" in text and "The run was interrupted once" in text


def test_a_report_can_be_asked_for_while_a_run_is_open_and_says_that_it_is_not_complete(
    tmp_path: Path,
) -> None:
    with pytest.raises(ZeroDivisionError):
        trained(tmp_path / "run", fail_at=2)
    document = answer("report", tmp_path / "run", "--output", tmp_path / "mine.html")
    assert document == {
        "run": str(tmp_path / "run"), "file": str(tmp_path / "mine.html"),
        "bytes": (tmp_path / "mine.html").stat().st_size,
    }  # fmt: skip
    assert "It is not complete: an error in the script." in Seen(tmp_path / "mine.html").text


def test_a_page_of_the_runs_own_is_left_alone(tmp_path: Path) -> None:
    for _ in range(2):
        with library.open(tmp_path / "run") as run:
            run.step("add", sum, [1, 2], version="1")
            run.export("report.html", b"<h1>my own</h1>")
    exports = tmp_path / "run" / "exports"
    assert (exports / "report.html").read_bytes() == b"<h1>my own</h1>"
    assert page.GENERATOR in (exports / "run.html").read_text()
    assert answer("report", tmp_path / "run")["file"] == str(exports / "run.html")


def test_a_rerun_writes_its_page_anew(tmp_path: Path) -> None:
    for attempts in (1, 2):
        trained(tmp_path / "run")
        found = [path.name for path in (tmp_path / "run" / "exports").glob("*.html")]
        assert found == ["report.html"]
        (tmp_path / "run" / "exports" / "report.html").write_bytes(b"" if attempts == 1 else b"x")


def test_no_page_is_made_where_the_environment_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_REPORT", "0")
    trained(tmp_path / "run")
    assert not list((tmp_path / "run" / "exports").glob("*.html"))


def test_a_page_that_cannot_be_written_fails_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "exports" / "report.html").mkdir(parents=True)
    trained(tmp_path / "run")
    assert "the report could not be written" in capsys.readouterr().err
    assert answer("status", tmp_path / "run")["state"] == "completed"


def test_names_and_reasons_do_nothing_in_a_browser(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    with library.open(tmp_path / "run", config={hostile: "<img src=http://x>"}) as run:
        for epoch in run.range('a"><b onload=x>', 3, version="1"):
            run.log(**{hostile: float(epoch), "\x1b[31m</style>": 1.0 * epoch})
    (tmp_path / "run" / "exports" / "<script>.png").write_bytes(PIXEL)
    answer("report", tmp_path / "run")
    seen = Seen(tmp_path / "run" / "exports" / "report.html")
    assert {"script", "b onload"} & set(seen.elements) == set() and hostile in seen.text
    assert all(target.startswith("data:image/png") for target in seen.targets) and seen.targets
    assert "\x1b" not in seen.text
    assert "default-src 'none'" in (tmp_path / "run" / "exports" / "report.html").read_text()


def test_pictures_of_the_run_are_in_the_page_and_links_to_elsewhere_are_not(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.png").write_bytes(PIXEL + b"secret")
    (run / "exports" / "roc.png").write_bytes(PIXEL)
    (run / "exports" / "link.png").symlink_to(tmp_path / "secret.png")
    answer("report", run)
    seen = Seen(run / "exports" / "report.html")
    assert len(seen.targets) == 1 and "roc.png" in seen.text and "link.png" not in seen.text


def test_failed_units_are_named_with_their_reason(place: Path) -> None:
    shutil.rmtree(place / "runs")
    assert process("run", "script.py", "bad", folder=place).returncode == 3
    seen = Seen(place / "runs" / "whole" / "exports" / "report.html")
    assert "Failed units" in seen.text and "ValueError: a bad\\x1b[31m unit" in seen.text


@pytest.mark.parametrize(("basis", "word"), [({}, "exact"), ({"train": "other code"}, "outdated")])
def test_a_proof_is_shown_as_long_as_it_is_about_what_ran(
    basis: dict[str, str], word: str, run: Path
) -> None:
    proof = {"verdict": "exact", "kills": 12, "equal": 12, "at": 1.8e9, "basis": basis}
    (run / "exports" / "proof.json").write_text(json.dumps(proof))
    answer("report", run)
    content = (run / "exports" / "report.html").read_text()
    assert f">{word}</b>" in content and "12 of 12 kills" in content


@pytest.mark.parametrize("target", ["none/report.html", "exports"])
def test_an_output_that_cannot_be_is_a_usage_error(target: str, run: Path) -> None:
    assert answer("report", run, "-o", run / target, code=2)["kind"] == "UsageError"


def test_a_run_in_which_nothing_was_recorded_has_no_report(tmp_path: Path) -> None:
    assert "nothing was recorded" in perdure("report", tmp_path).stderr


def test_large_tables_are_digested_when_asked_only(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from perdure.report import document

    monkeypatch.setattr(document, "_CELLS", 3)
    reader = Reader(run / "run.db")
    quick, thorough = (document.document(run, reader, now=0.0, thorough=flag) for flag in (False, True))
    reader.close()
    digest = answer("digest", run)["phases"][0]["digest"].encode()
    assert digest in thorough and digest not in quick and b"perdure digest" in quick


# -- what it is made of ------------------------------------------------------------------------------------------


def test_thinned_curves_keep_their_peaks() -> None:
    values = [0.0] * 10_000
    values[5_678], values[1_234] = 9.0, -9.0
    kept = curves.thinned(range(10_000), values, 600)
    assert len(kept) <= 605
    assert {(5_678, 9.0), (1_234, -9.0), (0, 0.0), (9_999, 0.0)} <= set(kept)


def test_a_chart_of_equal_values_of_one_point_and_of_a_wide_range_can_be_drawn() -> None:
    flat = curves.chart([Curve("c", (0.0, 1.0, 2.0), (5.0, 5.0, 5.0))])
    wide = curves.chart([Curve("w", (0.0, 1.0, 2.0), (1e-6, 1.0, 1e4))], takeovers=[1, 99])
    huge = curves.chart([Curve("h", (1.0, 2.0), (-9e299, 9e299))])
    assert "nan" not in flat + wide + huge
    assert "logarithmic" in wide and "logarithmic" not in flat
    assert wide.count('class="cut"') == 1


def test_many_phases_within_units_are_folded_and_long_tables_too(tmp_path: Path) -> None:
    with library.open(tmp_path / "run", budget=None) as run:
        for unit in run.each("models", ["a", "b"], version="1"):
            for epoch in run.range("fit", 2, version="1"):
                run.log(**{f"m{i}": 1.0 / (epoch + i + 1) for i in range(20)})
            unit.result = unit.key
    seen = Seen(tmp_path / "run" / "exports" / "report.html")
    assert seen.elements.count("details") == 2
    assert "2 phases within these" in seen.text and "and 15 rows more" in seen.text
    assert seen.elements.count("polyline") == 40


def test_numbers_that_are_not_finite_leave_a_gap_and_are_counted(tmp_path: Path) -> None:
    with library.open(tmp_path / "run") as run:
        for epoch in run.range("fit", 5, version="1"):
            loss = float("nan") if epoch in {1, 4} else float(epoch)
            run.log(loss=loss, flag=True, huge=10**400, wide=-1.7e308)
    reader = Reader(tmp_path / "run" / "run.db")
    (log,) = logged(reader)
    reader.close()
    (curve,) = log.curves
    assert curve.positions == (1, 3, 4) and curve.missing == 2, "iterations are counted from 1"
    assert "last not finite (2 not finite)" in (tmp_path / "run" / "exports" / "report.html").read_text()


@pytest.mark.parametrize(
    ("outcome", "code", "word"),
    [("killed", None, "SIGKILL"), ("stopped", 130, "Ctrl+C"), ("stopped", 143, "SIGTERM"), ("stopped", 129, "hang-up"),
     ("failed", 1, "error"), ("failed", 73, "changed"), ("failed", 74, "disk"), ("completed", 3, "failed units"),
     ("stopped", 0, "before its last phase")],
)  # fmt: skip
def test_every_end_of_an_attempt_has_words(outcome: str, code: int | None, word: str) -> None:
    assert word in wording.cause(outcome, code)


def test_a_machine_that_went_down_is_told_from_a_kill(run: Path) -> None:
    connection = sqlite3.connect(run / "run.db")
    connection.execute(
        "INSERT INTO attempts (started_at, seen_at, pid, process_started, boot, host, command, outcome) "
        "SELECT started_at, seen_at, pid, process_started, 'another boot', host, command, outcome FROM attempts"
    )
    connection.execute("UPDATE attempts SET outcome = 'killed' WHERE id = 1")
    connection.commit()
    connection.close()
    host = socket.gethostname()
    attempts = [
        AttemptState(i, 0.0, None, word, None, 1, host, 1.0, 0.0)
        for i, word in ((1, "killed"), (2, "completed"))
    ]
    reader = Reader(run / "run.db")
    assert "machine went down" in causes(reader, attempts)[0]
    reader.close()


def test_the_style_prints_and_follows_the_light() -> None:
    style = page.page("x", []).decode()
    assert "@media print" in style and "prefers-color-scheme:dark" in style
    assert re.search(r"color-scheme:light dark", style)
