"""Keras fits: killed anywhere and rerun, they end with the bits of an uninterrupted one, on every backend."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keras_processes import KerasServer, keras_server
from processes import KILLED, digest, environment, rows

SCRIPT = "keras_fit.py"
BACKENDS = ["jax", "tensorflow", "torch"]
CASES = ["arrays", "unbuilt", "batches", "stream"]


@pytest.fixture(scope="module", params=BACKENDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KerasServer]:
    pytest.importorskip(request.param)
    with keras_server(request.param, tmp_path_factory.mktemp(request.param)) as started:
        yield started


@pytest.fixture(scope="module")
def jax_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KerasServer]:
    with keras_server("jax", tmp_path_factory.mktemp("jax")) as started:
        yield started


def kill_and_finish(server: KerasServer, folder: Path, kills: list[str], **variables: str) -> str:
    """Kill a run at each of `kills`, one attempt after the other, and let it end."""
    for kill in kills:
        ended = server.run(SCRIPT, folder, PERDURE_KILL_AT=kill, **variables)
        assert ended.code == KILLED, (kill, ended.err)
    return server.finish(SCRIPT, folder, **variables)


def ends_as_uninterrupted(server: KerasServer, tmp_path: Path, kills: list[str], **variables: str) -> None:
    expected = server.reference(SCRIPT, **variables)
    printed = kill_and_finish(server, tmp_path / "killed", kills, **variables)
    assert (printed, digest(tmp_path / "killed")) == expected


@pytest.mark.parametrize(
    ("case", "kills"),
    [
        ("arrays", ["epoch.end:3", "validation.begin:2", "fit.end:2"]),
        ("batches", ["batch.begin:5", "snapshot.rename:2", "validation.begin:1"]),
    ],
)
def test_a_fit_killed_three_times_in_a_row_ends_with_the_same_bits(
    server: KerasServer, tmp_path: Path, case: str, kills: list[str]
) -> None:
    fits = {} if case == "arrays" else {"FITS": "1"}
    ends_as_uninterrupted(server, tmp_path, kills, CASE=case, **fits)


def test_a_run_with_resume_trains_the_very_weights_of_plain_keras(
    server: KerasServer, tmp_path: Path
) -> None:
    with_resume, _ = server.reference(SCRIPT, CASE="arrays")
    plain = server.finish(SCRIPT, tmp_path / "without", CASE="plain").splitlines()
    assert plain[:2] == with_resume.splitlines()[:2]


def test_an_endless_stream_with_two_workers_killed_in_mid_epoch_ends_with_the_same_bits(
    jax_server: KerasServer, tmp_path: Path
) -> None:
    ends_as_uninterrupted(jax_server, tmp_path, ["batch.begin:7", "batch.begin:4"], CASE="stream", FITS="1")


@pytest.mark.slow
def test_a_model_that_is_built_by_fit_resumes_with_the_same_bits(
    jax_server: KerasServer, tmp_path: Path
) -> None:
    ends_as_uninterrupted(jax_server, tmp_path, ["epoch.end:3"], CASE="unbuilt", FITS="1")


def test_a_complete_fit_trains_nothing_on_a_rerun_and_gives_the_same_history(
    jax_server: KerasServer, tmp_path: Path
) -> None:
    printed = jax_server.finish(SCRIPT, tmp_path / "run", CASE="batches")
    before = digest(tmp_path / "run")
    log = tmp_path / "seams"
    assert jax_server.finish(SCRIPT, tmp_path / "run", CASE="batches", PERDURE_SEAM_LOG=str(log)) == printed
    passed = log.read_text().split()
    assert "fit.end" in passed
    assert not {"batch.begin", "epoch.end", "snapshot.rename"} & set(passed)
    assert digest(tmp_path / "run") == before


@pytest.mark.parametrize("case", ["arrays", "batches"])
def test_more_epochs_than_before_go_on_as_if_asked_for_at_once(
    jax_server: KerasServer, tmp_path: Path, case: str
) -> None:
    expected = jax_server.reference(SCRIPT, CASE=case, FITS="1", EPOCHS="5")
    jax_server.finish(SCRIPT, tmp_path / "run", CASE=case, FITS="1", EPOCHS="3")
    printed = jax_server.finish(SCRIPT, tmp_path / "run", CASE=case, FITS="1", EPOCHS="5")
    assert (printed, digest(tmp_path / "run")) == expected


def test_fewer_epochs_than_trained_are_refused_with_both_numbers(
    jax_server: KerasServer, tmp_path: Path
) -> None:
    jax_server.finish(SCRIPT, tmp_path / "run", FITS="1", EPOCHS="2")
    ended = jax_server.run(SCRIPT, tmp_path / "run", FITS="1", EPOCHS="1")
    assert ended.code == 2
    assert "has trained 2 epochs already and is asked for 1" in ended.err


def test_early_stopping_fires_at_the_same_epoch_after_a_kill(jax_server: KerasServer, tmp_path: Path) -> None:
    options = {"CASE": "stopping", "EPOCHS": "30", "FITS": "1"}
    stopped = int(jax_server.reference(SCRIPT, **options)[0].split()[1])
    assert 2 < stopped < 30
    ends_as_uninterrupted(jax_server, tmp_path, [f"epoch.end:{stopped}", "fit.end:1"], **options)


def test_weights_and_streams_that_nobody_seeded_come_back_too(
    jax_server: KerasServer, tmp_path: Path
) -> None:
    first = jax_server.run(SCRIPT, tmp_path / "one", CASE="unseeded", PERDURE_KILL_AT="batch.begin:8")
    assert first.code == KILLED
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    printed = jax_server.finish(SCRIPT, tmp_path / "one", CASE="unseeded")
    assert jax_server.finish(SCRIPT, tmp_path / "other", CASE="unseeded") == printed


def test_a_changed_model_is_refused_by_the_name_of_the_layer(jax_server: KerasServer, tmp_path: Path) -> None:
    killed = jax_server.run(SCRIPT, tmp_path / "run", PERDURE_KILL_AT="epoch.end:3")
    assert killed.code == KILLED
    ended = jax_server.run(SCRIPT, tmp_path / "run", UNITS="8")
    assert ended.code == 73
    assert "model layer dense units was 6, is 8" in ended.err
    assert 'model variable sequential/dense/kernel was "float32 [4, 6]", is "float32 [4, 8]"' in ended.err
    accepted = jax_server.run(SCRIPT, tmp_path / "run", UNITS="8", PERDURE_ACCEPT_CHANGES="1")
    assert accepted.code == 73
    assert "sequential/dense/kernel float32[4, 6] was saved and is not in the model" in accepted.err


@pytest.mark.parametrize(("case", "at"), [("batches", 9), ("arrays", 5), ("arrays", 15)])
def test_ctrl_c_saves_leaves_fit_with_130_and_goes_on_exactly(
    jax_server: KerasServer, tmp_path: Path, case: str, at: int
) -> None:
    options = {"CASE": case} if case == "arrays" else {"CASE": case, "FITS": "1"}
    expected = jax_server.reference(SCRIPT, **options)
    ended = jax_server.run(SCRIPT, tmp_path / "run", INTERRUPT_AT=str(at), **options)
    assert ended.code == 130, ended.err
    ((position, batch),) = rows(
        tmp_path / "run", "SELECT position, batch FROM snapshots ORDER BY generation DESC LIMIT 1"
    )
    assert (position, batch) == ((1, 3) if case == "batches" else (-(-at // 3), 0))
    assert (jax_server.finish(SCRIPT, tmp_path / "run", **options), digest(tmp_path / "run")) == expected


def test_plain_arrays_in_an_order_that_tensorflow_hides_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "scripts" / SCRIPT)],
        env=environment(
            tmp_path / "run", KERAS_BACKEND="tensorflow", CASE="unseeded", TF_CPP_MIN_LOG_LEVEL="3"
        ),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 2
    assert "has an order that cannot be captured" in ended.stderr


@pytest.mark.crash
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", CASES)
def test_a_fit_killed_at_every_seam_of_it_ends_with_the_same_bits(
    server: KerasServer, tmp_path: Path, case: str
) -> None:
    passed = server.seams(SCRIPT, tmp_path / "passed", CASE=case)
    expected = server.reference(SCRIPT, CASE=case)
    interesting = ("batch.begin", "epoch.end", "validation.begin", "fit.begin", "fit.end", "snapshot.")
    counts: dict[str, int] = {}
    for name in passed:
        counts[name] = counts.get(name, 0) + 1
        if not name.startswith(interesting):
            continue
        folder = tmp_path / "killed"
        kill = f"{name}:{counts[name]}"
        assert (kill_and_finish(server, folder, [kill], CASE=case), digest(folder)) == expected, kill
        shutil.rmtree(folder)
