"""Curves and timelines as inline SVG; colours come from the page's style."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from perdure.console import duration
from perdure.overview import AttemptState
from perdure.report.record import Curve
from perdure.report.wording import number

_WIDTH, _HEIGHT = 560.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 12.0, 10.0, 26.0
_MOST_POINTS = 600  # drawn of a curve; of the rest the lowest and the highest of each stretch
_WIDE_RANGE = 1000.0  # positive values that span more than this are drawn on a logarithmic scale


def chart(curves: Sequence[Curve], *, takeovers: Sequence[int] = ()) -> str:
    """One picture of up to a few curves over the same positions; dashed lines where another attempt went on."""
    across = [position for curve in curves for position in curve.positions]
    up = [value for curve in curves for value in curve.values]
    logarithmic = min(up) > 0 and max(up) / min(up) > _WIDE_RANGE
    x = _Scale.over(across, _LEFT, _WIDTH - _RIGHT)
    y = _Scale.over(up, _HEIGHT - _BOTTOM, _TOP, logarithmic=logarithmic, room=0.04)
    parts = [_grid(x, y), *(_takeover(x, position) for position in takeovers if x.low <= position <= x.high)]
    parts += [_line(curve, x, y, style) for style, curve in enumerate(curves)]
    names = html.escape(", ".join(curve.name for curve in curves))
    scale = ", logarithmic scale" if logarithmic else ""
    return (
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{names}{scale}">'
        f"{''.join(parts)}</svg>"
    )


class _Scale:
    """Maps values to places; never of zero length."""

    def __init__(
        self, low: float, high: float, start: float, end: float, *, logarithmic: bool = False
    ) -> None:
        self.low, self.high, self.logarithmic = low, high, logarithmic
        self._start, self._end = start, end

    @classmethod
    def over(
        cls,
        values: Sequence[float],
        start: float,
        end: float,
        *,
        logarithmic: bool = False,
        room: float = 0.0,
    ) -> _Scale:
        """room: share of the range that stays free at both ends."""
        low, high = min(values), max(values)
        if low == high:
            margin = abs(low) * 0.1 or 1.0
            low, high = low - margin, high + margin
        elif not logarithmic:
            low, high = low - room * (high - low), high + room * (high - low)
        return cls(low, high, start, end, logarithmic=logarithmic)

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return self._start + (at - low) / (high - low) * (self._end - self._start)

    def ticks(self, *, whole: bool = False) -> list[float]:
        """Round values to name; whole: no fractions, for iterations."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1, max(1, (last - first) // 4))]
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * unit for unit in (1, 2, 2.5, 5, 10) if power * unit >= rough * 0.999)
        step = max(step, 1.0) if whole and self.high - self.low >= 1 else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [place * step for place in range(first, last + 1)]


def _grid(x: _Scale, y: _Scale) -> str:
    bottom = _HEIGHT - _BOTTOM
    across = "".join(
        f'<path class="grid" d="M{_LEFT} {y(at):.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 6}" y="{y(at) + 4:.1f}" text-anchor="end">{number(at)}</text>'
        for at in y.ticks()
    )
    below = "".join(
        f'<text x="{x(at):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{number(at)}</text>'
        for at in x.ticks(whole=True)
    )
    return f'{across}<path class="axis" d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}"/>{below}'


def _takeover(x: _Scale, position: int) -> str:
    return (
        f'<path class="cut" d="M{x(position):.1f} {_TOP}V{_HEIGHT - _BOTTOM}">'
        f"<title>interrupted; another attempt went on at {position}</title></path>"
    )


def _line(curve: Curve, x: _Scale, y: _Scale, style: int) -> str:
    points = [(x(at), y(value)) for at, value in thinned(curve.positions, curve.values, _MOST_POINTS)]
    last_x, last_y = points[-1]
    drawn = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return (
        f'<polyline class="line s{style}" points="{drawn}"/>'
        f'<circle class="dot s{style}" cx="{last_x:.1f}" cy="{last_y:.1f}" r="2.6"/>'
    )


def thinned(positions: Sequence[float], values: Sequence[float], most: int) -> list[tuple[float, float]]:
    """At most about `most` points: of each stretch the lowest and the highest, so that no peak is lost."""
    points = list(zip(positions, values, strict=True))
    if len(points) <= most:
        return points
    size = math.ceil(2 * len(points) / most)
    kept: list[tuple[float, float]] = [points[0]]
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        low, high = (choose(stretch, key=lambda point: point[1]) for choose in (min, max))
        kept += sorted({low, high})
    return [*kept, points[-1]]


def timeline(attempts: Sequence[AttemptState], causes: Sequence[str]) -> str:
    """When the run worked: a bar for each attempt, red where work was lost, nothing where nobody worked."""
    start = attempts[0].started_at
    end = max(max(attempt.started_at + attempt.seconds for attempt in attempts), start + 1e-3)
    scale = _Scale(start, end, 0.0, 1000.0)
    bars = []
    for attempt, cause in zip(attempts, causes, strict=True):
        left, right = scale(attempt.started_at), scale(attempt.started_at + attempt.seconds)
        lost = scale(start + attempt.lost_s) - scale(start)
        said = html.escape(f"attempt {attempt.id}, {duration(attempt.seconds)}: {cause}")
        kind = (
            "done" if attempt.outcome == "completed" else "open" if attempt.outcome == "running" else "worked"
        )
        bars.append(
            f'<g><title>{said}</title><rect class="{kind}" x="{left:.1f}" y="4" width="{max(right - left, 2):.1f}" '
            f'height="22"/><rect class="lost" x="{max(left, right - lost):.1f}" y="4" '
            f'width="{min(lost, max(right - left, 0)):.1f}" height="22"/></g>'
        )
    return (
        '<svg class="time" viewBox="0 0 1000 30" preserveAspectRatio="none" role="img" '
        f'aria-label="when the run worked">{"".join(bars)}</svg>'
    )
