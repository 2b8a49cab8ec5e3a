"""Files are known by their content; what cannot be used is refused with a reason, and stops nobody."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.discovery import discover, with_curves

KAGGLE = "LABEL,FLUX.1,FLUX.2,FLUX.3\n2,1,2,3\n1,4,5,6\n1,7,8,9\n"


def entries(folder):
    return {entry["path"]: entry for entry in discover(folder)}


def test_layouts_are_known_by_content_and_not_by_name(tmp_path):
    (tmp_path / "a.txt").write_text(KAGGLE)
    (tmp_path / "b.dat").write_text("star_id,f1,f2\nx,1,2\n")
    (tmp_path / "c.jpg").write_text("time,flux,star_id\n1,2,x\n2,2,x\n")
    (tmp_path / "d").write_text("kepid,label\n1,1\n")
    pl.DataFrame({"id": ["x"], "f1": [1.0], "f2": [2.0]}).write_parquet(tmp_path / "e.csv")
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "f.csv", output_verify="silentfix")
    with (tmp_path / "g.csv").open("wb") as file:
        np.savez(file, X_train=np.ones((3, 4)), y_train=[0, 1, 1])
    with (tmp_path / "h.csv").open("wb") as file:
        np.save(file, np.ones((5, 4)))
    found = {path: entry["layout"] for path, entry in entries(tmp_path).items()}
    assert found == {
        "a.txt": "kaggle-csv",
        "b.dat": "wide-csv",
        "c.jpg": "long-csv",
        "d": "labels-csv",
        "e.csv": "wide-parquet",
        "f.csv": "light-curve-fits",
        "g.csv": "npz",
        "h.csv": "npy",
    }


def test_an_entry_holds_path_size_digest_rows_and_labels(tmp_path):
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "a.csv"
    path.write_text(KAGGLE)
    assert discover(tmp_path) == [
        {
            "path": "deep/a.csv",
            "size": len(KAGGLE),
            "layout": "kaggle-csv",
            "reason": None,
            "sha256": hashlib.sha256(KAGGLE.encode()).hexdigest(),
            "rows": 3,
            "labels": {"0": 2, "1": 1},
        }
    ]


def test_rows_and_labels_of_arrays_and_parquet_are_counted(tmp_path):
    np.savez(
        tmp_path / "a.npz", X_train=np.ones((3, 4)), X_test=np.ones((2, 4)), y_train=[0, 1, 1], y_test=[0, 0]
    )
    pl.DataFrame({"label": ["planet", None], "f1": [1.0, 2.0], "f2": [2.0, 3.0]}).write_parquet(
        tmp_path / "b.parquet"
    )
    found = entries(tmp_path)
    assert (found["a.npz"]["rows"], found["a.npz"]["labels"]) == (5, {"0": 3, "1": 2})
    assert (found["b.parquet"]["rows"], found["b.parquet"]["labels"]) == (2, {"-1": 1, "1": 1})


@pytest.mark.parametrize(
    "text", [KAGGLE.rstrip("\n"), KAGGLE.replace("\n", "\r\n"), "\ufeff" + KAGGLE, KAGGLE + "\n\n"]
)
def test_line_ends_a_byte_order_mark_and_blank_lines_do_not_change_the_count(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text.encode())
    (entry,) = discover(tmp_path)
    assert (entry["layout"], entry["rows"], entry["labels"]) == ("kaggle-csv", 3, {"0": 2, "1": 1})


def packed(path):
    with gzip.open(path, "wt") as file:
        file.write(KAGGLE)


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", KAGGLE)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (packed, "gzip"),
        (zipped, "zip archive; unpack"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(np.random.default_rng(0).bytes(10000)), "no kind that perdure knows"),
        (lambda path: path.write_bytes(b"PK\x03\x04 broken"), "damaged zip"),
        (lambda path: path.write_bytes(b"PAR1 broken"), "Parquet"),
        (lambda path: path.write_bytes(b"\x93NUMPY broken"), "NumPy"),
        (lambda path: path.write_text("dear diary, today\nI saw a star\n"), "columns"),
        (lambda path: path.write_bytes("naïve,café\n".encode("latin-1")), "UTF-8"),
        (lambda path: np.save(path.open("wb"), np.array([{}], dtype=object), allow_pickle=True), "pickled"),
    ],
)
def test_rubbish_is_refused_with_its_reason_and_the_rest_is_found(tmp_path, write, reason):
    (tmp_path / "good.csv").write_text(KAGGLE)
    write(tmp_path / "rubbish.csv")
    manifest = discover(tmp_path)
    assert [entry["path"] for entry in with_curves(manifest)] == ["good.csv"]
    (refused,) = (entry for entry in manifest if entry["layout"] is None)
    assert reason in refused["reason"] and refused["path"] == "rubbish.csv"
    json.dumps(manifest)


@pytest.mark.parametrize("content", [None, "dear diary\n", "kepid,label\n1,1\n"])
def test_a_folder_without_light_curves_lists_what_is_supported(tmp_path, content):
    if content:
        (tmp_path / "a.txt").write_text(content)
    with pytest.raises(UsageError, match=r"FITS.*npz"):
        discover(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        discover(tmp_path / "nowhere")


def test_a_single_file_may_be_given(tmp_path):
    (tmp_path / "a.csv").write_text(KAGGLE)
    (tmp_path / "b.csv").write_text(KAGGLE)
    assert [entry["path"] for entry in discover(tmp_path / "b.csv")] == ["b.csv"]


def test_hidden_files_and_linked_folders_are_passed_over_and_the_order_is_that_of_the_paths(tmp_path):
    for name in ("b.csv", "a.csv", ".c.csv"):
        (tmp_path / name).write_text(KAGGLE)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [entry["path"] for entry in discover(tmp_path)] == ["a.csv", "b.csv"]


def test_threads_do_not_change_the_manifest(tmp_path):
    for k in range(9):
        (tmp_path / f"{k}.csv").write_text(KAGGLE + "2,0,0,0\n" * k)
    assert discover(tmp_path, threads=1) == discover(tmp_path, threads=4)
