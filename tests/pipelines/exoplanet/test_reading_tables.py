"""Wide and long tables become curves with the right stars and labels; bad rows are set aside with a reason."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from perdure.pipelines.exoplanet.reading import UnreadableError, read, read_labels, read_series
from perdure.pipelines.exoplanet.reading.rules import windows

LENGTH = 300


def noise(rows: int, cadences: int = LENGTH, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1000, 3, (rows, cadences)).astype(np.float32)


def write_kaggle(path, flux, labels):
    lines = ["LABEL," + ",".join(f"FLUX.{k + 1}" for k in range(flux.shape[1]))]
    lines += [
        f"{label}," + ",".join(map(repr, row.tolist())) for label, row in zip(labels, flux, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")


def test_kaggle_labels_two_and_one_are_planet_and_none(tmp_path):
    flux = noise(3)
    write_kaggle(tmp_path / "train.csv", flux, [2, 1, 2])
    reading = read(tmp_path / "train.csv", "kaggle-csv", length=LENGTH)
    assert reading.curves.label.tolist() == [1, 0, 1]
    assert reading.curves.star.tolist() == ["train:2", "train:3", "train:4"]
    assert reading.curves.flux.tobytes() == flux.tobytes()
    assert reading.rejected == ()


def test_bad_kaggle_rows_are_rejected_by_line_and_the_others_stay_byte_identical(tmp_path):
    flux = noise(6)
    flux[1] = 5  # never changes
    flux[2, 50:140] = np.nan
    write_kaggle(tmp_path / "train.csv", flux, [2, 1, 1, 0, 1, 1])
    lines = (tmp_path / "train.csv").read_text().splitlines()
    lines[5] = lines[5].replace(",", ",oops,", 1)
    (tmp_path / "train.csv").write_text("\n".join(lines))
    reading = read(tmp_path / "train.csv", "kaggle-csv", length=LENGTH)
    assert reading.curves.flux.tobytes() == flux[[0, 5]].tobytes()
    reasons = dict(reading.rejected)
    assert sorted(reasons) == [3, 4, 5, 6]
    assert "zero variance" in reasons[3]
    assert "30% of its cadences are missing" in reasons[4]
    assert "label '0'" in reasons[5]
    assert "cells" in reasons[6]


def test_infinite_flux_counts_as_missing(tmp_path):
    flux = noise(1)
    flux[0, 10] = np.inf
    write_kaggle(tmp_path / "a.csv", flux, [1])
    curve = read(tmp_path / "a.csv", "kaggle-csv", length=LENGTH).curves.flux[0]
    assert np.isnan(curve[10]) and np.isfinite(np.delete(curve, 10)).all()


def test_a_wide_table_keeps_its_star_names_and_labels(tmp_path):
    flux = noise(4)
    names = ["KIC 1", "KIC 1", "KIC 2", ""]
    rows = [
        f"{star},{word}," + ",".join(map(repr, row.tolist()))
        for star, word, row in zip(names, ["planet", "1", "none", "0"], flux, strict=True)
    ]
    head = "star_id,label," + ",".join(f"flux_{k}" for k in range(LENGTH))
    (tmp_path / "wide.csv").write_text("\n".join([head, *rows]))
    reading = read(tmp_path / "wide.csv", "wide-csv", length=LENGTH)
    assert reading.curves.star.tolist() == ["KIC 1", "KIC 1", "KIC 2"]
    assert reading.curves.label.tolist() == [1, 1, 0]
    assert reading.rejected == ((5, "its star has no name"),)


def test_parquet_and_csv_of_one_wide_table_give_the_same_curves(tmp_path):
    flux = noise(3)
    columns = {"star": [11, 12, 13], "label": ["1", "0", None]}
    table = pl.DataFrame({**columns, **{f"f{k}": flux[:, k] for k in range(LENGTH)}})
    table.write_parquet(tmp_path / "wide.parquet")
    table.write_csv(tmp_path / "wide.csv")
    first = read(tmp_path / "wide.parquet", "wide-parquet", length=LENGTH, labels={"13": 1}).curves
    second = read(tmp_path / "wide.csv", "wide-csv", length=LENGTH, labels={"13": 1}).curves
    assert first.flux.tobytes() == second.flux.tobytes() == flux.tobytes()
    assert first.star.tolist() == second.star.tolist() == ["11", "12", "13"]
    assert first.label.tolist() == second.label.tolist() == [1, 0, 1]


def test_a_shorter_curve_is_padded_with_missing_cadences_and_not_stretched(tmp_path):
    flux = noise(1, cadences=220)
    write_kaggle(tmp_path / "short.csv", flux, [1])
    curve = read(tmp_path / "short.csv", "kaggle-csv", length=LENGTH).curves.flux[0]
    assert curve[:220].tobytes() == flux[0].tobytes()
    assert np.isnan(curve[220:]).all()


def test_a_longer_curve_becomes_windows_of_one_star(tmp_path):
    flux = noise(1, cadences=700)
    write_kaggle(tmp_path / "long.csv", flux, [2])
    curves = read(tmp_path / "long.csv", "kaggle-csv", length=LENGTH).curves
    assert len(curves) == 3 and len(set(curves.star)) == 1 and curves.label.tolist() == [1, 1, 1]
    for start, window in zip(curves.columns["start"], curves.flux, strict=True):
        assert window.tobytes() == flux[0, start : start + LENGTH].tobytes()


@pytest.mark.parametrize("cadences", [1, 300, 301, 599, 600, 601, 5000])
def test_windows_cover_every_cadence_and_are_full(cadences):
    found = windows(cadences, 300)
    covered = np.zeros(cadences, bool)
    for start, stop in found:
        assert start >= 0 and stop <= cadences and (stop - start == 300 or len(found) == 1)
        covered[start:stop] = True
    assert covered.all()


def test_under_200_points_are_rejected(tmp_path):
    write_kaggle(tmp_path / "few.csv", noise(1, cadences=199), [1])
    reading = read(tmp_path / "few.csv", "kaggle-csv", length=LENGTH)
    assert len(reading.curves) == 0 and reading.curves.flux.shape == (0, LENGTH)
    assert "199 measured points" in reading.rejected[0][1]


def long_table(stars, cadences=250, cadence=0.02):
    time = 100 + cadence * np.arange(cadences)
    return pl.concat(
        pl.DataFrame({"time": time, "flux": noise(1, cadences, seed=k)[0], "star_id": [star] * cadences})
        for k, star in enumerate(stars)
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_long_table_is_gathered_by_star_in_the_order_of_time(tmp_path, suffix):
    table = long_table(["a", "b"]).sample(fraction=1, shuffle=True, seed=1)
    path = tmp_path / f"long.{suffix}"
    table.write_csv(path) if suffix == "csv" else table.write_parquet(path)
    curves = read(path, f"long-{suffix}", length=LENGTH, labels={"a": 1}).curves
    assert curves.star.tolist() == ["a", "b"] and curves.label.tolist() == [1, -1]
    for k in range(2):
        assert curves.flux[k, :250].tobytes() == noise(1, 250, seed=k)[0].tobytes()


@pytest.mark.parametrize(("folder", "label"), [("planet", 1), ("none", 0), ("whatever", -1)])
def test_a_class_folder_labels_the_stars_in_it(tmp_path, folder, label):
    (tmp_path / folder).mkdir()
    long_table(["a"]).drop("star_id").write_csv(tmp_path / folder / "KIC 7.csv")
    curves = read(tmp_path / folder / "KIC 7.csv", "long-csv", length=LENGTH).curves
    assert curves.star.tolist() == ["KIC 7"] and curves.label.tolist() == [label]


def test_missing_cadences_of_a_long_table_stay_missing_in_their_place(tmp_path):
    table = long_table(["a"])
    kept = np.delete(np.arange(250), [20, 21, 100])
    table[kept].write_csv(tmp_path / "gaps.csv")
    curve = read(tmp_path / "gaps.csv", "long-csv", length=LENGTH).curves.flux[0]
    assert np.flatnonzero(np.isnan(curve[:250])).tolist() == [20, 21, 100]
    assert curve[kept].tobytes() == noise(1, 250)[0][kept].tobytes()


def test_an_unevenly_sampled_star_is_rejected_and_never_stretched(tmp_path):
    time = np.sort(np.random.default_rng(0).uniform(0, 10, 400))
    uneven = pl.DataFrame({"time": time, "flux": noise(1, 400)[0], "star_id": ["odd"] * 400})
    pl.concat([long_table(["a"]), uneven]).write_csv(tmp_path / "mixed.csv")
    reading = read(tmp_path / "mixed.csv", "long-csv", length=LENGTH)
    assert reading.curves.star.tolist() == ["a"]
    assert "not evenly sampled" in reading.rejected[0][1]


def test_a_long_break_parts_a_star_in_two_series(tmp_path):
    first, second = long_table(["a"]), long_table(["a"]).with_columns(pl.col("time") + 1e6)
    pl.concat([first, second]).write_csv(tmp_path / "break.csv")
    series = read_series(tmp_path / "break.csv", "long-csv")
    assert [len(part.flux) for part in series] == [250, 250]
    assert series[1].time[0] == pytest.approx(1e6 + 100)


def test_lines_of_a_long_table_that_hold_no_numbers_are_named(tmp_path):
    path = tmp_path / "long.csv"
    long_table(["a"]).write_csv(path)
    lines = path.read_text().splitlines()
    lines[3] = "soon,1000.0,a"
    lines[4] = "100.06,much,a"
    lines[5] = "100.08,nan,a"
    path.write_text("\r\n".join(lines))
    reading = read(path, "long-csv", length=LENGTH)
    assert [row for row, _ in reading.rejected] == [4, 5]
    assert np.flatnonzero(np.isnan(reading.curves.flux[0, :250])).tolist() == [2, 3, 4]


def test_a_star_labelled_both_ways_is_rejected(tmp_path):
    table = long_table(["a", "b"]).with_columns(label=pl.Series(["1", "0"] + ["1"] * 498))
    table.write_csv(tmp_path / "long.csv")
    reading = read(tmp_path / "long.csv", "long-csv", length=LENGTH)
    assert reading.curves.star.tolist() == ["b"] and reading.curves.label.tolist() == [1]
    assert "'0', '1'" in reading.rejected[0][1]


def test_a_table_of_labels_answers_by_star_and_refuses_contradictions(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("kepid,disposition\n757450,CONFIRMED\n1026957,FALSE POSITIVE\n5,\n")
    assert read_labels(path, "labels-csv") == {"757450": 1, "1026957": 0, "5": -1}
    path.write_text("kepid,disposition\n757450,CONFIRMED\n757450,FALSE POSITIVE\n")
    with pytest.raises(UnreadableError, match="757450"):
        read_labels(path, "labels-csv")


def test_an_unknown_layout_lists_those_that_exist(tmp_path):
    with pytest.raises(UnreadableError, match="kaggle-csv"):
        read(tmp_path / "x", "excel")


def test_reading_changes_no_file(tmp_path):
    write_kaggle(tmp_path / "a.csv", noise(2), [1, 2])
    before = (tmp_path / "a.csv").read_bytes(), (tmp_path / "a.csv").stat().st_mtime_ns
    read(tmp_path / "a.csv", "kaggle-csv", length=LENGTH)
    assert before == ((tmp_path / "a.csv").read_bytes(), (tmp_path / "a.csv").stat().st_mtime_ns)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
