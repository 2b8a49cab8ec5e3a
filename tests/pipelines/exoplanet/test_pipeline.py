"""The whole pipeline in new processes: killed, resumed, predicted with, and fed what is not training data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.pipelines.exoplanet import pipeline
from processes import KILLED, digest, environment, rows

ROOT = Path(__file__).resolve().parents[3]
KEPLER = Path(os.environ.get("PERDURE_KEPLER_DATA", ROOT.parent / "shared" / "data" / "kepler-90"))
needs_kepler = pytest.mark.skipif(not KEPLER.is_dir(), reason=f"no Kepler light curves in {KEPLER}")
CODE = """
import sys
from pathlib import Path
from perdure.pipelines.exoplanet.pipeline import main
if __name__ == "__main__":
    data = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    sys.exit(main("tiny", Path(sys.argv[1]), data=data))
"""


def run(folder: Path, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    script = folder.parent / "pipeline_script.py"
    script.write_text(CODE)
    named = environment(
        folder, KERAS_BACKEND="jax", PERDURE_SAVE_ALWAYS="1", TF_CPP_MIN_LOG_LEVEL="3", **variables
    )
    return subprocess.run(
        [sys.executable, str(script), str(folder), *more],
        env=named,
        capture_output=True,
        text=True,
        timeout=290,
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline") / "reference"
    done = run(folder, PERDURE_SEAM_LOG=str(folder.parent / "seams"))
    assert done.returncode == 0, done.stderr
    return folder


def test_a_finished_run_leaves_its_report_plots_and_model(reference: Path) -> None:
    exports = reference / "exports"
    manifest = json.loads((exports / "manifest.json").read_text())
    assert set(manifest["files"]) >= {
        "report.html", "results.json", "model_card.md", "best.keras", "weights.safetensors", "model.json",
        "preprocessor.json", "predictions.parquet", "history.csv", "roc.png", "training_curves.png",
    }  # fmt: skip
    results = json.loads((exports / "results.json").read_text())
    auc = results["metrics"]["metrics"]["auc"]
    assert 0 <= auc["low"] <= auc["value"] <= auc["high"] <= 1
    assert "base rate" in (exports / "model_card.md").read_text()
    assert [row[0] for row in rows(reference, "SELECT path FROM phases ORDER BY ordinal")] == [
        "discover", "load", "split", "preprocess", "build", "train", "evaluate",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seam", ["snapshot.folder:2", "batch.begin:9"])
def test_the_pipeline_killed_at_a_seam_ends_with_the_same_bits(
    reference: Path, tmp_path: Path, seam: str
) -> None:
    folder = tmp_path / "killed"
    assert run(folder, PERDURE_KILL_AT=seam).returncode == KILLED
    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert digest(folder) == digest(reference)


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_the_pipeline_killed_at_each_named_seam_ends_with_the_same_bits(
    reference: Path, tmp_path: Path
) -> None:
    passed = (reference.parent / "seams").read_text().split()
    for number, name in enumerate(sorted(set(passed))):
        folder = tmp_path / f"killed-{number}"
        middle = (passed.count(name) + 1) // 2
        assert run(folder, PERDURE_KILL_AT=f"{name}:{middle}").returncode == KILLED, name
        done = run(folder)
        assert done.returncode == 0, (name, done.stderr)
        assert digest(folder) == digest(reference), name


@pytest.mark.crash
@pytest.mark.timeout(3600)
def test_the_pipeline_killed_twenty_times_at_random_ends_with_the_same_bits(
    reference: Path, tmp_path: Path
) -> None:
    import random

    chance, folder = random.Random(2), tmp_path / "killed"
    for _ in range(20):
        try:
            process = subprocess.Popen(
                [sys.executable, str(tmp_path / "pipeline_script.py"), str(folder)],
                env=environment(folder, KERAS_BACKEND="jax", PERDURE_SAVE_ALWAYS="1"),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            (tmp_path / "pipeline_script.py").write_text(CODE)
            process.wait(chance.uniform(1, 25))
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait()
    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert digest(folder) == digest(reference)


@needs_kepler
def test_real_curves_without_labels_are_refused_for_training_and_predict_is_offered(tmp_path: Path) -> None:
    done = run(tmp_path / "run", str(KEPLER))
    assert done.returncode == 2
    assert "nothing to train on" in done.stderr and "perdure predict exoplanet" in done.stderr
    assert "Traceback" not in done.stderr


@needs_kepler
def test_prediction_on_real_curves_gives_probabilities_plots_and_the_known_dips(
    reference: Path, tmp_path: Path
) -> None:
    code = (
        "import json, sys; from pathlib import Path; from perdure.pipelines.exoplanet.prediction import predict\n"
        "if __name__ == '__main__':\n"
        "    code, found = predict([Path(sys.argv[1])], run=Path(sys.argv[2]), output=Path(sys.argv[3]))\n"
        "    print(json.dumps(found)); sys.exit(code)\n"
    )
    script = tmp_path / "predict_script.py"
    script.write_text(code)
    named = environment(tmp_path / "unused", KERAS_BACKEND="jax")
    del named["PERDURE_RUN"]
    command = [sys.executable, str(script), str(KEPLER), str(reference), str(tmp_path / "out")]
    done = subprocess.run(command, env=named, capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    deepest = {curve["file"]: curve["dips"][0] for curve in found["curves"]}
    for name, time, depth in (
        ("kplr011442793-2010174085026_llc.fits", 472.160, 8291),
        ("kplr011442793-2010009091648_llc.fits", 357.465, 4017),
    ):
        assert deepest[name]["time"] == pytest.approx(time, abs=0.12)
        assert deepest[name]["depth_ppm"] == pytest.approx(depth, rel=0.05)
    assert all(0 <= curve["probability"] <= 1 for curve in found["curves"])
    assert len(found["plots"]) == 3
    assert all(
        (tmp_path / "out" / "exports" / name).read_bytes()[:4] == b"\x89PNG" for name in found["plots"]
    )


def test_what_the_network_cannot_judge_is_told_and_a_file_of_nothing_else_is_set_aside(
    reference: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    points = [
        f"{0.0204 * k:.4f},{1000 + k % 7},{star}" for star, n in (("A", 400), ("B", 100)) for k in range(n)
    ]
    (data / "stars.csv").write_text("\n".join(["time,flux,star", *points]))
    (data / "two.csv").write_text("time,flux\n1.0,1000\n1.02,1001\n")
    named = environment(tmp_path / "unused", KERAS_BACKEND="jax")
    del named["PERDURE_RUN"]
    words = [
        "predict",
        "exoplanet",
        str(data),
        "--run",
        str(reference),
        "--output",
        str(tmp_path / "out"),
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "perdure", *words], env=named, capture_output=True, text=True, timeout=290
    )
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert [curve["star"] for curve in found["curves"]] == ["A"]
    assert found["lines"][-1].startswith("stars.csv: not judged: it has 100 measured points")
    assert "it has 2 measured points" in found["failed"]["two.csv"]


def test_a_model_whose_files_were_changed_is_refused(reference: Path, tmp_path: Path) -> None:
    import shutil

    from perdure.errors import DamagedError, UsageError
    from perdure.pipelines.exoplanet.prediction import Model

    shutil.copytree(reference / "exports", tmp_path / "exports")
    assert Model.of(tmp_path).digest == Model.of(reference).digest
    weights = tmp_path / "exports" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(DamagedError, match=r"weights\.safetensors is not the file that training wrote"):
        Model.of(tmp_path)
    with pytest.raises(UsageError, match="has no trained model"):
        Model.of(tmp_path / "elsewhere")


def test_files_and_curves_that_were_not_taken_are_told_with_the_first_reason() -> None:
    manifest = [{"path": "a.csv", "reason": None}, {"path": "b.gz", "reason": "it is gzip-compressed"}]
    readings = {
        "a.csv": {"flux": [0, 1, 2], "rejected": [[7, "its flux is NaN"], [9, "too short"]]},
        "c.csv": {"flux": [0], "rejected": []},
    }
    assert pipeline.not_taken(manifest, readings) == [
        "b.gz: not read: it is gzip-compressed",
        "a.csv: 2 of 5 curves not taken; row 7: its flux is NaN",
    ]
