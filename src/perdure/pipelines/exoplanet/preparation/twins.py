"""Curves that are copies of one another, exact or nearly so, among many: what would leak from one part to
another.

Two views of each curve are compared, both without scale and level, so that rescaling a copy hides nothing:

- fine: what is left after a running mean of two days, clipped. Independent noise does not correlate (its
correlation is normal with a standard deviation of 1/sqrt(3197) = 0.018), so a copy is found although noise of
half the original's was added to it.
- coarse: means over 128 bins, without a cubic trend. It finds the copy of a star so active that noise of a
few percent of its spots drowns the fine view; chance alone can make slow curves alike, so the fine views must
correlate beyond chance too.

Candidates come from locality-sensitive hashing: the signs of random projections agree where curves are alike
(Charikar 2002). The fine view is projected by a count sketch, one addition per cadence (Charikar, Chen and
Farach-Colton 2002). Only candidates are compared in full, so the time grows with the number of curves, not
its square. Not found: copies that were shifted, reversed or turned upside down.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import numpy.ma  # numba asks for it in our threads; its lazy import recurses when two ask at once
from numba import njit

FINE_ALIKE = 0.90  # correlation of the fine views from which on curves are copies
COARSE_ALIKE = 0.999  # or of the coarse views, if the fine ones reach:
FINE_BEYOND_CHANCE = 0.20  # eleven standard deviations of chance at 3,197 cadences

_HALF_WINDOW = 50  # cadences; with it the running mean spans two days of Kepler's long cadence
_CLIP = 4.0  # mean absolute deviations
_SKETCH = 256
_BINS = 128
_FINE_BANDS, _COARSE_BANDS, _COARSE_BITS = 32, 8, 40
_NEIGHBOURS = 32  # compared within a band; bounds the time when very many curves share a hash
_SEED = 20090307  # of the projections: fixed, for what counts as a copy must not depend on a run's seed
_CHUNK = 512  # rows


def digests(flux: Sequence[np.ndarray], *, threads: int = 1) -> list[bytes]:
    """SHA-256 of the bytes of each curve; `flux` is a sequence of blocks (n_k, m)."""
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(_digest_rows, _chunks(flux))
        return [digest for part in parts for digest in part]


def near_copies(flux: Sequence[np.ndarray], *, threads: int = 1) -> np.ndarray:
    """Pairs (p, 2) int64 of rows i < j that are nearly the same curve, sorted; rows count through all blocks.

    flux: blocks (n_k, m) float32, memory-mapped or not, NaN where there is no measurement. The result does
    not depend on `threads`, on how rows are parted into blocks, or (but for the bound on crowded bands) on
    the other rows.
    """
    rows = sum(len(block) for block in flux)
    if rows < 2:
        return np.empty((0, 2), np.int64)
    sketch, coarse = _views(flux, rows, threads)
    candidates = _candidates(sketch, coarse)
    starts = np.cumsum([0, *(len(block) for block in flux)])
    alike = [
        pair
        for pair, near in zip(candidates.tolist(), _coarse_alike(coarse, candidates), strict=True)
        if _confirmed(flux, starts, pair, near)
    ]
    return np.array(alike, np.int64).reshape(-1, 2)


def _chunks(flux: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for block in flux:
        for start in range(0, len(block), _CHUNK):
            yield block[start : start + _CHUNK]


def _digest_rows(chunk: np.ndarray) -> list[bytes]:
    rows = np.ascontiguousarray(chunk)
    return [hashlib.sha256(row).digest() for row in rows]


def _views(flux: Sequence[np.ndarray], rows: int, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """The sketch of each fine view (n, 256) and each coarse view (n, 128), both float32 of unit length."""
    cadences = max(block.shape[1] for block in flux)
    random = np.random.default_rng(_SEED)
    bucket = random.integers(0, _SKETCH, cadences)
    sign = random.choice(np.array([-1.0, 1.0], np.float32), cadences)
    sketch = np.zeros((rows, _SKETCH), np.float32)
    coarse = np.zeros((rows, _BINS), np.float32)
    trend = np.linalg.qr(np.vander(np.linspace(-1, 1, _BINS), 4))[0].T.astype(np.float32)
    sizes = np.cumsum([0, *(len(chunk) for chunk in _chunks(flux))])
    with ThreadPoolExecutor(threads) as pool:
        work = [
            pool.submit(_view_rows, chunk, bucket, sign, trend, sketch[a:b], coarse[a:b])
            for chunk, (a, b) in zip(_chunks(flux), pairwise(sizes), strict=True)
        ]
    for part in work:
        part.result()
    return sketch, coarse


def _view_rows(
    chunk: np.ndarray,
    bucket: np.ndarray,
    sign: np.ndarray,
    trend: np.ndarray,
    sketch: np.ndarray,
    coarse: np.ndarray,
) -> None:
    _view_kernel(np.ascontiguousarray(chunk, np.float32), bucket, sign, trend, sketch, coarse)


def _candidates(sketch: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Pairs (p, 2) whose hashes meet in a band and whose short views are alike, sorted, each once."""
    rows = len(sketch)
    bits = int(np.clip(math.ceil(math.log2(rows)), 12, 24))  # so that chance meetings grow as the rows do
    random = np.random.default_rng(_SEED + 1)
    found = []
    for _ in range(_FINE_BANDS):
        chosen = random.choice(_SKETCH, bits, replace=False)
        keys = _keys(sketch[:, chosen] > 0)
        found.append(_meetings(keys, sketch, FINE_ALIKE - 0.1))
    for _ in range(_COARSE_BANDS):
        directions = random.standard_normal((_BINS, _COARSE_BITS)).astype(np.float32)
        keys = _keys(np.einsum("nb,bk->nk", coarse, directions) > 0)  # einsum: the same bits in any batch
        found.append(_meetings(keys, coarse, COARSE_ALIKE))
    return np.unique(np.concatenate(found), axis=0)


def _keys(signs: np.ndarray) -> np.ndarray:
    return signs @ (np.int64(1) << np.arange(signs.shape[1], dtype=np.int64))


def _meetings(keys: np.ndarray, views: np.ndarray, threshold: float) -> np.ndarray:
    order = np.argsort(keys, kind="stable")
    return _meeting_kernel(keys[order], order, views, threshold)


def _coarse_alike(coarse: np.ndarray, pairs: np.ndarray) -> list[bool]:
    return [bool(coarse[i] @ coarse[j] >= COARSE_ALIKE) for i, j in pairs.tolist()]


def _confirmed(flux: Sequence[np.ndarray], starts: np.ndarray, pair: list[int], coarse_alike: bool) -> bool:
    first, second = (_row(flux, starts, row) for row in pair)
    if len(first) != len(second):
        return False
    return bool(_correlation(first, second) >= (FINE_BEYOND_CHANCE if coarse_alike else FINE_ALIKE))


def _row(flux: Sequence[np.ndarray], starts: np.ndarray, row: int) -> np.ndarray:
    block = int(np.searchsorted(starts, row, side="right")) - 1
    return np.ascontiguousarray(flux[block][row - starts[block]], np.float32)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """The correlation of two fine views over the cadences that both measured."""
    views = np.empty((2, len(first)), np.float32)
    for view, curve in zip(views, (first, second), strict=True):
        _fine(curve, view)
    both = np.isfinite(first) & np.isfinite(second)
    a, b = views[:, both].astype(np.float64)
    scale = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


@njit(nogil=True, cache=True)
def _fine(curve: np.ndarray, view: np.ndarray) -> None:
    """Write the fine view of a curve: less its running mean, clipped to 4 mean deviations, 0 in gaps."""
    size = curve.size
    total, count = 0.0, 0
    deviation, measured = 0.0, 0
    for k in range(-_HALF_WINDOW, size):
        if k + _HALF_WINDOW < size and math.isfinite(curve[k + _HALF_WINDOW]):
            total += curve[k + _HALF_WINDOW]
            count += 1
        if k - _HALF_WINDOW - 1 >= 0 and math.isfinite(curve[k - _HALF_WINDOW - 1]):
            total -= curve[k - _HALF_WINDOW - 1]
            count -= 1
        if k >= 0:
            if math.isfinite(curve[k]):
                view[k] = curve[k] - total / count
                deviation += abs(view[k])
                measured += 1
            else:
                view[k] = 0
    limit = _CLIP * deviation / measured if measured else 0.0
    for k in range(size):
        view[k] = min(max(view[k], -limit), limit)


@njit(nogil=True, cache=True)
def _view_kernel(
    flux: np.ndarray,
    bucket: np.ndarray,
    sign: np.ndarray,
    trend: np.ndarray,
    sketch: np.ndarray,
    coarse: np.ndarray,
) -> None:
    size = flux.shape[1]
    view = np.empty(size, np.float32)
    for row in range(flux.shape[0]):
        _fine(flux[row], view)
        for k in range(size):
            sketch[row, bucket[k]] += sign[k] * view[k]
        _to_unit(sketch[row])
        _bin_means(flux[row], coarse[row])
        for power in range(trend.shape[0]):
            share = np.float32(0)
            for k in range(_BINS):
                share += trend[power, k] * coarse[row, k]
            for k in range(_BINS):
                coarse[row, k] -= share * trend[power, k]
        _to_unit(coarse[row])


@njit(nogil=True, cache=True)
def _bin_means(curve: np.ndarray, means: np.ndarray) -> None:
    """Means over 128 bins, less the mean of all; 0 for a bin without a measurement."""
    size = curve.size
    total, measured = 0.0, 0
    for value in curve:
        if math.isfinite(value):
            total += value
            measured += 1
    level = total / measured if measured else 0.0
    for k in range(_BINS):
        total, count = 0.0, 0
        for i in range(k * size // _BINS, (k + 1) * size // _BINS):
            if math.isfinite(curve[i]):
                total += curve[i] - level
                count += 1
        means[k] = total / count if count else 0.0


@njit(nogil=True, cache=True)
def _to_unit(vector: np.ndarray) -> None:
    total = 0.0
    for value in vector:
        total += value * value
    if total > 0.0:
        vector *= np.float32(1.0 / math.sqrt(total))


@njit(nogil=True, cache=True)
def _meeting_kernel(keys: np.ndarray, order: np.ndarray, views: np.ndarray, threshold: float) -> np.ndarray:
    """Pairs (p, 2), lower row first, that share a key and whose views multiply to `threshold` or more."""
    pairs = np.empty((1024, 2), np.int64)
    found = 0
    for a in range(len(keys)):
        for b in range(a + 1, min(a + 1 + _NEIGHBOURS, len(keys))):
            if keys[a] != keys[b]:
                break
            i, j = order[a], order[b]
            product = np.float32(0)
            for k in range(views.shape[1]):
                product += views[i, k] * views[j, k]
            if product >= threshold:
                if found == len(pairs):
                    larger = np.empty((2 * found, 2), np.int64)
                    for k in range(found):  # assigned as a whole, it would take numba 5 s more to compile
                        larger[k, 0], larger[k, 1] = pairs[k, 0], pairs[k, 1]
                    pairs = larger
                pairs[found, 0], pairs[found, 1] = min(i, j), max(i, j)
                found += 1
    return pairs[:found]
