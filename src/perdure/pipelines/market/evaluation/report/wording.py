"""What the figures mean, in words a colleague can use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.pipelines.market.evaluation.portfolio import FEWEST_NAMES

FIGURES = (  # name, key, scale, to compare with
    ("AUC", "auc", 1, "0.5 is chance; honest daily forecasts of stocks rarely pass 0.55"),
    ("log-loss", "log_loss", 1, "0.6931 is always saying 50%"),
    ("Brier score", "brier", 1, "0.25 is always saying 50%"),
    ("calibration error (ECE)", "ece", 1, "0 is perfect; the interval is free of what resampling adds"),
    ("rank IC", "rank_ic", 1, "0 is chance"),
    ("ICIR", "icir", 1, "mean over standard deviation of daily rank ICs, not annualised"),
    (
        "net return of a basket, bp",
        "net_return",
        1e4,
        "0; what one basket earns, a share of the money on each side",
    ),
)
MONEY = (
    ("gross return a year", "gross_per_year"),
    ("costs a year", "cost_per_year"),
    ("net return a year", "net_per_year"),
    ("net return a year, if overlapping trades are netted", "netted_net_per_year"),
    ("largest drawdown", "max_drawdown"),
    ("chance that the true Sharpe ratio is above 0", "probabilistic_sharpe"),
    ("the same, against the luckiest of all trials (deflated)", "deflated_sharpe"),
)
RATIOS = (
    ("Sharpe ratio, net, a year", "sharpe"),
    ("trials registered", "trials"),
    ("turnover a year, times capital, netted", "turnover_per_year"),
)
PORTFOLIO = (
    "A basket is formed on each day of the grid; its trades last until they reach a barrier. Returns are shares of a "
    "constant capital, 100% long and 100% short when all overlapping baskets are open. Every trade pays 5 basis points "
    "each way. The Sharpe ratio is annualised with the covariance of baskets that overlap, so the overlap does not "
    "flatter it. No borrowing fees, no market impact, no taxes."
)

_REAL = (
    "Whether the future resembles these years. A signal that is found is traded away sooner or later.",
    "What trading itself would have cost beyond the stated basis points: impact, borrowing, missed fills.",
    "How symbols would have done that were delisted before the list was made; those that survived look too good.",
    "How good a forecast could be at best: nobody knows the true signal of this market.",
)
_MADE_UP = ("Anything about real markets: this one is made up, and its signal was planted.",)


def verdict(gate_rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """A sentence, and its kind: good, warn, bad or dim."""
    failed = [str(row["check"]) for row in gate_rows if row["verdict"] == "failed"]
    warned = [str(row["check"]) for row in gate_rows if row["verdict"] == "warned"]
    if not gate_rows:
        return "Not judged: the promotion gate has not run.", "dim"
    if failed:
        return f"Blocked: {len(failed)} of {len(gate_rows)} checks failed ({'; '.join(failed)}).", "bad"
    if warned:
        return f"Passed, with warnings: {'; '.join(warned)}.", "warn"
    return f"Passed: all {len(gate_rows)} checks of the promotion gate.", "good"


def essence(assessment: Mapping[str, Any]) -> list[str]:
    """What the forecasts are worth, in a few sentences."""
    overall, money = assessment["overall"], assessment["portfolio"]
    area = overall["auc"]
    said = [
        f"{overall['n']:,} forecasts of {assessment['symbols']:,} symbols on {overall['dates']:,} days, "
        f"{overall['first_day']} to {overall['last_day']}, each made by models that had not seen that time. "
        f"The base rate is {percent(overall['base_rate'])} rises; always saying the same would be right "
        f"{percent(_best_constant(overall['base_rate']))} of the time, the model is {percent(overall['hit_rate'])}.",
        f"AUC {ranged(area)}: of a rise and a fall, the model gives the rise the higher probability "
        f"{percent(area['value'])} of the time. {_evidence(area)}",
        _traded(money),
    ]
    return said + _limit(assessment["oracle"])


def _traded(money: Mapping[str, Any]) -> str:
    if not money["days"]:
        return f"Trading the fifths was not tried: no day has the {FEWEST_NAMES} symbols that it takes."
    return f"Trading the fifths {_earned(money['net_per_year'])} a year after costs{_skill(money)}."


def _skill(money: Mapping[str, Any]) -> str:
    if money["sharpe"] is None:
        return "; the days are too few for a Sharpe ratio"
    among = f" among {money['trials']:.0f} trials" if money["trials"] > 1 else ""
    return (
        f", with a Sharpe ratio of {decimal(money['sharpe'])}; that it is better than luck{among} has a probability "
        f"of {percent(money['deflated_sharpe'])}"
    )


def intervals(assessment: Mapping[str, Any]) -> str:
    """How the intervals were made."""
    return (
        f"Intervals: {assessment['level']:.0%}, from {assessment['resamples']:,} resamples of blocks of about "
        f"{assessment['block_days']} days of the grid. All symbols of a day stay together, for they move together, and "
        "labels of neighbouring days overlap; intervals that ignore this are too narrow."
    )


def lockbox(told: Mapping[str, Any]) -> str:
    """What the lockbox says."""
    return (
        f"{told['n']:,} forecasts, {told['first_day']} to {told['last_day']}, that no choice was made by. They are in "
        "no other figure of this page. Each look at them that leads to a change makes them worth less."
    )


def unknown(assessment: Mapping[str, Any]) -> list[str]:
    """What these figures cannot tell."""
    told = [
        *(_REAL if assessment["oracle"] is None else _MADE_UP),
        "Which ideas were tried elsewhere: only trials that are registered are counted, and those are "
        f"{assessment['trials']}.",
    ]
    wide = [
        str(row["regime"])
        for row in assessment["by_regime"]
        if row["auc"]["low"] is None or row["auc"]["low"] <= 0.5 <= row["auc"]["high"]
    ]
    if wide:
        told.append(f"Whether the model is any better than chance in these regimes: {'; '.join(wide)}.")
    if assessment["lockbox"] is None:
        told.append("How the model does on the newest sessions: the lockbox is closed.")
    return told


def decimal(value: float | None) -> str:
    """Four decimals below 1, two above, none of a whole number; "unknown" for None."""
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if value % 1 == 0 else f"{value:,.2f}" if abs(value) > 1 else f"{value:.4f}"


def percent(value: float | None) -> str:
    """One decimal; "unknown" for None; nothing is rounded to certainty."""
    if value is None:
        return "unknown"
    return "over 99.9%" if 0.9995 <= value < 1 else f"{value:.1%}"


def ranged(entry: Mapping[str, float | None], scale: float = 1) -> str:
    """A value with its interval; figures of a scale other than 1 with one decimal."""
    shown = [
        None if x is None else f"{x * scale:.4f}" if scale == 1 else f"{x * scale:.1f}"
        for x in (entry["value"], entry["low"], entry["high"])
    ]
    if shown[0] is None:
        return "unknown"
    return shown[0] if None in shown else f"{shown[0]} ({shown[1]} to {shown[2]})"


def _best_constant(base_rate: float | None) -> float | None:
    return None if base_rate is None else max(base_rate, 1 - base_rate)


def _evidence(area: Mapping[str, float | None]) -> str:
    if area["low"] is None or area["high"] is None:
        return "There are too few days to say how sure that is."
    if area["low"] > 0.5:
        return "The whole interval is above 0.5, so chance alone is an unlikely reason."
    if area["high"] < 0.5:
        return "The whole interval is below 0.5: the model ranks the wrong way round."
    return "The interval holds 0.5, so chance alone is reason enough."


def _earned(net: float | None) -> str:
    if net is None:
        return "earned an unknown amount"
    return f"{'earned' if net >= 0 else 'lost'} {abs(net):.1%}"


def _limit(oracle: Mapping[str, Any] | None) -> list[str]:
    if oracle is None:
        return []
    told = (
        f"This market is made up, so its limit is known: the true signal reaches an AUC of {ranged(oracle['auc'])} on "
        f"these labels. The model has {percent(oracle['share_reached'])} of that lead over chance."
    )
    return [told + (" It is above the limit: a leak is likely." if oracle["suspicious"] else "")]
