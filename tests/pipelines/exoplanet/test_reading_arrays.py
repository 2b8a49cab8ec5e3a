"""NumPy files are read without pickle; a split in them is kept."""

from __future__ import annotations

import numpy as np
import pytest

from perdure.pipelines.exoplanet.reading import UnreadableError, read

LENGTH = 300


def curves(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (rows, LENGTH)).astype(np.float32)


def test_a_split_in_the_file_is_kept_as_a_column(tmp_path):
    parts = {"train": 4, "val": 2, "test": 3}
    arrays = {f"X_{name}": curves(rows, seed=rows)[:, :, None] for name, rows in parts.items()}
    arrays |= {f"y_{name}": np.arange(rows) % 2.0 for name, rows in parts.items()}
    np.savez(tmp_path / "training_data.npz", **arrays)
    reading = read(tmp_path / "training_data.npz", "npz", length=LENGTH)
    assert reading.curves.columns["part"].tolist() == [0] * 4 + [1] * 2 + [2] * 3
    assert reading.curves.label.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert len(set(reading.curves.star)) == 9
    assert reading.curves.flux[:4].tobytes() == curves(4, seed=4).tobytes()


def test_a_plain_pair_of_curves_and_labels_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", X=curves(2), y=[1, 0], star=["s1", "s2"])
    reading = read(tmp_path / "a.npz", "npz", length=LENGTH)
    assert reading.curves.star.tolist() == ["s1", "s2"] and reading.curves.label.tolist() == [1, 0]


def test_a_matrix_is_labelled_by_its_folder_and_not_written_to(tmp_path):
    (tmp_path / "planet").mkdir()
    flux = curves(3)
    flux[0, 5] = np.inf
    np.save(tmp_path / "planet" / "m.npy", flux)
    before = (tmp_path / "planet" / "m.npy").read_bytes()
    reading = read(tmp_path / "planet" / "m.npy", "npy", length=LENGTH)
    assert reading.curves.label.tolist() == [1, 1, 1] and np.isnan(reading.curves.flux[0, 5])
    assert (tmp_path / "planet" / "m.npy").read_bytes() == before


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("layout", ["npy", "npz"])
def test_pickled_objects_are_refused_and_never_run(tmp_path, layout):
    objects = np.array([Bomb()], dtype=object)
    path = tmp_path / f"bomb.{layout}"
    if layout == "npy":
        np.save(path, objects, allow_pickle=True)
    else:
        np.savez(path, X=objects)
    with pytest.raises(UnreadableError, match="pickled"):
        read(path, layout, length=LENGTH)


def test_labels_of_another_number_or_meaning_are_refused(tmp_path):
    np.savez(tmp_path / "few.npz", X=curves(3), y=[0, 1])
    with pytest.raises(UnreadableError, match="3 curves, but 2 labels"):
        read(tmp_path / "few.npz", "npz", length=LENGTH)
    np.savez(tmp_path / "odd.npz", X=curves(2), y=[7, 1])
    with pytest.raises(UnreadableError, match="7"):
        read(tmp_path / "odd.npz", "npz", length=LENGTH)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("layout", ["npy", "npz"])
def test_a_file_cut_short_is_refused(tmp_path, layout, share):
    path = tmp_path / f"cut.{layout}"
    np.save(path, curves(2)) if layout == "npy" else np.savez(path, X=curves(2))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UnreadableError, match="cut"):
        read(path, layout, length=LENGTH)


def test_arrays_with_other_names_are_listed(tmp_path):
    np.savez(tmp_path / "w.npz", weights=curves(2))
    with pytest.raises(UnreadableError, match="weights"):
        read(tmp_path / "w.npz", "npz", length=LENGTH)
