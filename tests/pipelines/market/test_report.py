"""The report: self-contained, harmless whatever names come in, and it says the verdict first."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from made_forecasts import made
from perdure.pipelines.market.evaluation.assessment import assess
from perdure.pipelines.market.evaluation.report import report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
FORECASTS = made(days=60, signal=0.3)
TOLD = assess(FORECASTS, trials=3, seed=1, resamples=20)
GATE = [
    {"check": "auc", "verdict": "passed", "value": 0.54, "threshold": 0.515, "text": "AUC 0.54"},
    {"check": "drift", "verdict": "failed", "value": None, "threshold": 0.95, "text": "no new data"},
]


class Tags(HTMLParser):
    """What a browser would see."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def drawn(told=TOLD, gate=GATE, plots=None, **context):
    return Tags(report(told, gate, plots or {}, context))


def test_hostile_names_are_shown_and_do_nothing():
    hostile = replace(
        FORECASTS,
        sector=np.full(len(FORECASTS), HOSTILE),
        base={HOSTILE: FORECASTS.probability},
        regimes=(HOSTILE,) * 6,
    )
    gate = [dict(row, check=HOSTILE, text=HOSTILE) for row in GATE]
    seen = drawn(
        assess(hostile, trials=1, seed=1, resamples=5), gate, {HOSTILE: b"png"}, **{"title": HOSTILE, HOSTILE: HOSTILE}
    )  # fmt: skip
    assert "script" not in seen.tags
    assert seen.tags.count("img") == 1  # the picture; none came out of a name
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert seen.text.count("alert(1)") >= 8


def test_it_needs_nothing_from_elsewhere_and_may_fetch_nothing():
    seen = drawn(plots={"roc.png": b"\x89PNG"})
    sources = [value for name, value in seen.attributes if name in {"src", "href"}]
    assert sources == ["data:image/png;base64,iVBORw=="]
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in [v for _, v in seen.attributes]


def test_the_verdict_comes_first_and_names_what_failed():
    text = drawn(title="Run stocks").text
    assert (
        text.index("Blocked: 1 of 2 checks failed (drift)")
        < text.index("base rate")
        < text.index("Portfolio")
    )
    assert text.index("no new data") < text.index("AUC 0.54")  # failures before passes


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (GATE[:1], "Passed: all 1 checks"),
        ([dict(GATE[0], verdict="warned")], "Passed, with warnings: auc"),
        ([], "Not judged"),
    ],
)
def test_the_verdict_is_the_gates(gate, words):
    assert words in drawn(gate=gate).text


def test_a_signal_and_chance_are_told_apart_in_words():
    null = assess(made(days=90, signal=0.0), trials=3, seed=1, resamples=40)
    assert "above 0.5, so chance alone is an unlikely reason" in drawn().text
    assert "chance alone is reason enough" in drawn(null).text


def test_what_is_not_known_is_said():
    closed = assess(
        replace(FORECASTS, oracle=np.full(len(FORECASTS), np.nan)).forward, trials=3, seed=1, resamples=5
    )
    text = drawn(closed).text
    assert "What is not known" in text and "the lockbox is closed" in text
    assert "nobody knows the true signal" in text
    assert "the lockbox is closed" not in drawn().text
    assert "its signal was planted" in drawn().text and "its signal was planted" not in text


def test_the_limit_of_a_made_up_market_is_stated_and_a_leak_named():
    assert "its limit is known" in drawn().text and "a leak is likely" not in drawn().text
    leak = replace(FORECASTS, probability=np.where(FORECASTS.y == 1, 0.6, 0.4))
    assert "a leak is likely" in drawn(assess(leak, trials=1, seed=1, resamples=5)).text


def test_undefined_figures_are_called_unknown():
    one_class = assess(replace(FORECASTS, y=np.ones(len(FORECASTS), np.int8)), trials=1, seed=1, resamples=5)
    text = drawn(one_class).text
    assert "unknown" in text and "nan" not in text.lower().split() and "None" not in text


def test_a_portfolio_that_no_day_had_symbols_for_was_not_tried():
    few = np.isin(FORECASTS.symbol, np.unique(FORECASTS.symbol)[:4])
    text = drawn(assess(FORECASTS.take(few), trials=1, seed=1, resamples=5)).text
    assert "was not tried: no day has the 10 symbols" in text and "days are too few" not in text


def test_names_that_hold_commas_stay_apart_in_a_list():
    gate = [
        dict(row, check=name, verdict="failed")
        for row, name in zip(GATE, ("AUC", "AUC, lower bound"), strict=True)
    ]
    assert "checks failed (AUC; AUC, lower bound)" in drawn(gate=gate).text


def test_names_that_are_no_text_cannot_break_the_page():
    assert b"\xef\xbf\xbd" in report(TOLD, [], {}, {"x": "\ud800"}) or b"?" in report(
        TOLD, [], {}, {"x": "\ud800"}
    )


def test_equal_input_gives_equal_bytes():
    assert report(TOLD, GATE, {}, {"seed": 1}) == report(TOLD, GATE, {}, {"seed": 1})
