"""The sections of a report, verdict first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.pipelines.market.evaluation.report import page, wording
from perdure.pipelines.market.evaluation.report.wording import decimal, percent, ranged

_CAPTIONS = {
    "reliability": "Do the probabilities mean what they say? On the dotted line they do.",
    "roc": "How well the models rank, and by how much they beat chance.",
    "blocks": "Each model in each forward block: one good block is luck, all good blocks are a signal.",
    "equity": "The long-short portfolio before and after costs, and its falls.",
    "regimes": "Each market regime by itself, with its interval.",
    "importance": "Which features the models use most.",
    "swarm": "What each feature adds to single forecasts.",
    "waterfall": "One forecast, from what is said when nothing is known to its score.",
}


def report(
    assessment: Mapping[str, Any],
    gate_rows: Sequence[Mapping[str, Any]],
    plots: Mapping[str, bytes],
    context: Mapping[str, Any],
) -> bytes:
    """One self-contained HTML page, UTF-8; names from files can do nothing in it.

    assessment: from `assess`. gate_rows: `check`, `verdict` ("passed", "warned" or "failed"), `value`, `threshold`
    and `text` of each check; none when there was no gate. plots: PNG by name; a name of _CAPTIONS, also before a space,
    has its caption. context: what a reader should know of the run (its source, preset, seed), by name; `title` is the
    page's.
    """
    told = {name: value for name, value in context.items() if name != "title"}
    return page.page(
        str(context.get("title", "Market forecasts")),
        [
            *_verdict(assessment, gate_rows),
            *_gate(gate_rows),
            *_figures(assessment),
            *_portfolio(assessment),
            *_groups(assessment),
            *_models(assessment),
            *_lockbox(assessment),
            page.heading("What is not known"),
            page.points(wording.unknown(assessment)),
            *_pictures(plots),
            page.heading("The run"),
            page.table(("what", "value"), told.items()),
        ],
    )


def _verdict(assessment: Mapping[str, Any], gate_rows: Sequence[Mapping[str, Any]]) -> list[str]:
    words, kind = wording.verdict(gate_rows)
    return [
        page.paragraph(words, f"verdict {kind}"),
        *[page.paragraph(text) for text in wording.essence(assessment)],
    ]


def _gate(gate_rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not gate_rows:
        return []
    rows = [
        (row["check"], row["verdict"], decimal(row["value"]), decimal(row["threshold"]), row["text"])
        for row in sorted(gate_rows, key=lambda row: row["verdict"] == "passed")
    ]
    return [
        page.heading("Promotion gate"),
        page.table(("check", "verdict", "value", "threshold", "in words"), rows),
    ]


def _figures(assessment: Mapping[str, Any]) -> list[str]:
    overall = assessment["overall"]
    rows = [(name, ranged(overall[key], scale), meaning) for name, key, scale, meaning in wording.FIGURES]
    return [
        page.heading("Figures over all forward blocks"),
        page.table(("figure", "value and 95% interval", "to compare with"), rows),
        page.paragraph(wording.intervals(assessment), "dim"),
    ]


def _portfolio(assessment: Mapping[str, Any]) -> list[str]:
    figures = assessment["portfolio"]
    rows = [(name, percent(figures[key])) for name, key in wording.MONEY]
    rows += [(name, decimal(figures[key])) for name, key in wording.RATIOS]
    return [
        page.heading("Portfolio: long the best fifth, short the worst"),
        page.table(("figure", "value"), rows),
        page.paragraph(wording.PORTFOLIO, "dim"),
    ]


def _groups(assessment: Mapping[str, Any]) -> list[str]:
    parts = []
    for name in ("regime", "block", "year", "sector"):
        parts += [page.heading(f"By {name}"), _group_table(name, assessment[f"by_{name}"])]
    return parts


def _group_table(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (
            row[name], f"{row['n']:,}", f"{row['dates']:,}", percent(row["base_rate"]), ranged(row["auc"]),
            decimal(row["log_loss"]["value"]), decimal(row["brier"]["value"]), decimal(row["ece"]["value"]),
            ranged(row["rank_ic"]), decimal(row["icir"]["value"]), ranged(row["net_return"], 1e4),
        )
        for row in rows
    ]  # fmt: skip
    return page.table(
        (name, "forecasts", "days", "base rate", "AUC", "log-loss", "Brier", "ECE", "rank IC", "ICIR", "net, bp"),
        cells,
    )  # fmt: skip


def _models(assessment: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            row["model"],
            ranged(row["auc"]),
            decimal(row["log_loss"]["value"]),
            decimal(row["ece"]["value"]),
            ranged(row["rank_ic"]),
            ranged(row["lead_of_meta_learner"]),
        )
        for row in assessment["models"]
    ]
    head = ("model", "AUC", "log-loss", "ECE", "rank IC", "meta-learner's lead in AUC")
    return [page.heading("Models side by side"), page.table(head, rows)]


def _lockbox(assessment: Mapping[str, Any]) -> list[str]:
    told = assessment["lockbox"]
    if told is None:
        return [page.heading("Lockbox"), page.paragraph("Not opened: the newest sessions are still unseen.")]
    rows = [(name, ranged(told[key], scale)) for name, key, scale, _ in wording.FIGURES]
    return [
        page.heading("Lockbox"),
        page.paragraph(wording.lockbox(told)),
        page.table(("figure", "value and 95% interval"), rows),
    ]


def _pictures(plots: Mapping[str, bytes]) -> list[str]:
    return [page.heading("Pictures")] * bool(plots) + [
        page.picture(_CAPTIONS.get(name.removesuffix(".png").split(" ")[0], name), content)
        for name, content in plots.items()
    ]
