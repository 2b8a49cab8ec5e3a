"""All that is said of a set of forecasts, as one document of plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.evaluation import intervals, metrics, portfolio
from perdure.pipelines.market.evaluation.forecasts import LOCKBOX, Forecasts
from perdure.pipelines.market.evaluation.intervals import Resamples
from perdure.pipelines.market.evaluation.portfolio import Book

META = "meta-learner"
ORACLE_MARGIN = 0.015  # AUC that chance may add to the best possible; more is a suspected leak


def assess(
    forecasts: Forecasts, *, trials: int, seed: int, resamples: int, horizon: int = 10, stride: int = 3
) -> dict[str, Any]:
    """The whole assessment; None where a figure is undefined.

    A figure with an interval is {"value", "low", "high"}: 95%, of the stationary bootstrap over days. The lockbox is
    judged apart and is in no other entry. trials: how many models were tried on these data, this one among them.
    horizon, stride: sessions that a trade lasts at most, and between two days of the grid.
    Raises UsageError when there is nothing outside the lockbox.
    """
    forward, lockbox = forecasts.forward, forecasts.lockbox
    if not len(forward):
        raise UsageError("all forecasts lie in the lockbox; assess those of the forward blocks as well")

    def figures(part: Forecasts) -> dict[str, Any]:
        return _figures(part, Resamples.of(part.day, resamples=resamples, seed=seed))

    def money(part: Forecasts) -> dict[str, Any]:
        return _portfolio(portfolio.book(part, horizon=horizon, stride=stride), trials)

    drawn = Resamples.of(forward.day, resamples=resamples, seed=seed)
    document = {
        "format": 1,
        "horizon": horizon,
        "stride": stride,
        "symbols": len(np.unique(forward.symbol)),
        "trials": trials,
        "resamples": resamples,
        "level": intervals.LEVEL,
        "block_days": intervals.BLOCK,
        "overall": _figures(forward, drawn),
        "by_regime": [
            {"regime": forward.regimes[code], **figures(forward.take(forward.regime == code))}
            for code in np.unique(forward.regime)
        ],
        "by_sector": _grouped("sector", forward, forward.sector, figures),
        "by_year": _grouped("year", forward, forward.day.astype("datetime64[Y]").astype(str), figures),
        "by_block": [
            {"block": int(k) + 1, **figures(forward.take(forward.block == k))}
            for k in np.unique(forward.block)
        ],
        "models": _models(forward, drawn),
        "oracle": _oracle(forward, drawn),
        "calibration": metrics.calibration_table(forward.y, forward.probability),
        "portfolio": money(forward),
        "lockbox": figures(lockbox) | {"portfolio": money(lockbox)} if len(lockbox) else None,
    }
    return _plain(document)


def compare(champion: Forecasts, challenger: Forecasts, *, seed: int, resamples: int) -> dict[str, Any]:
    """The challenger's AUC and log-loss less the champion's, on the rows that both forecast, paired.

    Raises UsageError when they have no row in common, or disagree about what happened there.
    """
    left, right = _common(champion, challenger)
    if not len(left):
        raise UsageError(
            "champion and challenger share no day and symbol; forecast the same period with both"
        )
    if not np.array_equal(left.y, right.y):
        raise UsageError(
            f"champion and challenger disagree about {int((left.y != right.y).sum()):,} of {len(left):,} labels; "
            "compare models of the same label only"
        )
    found = intervals.paired(
        left.y, left.day, left.probability, right.probability, resamples=resamples, seed=seed
    )
    return _plain({"n": len(left)} | {name: asdict(difference) for name, difference in found.items()})


def _figures(part: Forecasts, drawn: Resamples) -> dict[str, Any]:
    """Size and scores of some forecasts; drawn: resamples of their days."""
    return {
        "n": len(part),
        "dates": len(drawn.days),
        "first_day": str(part.day.min()),
        "last_day": str(part.day.max()),
        "base_rate": metrics.base_rate(part.y),
        "hit_rate": metrics.hit_rate(part.y, part.probability),
        "auc_weighted": metrics.auc(part.y, part.probability, part.weight),
        **_scores(part, part.probability, drawn, drawn.aucs(part.y, part.probability)),
        **_rank_scores(part, part.probability, drawn),
        "net_return": _net_return(part, drawn),
    }


def _scores(part: Forecasts, probability: np.ndarray, drawn: Resamples, areas: np.ndarray) -> dict[str, Any]:
    """areas: the AUCs of the resamples, which take the longest and are wanted elsewhere too."""
    y = part.y
    return {
        "auc": _figure(metrics.auc(y, probability), areas),
        "log_loss": _figure(metrics.log_loss(y, probability), drawn.means(metrics.losses(y, probability))),
        "brier": _figure(metrics.brier(y, probability), drawn.means((probability - y) ** 2)),
        "ece": _figure(
            metrics.calibration_error(y, probability), drawn.calibration_errors_less_bias(y, probability)
        ),
    }


def _rank_scores(part: Forecasts, probability: np.ndarray, drawn: Resamples) -> dict[str, Any]:
    days, ic = metrics.rank_ic(part.day, probability, part.excess)
    over = drawn.among(days)
    return {
        "rank_ic": _figure(float(ic.mean()) if len(ic) else math.nan, over.means(ic)),
        "icir": _figure(metrics.icir(ic), over.ratios(ic)),
    }


def _net_return(part: Forecasts, drawn: Resamples) -> dict[str, Any]:
    """Mean net return of a basket of long-short fifths, a share of what it holds on each side."""
    held = portfolio.book(part)
    net = held.net * held.overlap
    return _figure(float(net.mean()) if len(net) else math.nan, drawn.among(held.day).means(net))


def _grouped(name: str, forward: Forecasts, key: np.ndarray, figures: Any) -> list[dict[str, Any]]:
    return [{name: str(value), **figures(forward.take(key == value))} for value in np.unique(key)]


def _models(forward: Forecasts, drawn: Resamples) -> list[dict[str, Any]]:
    """The meta-learner, then each base model: scores, AUC by block, and the meta-learner's lead."""
    y, models = forward.y, {META: forward.probability, **forward.base}
    areas = {name: drawn.aucs(y, probability) for name, probability in models.items()}
    best = metrics.auc(y, forward.probability)
    return [
        {
            "model": name,
            **_scores(forward, probability, drawn, areas[name]),
            **_rank_scores(forward, probability, drawn),
            "auc_by_block": _by_block(forward, probability),
            "lead_of_meta_learner": _figure(best - metrics.auc(y, probability), areas[META] - areas[name]),
        }
        for name, probability in models.items()
    ]


def _by_block(forward: Forecasts, probability: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"block": k + 1, "auc": metrics.auc(forward.y[forward.block == k], probability[forward.block == k])}
        for k in range(LOCKBOX)
    ]


def _oracle(forward: Forecasts, drawn: Resamples) -> dict[str, Any] | None:
    """What the best possible score reaches on these very labels, where it is known."""
    known = np.isfinite(forward.oracle)
    if not known.any():
        return None
    part = forward.take(known)
    best, reached = metrics.auc(part.y, part.oracle), metrics.auc(part.y, part.probability)
    return {
        "n": len(part),
        "auc": _figure(best, drawn.of_rows(known).aucs(part.y, part.oracle)),
        "bound": best + ORACLE_MARGIN,
        "meta_learner_auc": reached,
        "share_reached": (reached - 0.5) / (best - 0.5) if best > 0.5 else math.nan,
        "suspicious": reached > best + ORACLE_MARGIN,
    }


def _portfolio(held: Book, trials: int) -> dict[str, Any]:
    return portfolio.summary(held, trials=trials) | {
        "curve": {"day": [str(day) for day in held.day], "net": held.net.tolist()}
    }


def _common(left: Forecasts, right: Forecasts) -> tuple[Forecasts, Forecasts]:
    """Both at the days and symbols that both have, in one order."""
    keys = [np.char.add(part.day.astype("U11"), part.symbol.astype(str)) for part in (left, right)]
    _, rows, others = np.intersect1d(keys[0], keys[1], return_indices=True)
    return left.take(rows), right.take(others)


def _figure(value: float, draws: np.ndarray) -> dict[str, float]:
    low, high = intervals.interval(draws) if math.isfinite(value) else (math.nan, math.nan)
    return {"value": value, "low": low, "high": high}


def _plain(value: Any) -> Any:
    """JSON values: no arrays' scalars, and None for what is not a finite number."""
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Iterable):
        return [_plain(entry) for entry in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if math.isfinite(value) else None
