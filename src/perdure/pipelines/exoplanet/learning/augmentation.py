"""Changed copies of training curves, drawn afresh each epoch; nothing about it needs saving.

Every number comes from a counter-based stream: value i of a row is splitmix64(key + i * golden), with the
key hashed from (seed, epoch, row, repeat) (Steele, Lea & Flood 2014). There is no generator to carry
forward, so a row alone gives what it gives in a batch, in any order and in any process.
Curves are preprocessed ones: in units of their own noise, clipped, 0 where there is a gap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import CADENCE_DAYS

_FLOOR, _CEILING = -30.0, 5.0  # the clip of the preprocessing


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often, and how much. Shares are of the curves they can apply to.

    inverted:  share of planets turned upside down; they are negatives then.
    injected:  share of quiet training stars given a transit; they are positives then.
    reversed_, noisy, gapped: shares of all curves. shifted: whether each curve starts at a random point.
    amplitude: every curve is scaled by a factor log-uniform in [1/amplitude, amplitude].
    noise:     largest standard deviation added, in units of the curve's own noise.
    mes:       range of an injected transit's multiple-event statistic.
    """

    inverted: float = 0.05
    injected: float = 0.10
    reversed_: float = 0.5
    noisy: float = 0.5
    gapped: float = 0.3
    shifted: bool = True
    amplitude: float = 1.25
    noise: float = 0.3
    mes: tuple[float, float] = (8.0, 80.0)

    def positive_share(self, share: float, *, quiet_share: float) -> float:
        """Share of positives after augmentation, of curves with `share` before it.

        quiet_share: share of the negatives that may be given a transit.
        """
        return share * (1 - self.inverted) + (1 - share) * quiet_share * self.injected


DEFAULT = Augmentation()


def augment(
    flux: np.ndarray,
    label: np.ndarray,
    *,
    seed: int,
    epoch: int,
    rows: np.ndarray,
    quiet: np.ndarray | None = None,
    repeat: np.ndarray | None = None,
    policy: Augmentation = DEFAULT,
) -> tuple[np.ndarray, np.ndarray]:
    """Augmented copies of a batch: flux (n, length) float32 and label (n,) float32; inputs are not touched.

    flux, label: preprocessed curves and their labels (0 or 1).
    rows:        (n,) index of each curve in the training part; the stream's key.
    quiet:       (n,) whether a curve is a quiet star that may be given a transit; none by default.
    repeat:      (n,) how often the row was shown before in this epoch, so that repeats differ; 0 by default.
    """
    count = len(flux)
    if len(label) != count or len(rows) != count:
        raise UsageError(f"{count} curves, {len(label)} labels and {len(rows)} rows; give one each")
    out = np.array(flux, dtype=np.float32, order="C")
    out_label = np.array(label, dtype=np.float32)
    eligible = np.zeros(count, dtype=np.bool_) if quiet is None else np.asarray(quiet, dtype=np.bool_)
    repeats = np.zeros(count, dtype=np.int64) if repeat is None else np.asarray(repeat, dtype=np.int64)
    keys = _keys(seed, epoch, np.asarray(rows, dtype=np.int64), repeats)
    chances = np.array(
        [policy.inverted, policy.injected, policy.reversed_, policy.noisy, policy.gapped, policy.shifted]
    )
    sizes = np.array([policy.amplitude, policy.noise, *policy.mes])
    _augment(out, out_label, keys, eligible, chances, sizes)
    return out, out_label


def _keys(seed: int, epoch: int, rows: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    return _hash_keys(
        np.uint64(seed & 0xFFFFFFFFFFFFFFFF),
        np.uint64(epoch),
        rows.astype(np.uint64),
        repeats.astype(np.uint64),
    )


@numba.njit(cache=True)
def _mix(value: np.uint64) -> np.uint64:
    """The finaliser of splitmix64."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@numba.njit(cache=True)
def _hash_keys(seed: np.uint64, epoch: np.uint64, rows: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    keys = np.empty(rows.size, dtype=np.uint64)
    golden = np.uint64(0x9E3779B97F4A7C15)
    outer = _mix(_mix(seed + golden) ^ (epoch + golden))
    for i in range(rows.size):
        keys[i] = _mix(_mix(outer ^ (rows[i] + golden)) ^ (repeats[i] + golden))
    return keys


@numba.njit(cache=True)
def _word(key: np.uint64, counter: int) -> np.uint64:
    return _mix(key + np.uint64(counter) * np.uint64(0x9E3779B97F4A7C15))


@numba.njit(cache=True)
def _uniform(key: np.uint64, counter: int) -> float:
    """In [0, 1), 53 bits."""
    return float(_word(key, counter) >> np.uint64(11)) * 1.1102230246251565e-16


@numba.njit(cache=True)
def _nearly_normal(key: np.uint64, counter: int) -> float:
    """Mean 0, variance 1: the sum of four 16-bit uniforms. No logarithm: the same bits on every machine."""
    word = _word(key, counter)
    mask = np.uint64(0xFFFF)
    total = (word & mask) + ((word >> np.uint64(16)) & mask)
    total += ((word >> np.uint64(32)) & mask) + (word >> np.uint64(48))
    return (float(total) - 131070.0) / 37837.0  # 2 * 65535; sqrt(4 * (2^32 - 1) / 12)


@numba.njit(cache=True, nogil=True)
def _augment(
    flux: np.ndarray,
    label: np.ndarray,
    keys: np.ndarray,
    quiet: np.ndarray,
    chances: np.ndarray,
    sizes: np.ndarray,
) -> None:
    """Counters 0..63 decide, 64.. are the noise: adding a draw never moves another."""
    spare = np.empty(flux.shape[1], dtype=np.float32)
    for row in range(flux.shape[0]):
        key, curve = keys[row], flux[row]
        if label[row] > 0.5 and _uniform(key, 0) < chances[0]:
            curve *= np.float32(-1)
            label[row] = 0.0
        elif label[row] < 0.5 and quiet[row] and _uniform(key, 1) < chances[1]:
            _inject(curve, key, sizes[2], sizes[3])
            label[row] = 1.0
        scale = math.exp((2 * _uniform(key, 2) - 1) * math.log(sizes[0]))
        noise = sizes[1] * _uniform(key, 4) if _uniform(key, 3) < chances[3] else 0.0
        _scale(curve, key, scale, noise)
        if _uniform(key, 5) < chances[4]:
            _open_gaps(curve, key)
        shift = int(_uniform(key, 6) * curve.size) if chances[5] > 0 else 0
        _turn(curve, spare, shift, _uniform(key, 7) < chances[2])


@numba.njit(cache=True)
def _scale(curve: np.ndarray, key: np.uint64, scale: float, noise: float) -> None:
    for i in range(curve.size):
        if curve[i] == 0.0:
            continue  # a gap stays a gap
        value = curve[i] * scale
        if noise > 0.0:
            value += noise * _nearly_normal(key, 64 + i)
        curve[i] = min(_CEILING, max(_FLOOR, value))


@numba.njit(cache=True)
def _open_gaps(curve: np.ndarray, key: np.uint64) -> None:
    """One to three gaps, each of up to a fiftieth of the curve."""
    for k in range(1 + int(3 * _uniform(key, 10))):
        start = int(_uniform(key, 11 + 2 * k) * curve.size)
        width = 1 + int(_uniform(key, 12 + 2 * k) * curve.size / 50)
        curve[start : start + width] = 0.0


@numba.njit(cache=True)
def _turn(curve: np.ndarray, spare: np.ndarray, shift: int, backwards: bool) -> None:
    """Shift in a circle; then, if asked, reverse in time."""
    count = curve.size
    for i in range(count):
        place = (i + shift) % count
        spare[count - 1 - place if backwards else place] = curve[i]
    for i in range(count):  # assigned as a whole, it would take numba 4 s more to compile
        curve[i] = spare[i]


@numba.njit(cache=True)
def _inject(curve: np.ndarray, key: np.uint64, mes_low: float, mes_high: float) -> None:
    """Transits of a log-uniform period, at least two of them, as deep as the drawn statistic asks for.

    The shape is a trapezoid with a bottom rounded by limb darkening; the duration is that of a star like
    the Sun (0.107 d at one day, growing with the cube root of the period), from 0.4 to 1.2 times that.
    """
    span = curve.size * CADENCE_DAYS
    longest = min(32.0, 0.49 * span)
    period = 0.6 * math.exp(_uniform(key, 20) * math.log(longest / 0.6))
    duration = 0.107 * period ** (1 / 3) * (0.4 + 0.8 * _uniform(key, 21))
    ingress = 0.05 + 0.4 * _uniform(key, 22)
    t0 = _uniform(key, 23) * period
    mes = mes_low * math.exp(_uniform(key, 24) * math.log(mes_high / mes_low))
    power = 0.0
    for i in range(curve.size):
        shape = _dip(i, period, t0, duration, ingress)
        if curve[i] != 0.0:
            power += shape * shape
    depth = mes / math.sqrt(max(power, 1.0))
    for i in range(curve.size):
        if curve[i] != 0.0:
            curve[i] = max(_FLOOR, curve[i] - depth * _dip(i, period, t0, duration, ingress))


@numba.njit(cache=True)
def _dip(place: int, period: float, t0: float, duration: float, ingress: float) -> float:
    """1 at mid-transit, 0 outside."""
    phase = (place * CADENCE_DAYS - t0) / period
    from_centre = 2 * abs(phase - math.floor(phase + 0.5)) * period / duration
    if from_centre >= 1:
        return 0.0
    edge = min(1.0, (1 - from_centre) / ingress)
    return edge * (0.8 + 0.2 * math.sqrt(1 - from_centre * from_centre))
