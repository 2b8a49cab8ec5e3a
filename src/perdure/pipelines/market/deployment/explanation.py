"""Why one symbol got its forecast: what each feature added to the output of each base model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perdure import files
from perdure.errors import UsageError
from perdure.pipelines.canvas import GREEN, RED, figure, plain, png, tidy
from perdure.pipelines.market.deployment import prediction
from perdure.pipelines.market.deployment.latest import Rows
from perdure.pipelines.market.deployment.prediction import Trained


@dataclass(frozen=True, slots=True)
class Part:
    """A feature, its value, and what it added to a model's output."""

    feature: str
    value: float
    contribution: float


@dataclass(frozen=True, slots=True)
class Share:
    """One base model: base + the contributions of `parts` + rest = output, in the model's own unit.

    probability: what the model says. parts: the largest contributions, largest first; none that is 0.
    """

    model: str
    probability: float
    output: float
    base: float
    parts: tuple[Part, ...]
    rest: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """probability: the ensemble's. shares: of the models that can be taken apart; the network is not among them."""

    symbol: str
    day: str
    probability: float
    shares: tuple[Share, ...]
    without: tuple[str, ...]


def explain_as_of(
    registry: Path, symbols: Sequence[str], *, asof: str | None = None, version: int | None = None,
    source: str | None = None, top: int = 10, output: Path | None = None,
) -> list[Explanation]:  # fmt: skip
    """Explanations of the champion's forecasts, or of another version's; `output`: a folder for their pictures.

    asof, source: as for `prediction.forecast`. Raises what that raises.
    """
    champion, rows, _ = prediction.material(registry, asof=asof, version=version, source=source)
    found = [explain(champion.ensemble, rows, symbol, top=top) for symbol in symbols]
    if output is not None:
        files.make_folder(output.absolute())
        for one in found:
            files.publish(
                output.absolute() / f"{files.name_for(one.symbol.lower())}.png", [picture(one)], kind="export"
            )
    return found


def explain(ensemble: Trained, rows: Rows, symbol: str, *, top: int = 10) -> Explanation:
    """The `top` contributions of every model to the forecast of a symbol. Raises UsageError for one without a row."""
    if symbol not in rows.symbols:
        why = rows.skipped.get(symbol, "it is none of the model's symbols")
        raise UsageError(f"there is no forecast of {symbol} to explain: {why}")
    at = rows.symbols.index(symbol)
    x = rows.x[at : at + 1]
    base, names = ensemble.base_probabilities(x), list(ensemble.manifest["features"])
    shares = tuple(
        _share(model, float(base[model][0]), values[0], float(outputs[0]), x[0], names, top)
        for model, (values, outputs) in ensemble.contributions(x).items()
    )
    explained = {share.model for share in shares}
    return Explanation(
        symbol, str(rows.day[at]), float(ensemble.probabilities(x, rows.regime[at : at + 1])[0]), shares,
        tuple(model for model in base if model not in explained),
    )  # fmt: skip


def _share(
    model: str,
    probability: float,
    values: np.ndarray,
    output: float,
    x: np.ndarray,
    names: list[str],
    top: int,
) -> Share:
    added = values[:-1].astype(np.float64)
    order = np.argsort(-np.abs(added), kind="stable")
    parts = tuple(Part(names[k], float(x[k]), float(added[k])) for k in order[:top] if added[k])
    return Share(model, probability, output, float(values[-1]), parts, float(added[order[top:]].sum()))


def lines(found: Explanation) -> list[str]:
    """For people: each model's lines add up to its output."""
    told = [f"{found.symbol}, session {found.day}: probability {found.probability:.4f}"]
    for share in found.shares:
        told += [
            f"{share.model}: probability {share.probability:.4f}, from an output of {share.output:+.4f}",
            f"  {share.base:+.4f}  base, when nothing is known",
            *(f"  {one.contribution:+.4f}  {one.feature} = {one.value:.4g}" for one in share.parts),
            f"  {share.rest:+.4f}  all other features",
        ]
    return told + [f"{model}: it cannot be taken apart into features" for model in found.without]


def picture(found: Explanation) -> bytes:
    """A PNG with one panel a model."""
    count = len(found.shares)
    if not count:
        raise UsageError(
            f"no model of this ensemble can be taken apart, so there is nothing to draw of {found.symbol}"
        )
    tallest = max(len(share.parts) for share in found.shares)
    fig = figure(12, (0.26 * tallest + 0.9) * -(-count // 2) + 0.4)
    grid = fig.subplots(-(-count // 2), 2, squeeze=False)
    for ax, share in zip(grid.flat, found.shares, strict=False):
        added = [one.contribution for one in share.parts]
        ax.barh(range(len(added)), added, color=[GREEN if one >= 0 else RED for one in added], height=0.7)
        ax.set_yticks(range(len(added)), [f"{plain(one.feature)} = {one.value:.3g}" for one in share.parts])
        ax.invert_yaxis()
        tidy(ax, title=f"{plain(share.model)}: {share.probability:.1%}", x="added to the model's output")
    for ax in grid.flat[count:]:
        ax.set_axis_off()
    fig.suptitle(f"{plain(found.symbol)}, {found.day}: probability {found.probability:.1%}", fontsize=11)
    return png(fig)
