"""Prepared curves as training sees them: the rows of many memory-mapped shards behind one index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.pipelines.exoplanet.preparation.split import TEST, TRAIN, VALIDATION


@dataclass(frozen=True, slots=True)
class Shards:
    """Blocks (n_k, length) of one length, indexed as if they lay one after the other."""

    blocks: Sequence[np.ndarray]
    starts: np.ndarray  # (k + 1,) first row of each block, and the number of rows in all

    @classmethod
    def of(cls, blocks: Sequence[np.ndarray]) -> Shards:
        return cls(blocks, np.concatenate([[0], np.cumsum([len(block) for block in blocks])]))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Rows by index, (len(rows), length)."""
        block = np.searchsorted(self.starts, rows, side="right") - 1
        out = np.empty((len(rows), self.blocks[0].shape[1]), self.blocks[0].dtype)
        for place, (number, row) in enumerate(zip(block.tolist(), rows.tolist(), strict=True)):
            out[place] = self.blocks[number][row - self.starts[number]]
        return out


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of the shards. An index beyond the end starts over: a row's repeats have numbers of their own."""

    shards: Shards
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.shards[self.index[np.asarray(rows) % len(self.index)]]

    def whole(self) -> np.ndarray:
        """All rows in memory."""
        return self.shards[self.index]


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of rows, with the same rule for repeats."""

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.values[np.asarray(rows) % len(self.values)]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Everything that later phases know about the curves: raw and prepared flux, labels, stars, parts."""

    raw: Shards
    prepared: Shards
    label: np.ndarray
    star: np.ndarray
    columns: dict[str, np.ndarray]
    measures: np.ndarray
    part: np.ndarray

    @classmethod
    def of(cls, readings: Mapping[str, Any], prepared: Mapping[str, Any], part: np.ndarray) -> DataSet:
        loaded, made = list(readings.values()), [prepared[key] for key in readings]
        return cls(
            Shards.of([reading["flux"] for reading in loaded]),
            Shards.of([shard["curves"] for shard in made]),
            np.concatenate([reading["label"] for reading in loaded]),
            np.concatenate([reading["star"] for reading in loaded]),
            shared_columns([reading["columns"] for reading in loaded]),
            np.concatenate([shard["measures"] for shard in made]),
            np.asarray(part),
        )

    def rows(self, part: int) -> np.ndarray:
        """Indices of the rows of a part."""
        return np.flatnonzero(self.part == part)

    @property
    def train(self) -> np.ndarray:
        return self.rows(TRAIN)

    @property
    def validation(self) -> np.ndarray:
        return self.rows(VALIDATION)

    @property
    def test(self) -> np.ndarray:
        return self.rows(TEST)

    def columns_of(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values[rows] for name, values in self.columns.items()}


def shared_columns(columns: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The columns that every file has, one after the other."""
    names = set(columns[0]).intersection(*columns[1:]) if columns else set()
    return {name: np.concatenate([part[name] for part in columns]) for name in sorted(names)}
