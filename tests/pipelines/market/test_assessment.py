"""The assessment: complete, plain JSON, the lockbox apart, and right about what is there and what is not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from made_forecasts import made
from perdure.errors import UsageError
from perdure.pipelines.market.evaluation import metrics, portfolio
from perdure.pipelines.market.evaluation.assessment import META, assess, compare

SIGNAL = made(signal=0.25)
TOLD = assess(SIGNAL, trials=3, seed=1, resamples=60)


def judged(forecasts, resamples=60):
    return assess(forecasts, trials=3, seed=1, resamples=resamples)


def test_it_is_json_without_nan():
    assert json.loads(json.dumps(TOLD, allow_nan=False)) == TOLD


def test_equal_forecasts_give_equal_bits_in_any_order():
    mixed = SIGNAL.take(np.random.default_rng(7).permutation(len(SIGNAL)))
    assert json.dumps(judged(SIGNAL)) == json.dumps(TOLD)
    other = judged(mixed)
    assert other["overall"]["auc"] == TOLD["overall"]["auc"]
    assert other["overall"]["log_loss"]["value"] == pytest.approx(TOLD["overall"]["log_loss"]["value"])


def test_the_lockbox_is_in_no_other_figure():
    spoilt = replace(
        SIGNAL,
        y=np.where(SIGNAL.block == 5, 1 - SIGNAL.y, SIGNAL.y),
        ret=np.where(SIGNAL.block == 5, 9.0, SIGNAL.ret),
    )
    told = judged(spoilt)
    assert {k: v for k, v in told.items() if k != "lockbox"} == {
        k: v for k, v in TOLD.items() if k != "lockbox"
    }
    assert told["lockbox"]["auc"]["value"] == pytest.approx(1 - TOLD["lockbox"]["auc"]["value"])


def test_a_closed_lockbox_is_none_and_forecasts_of_nothing_else_are_refused():
    assert judged(SIGNAL.forward)["lockbox"] is None
    with pytest.raises(UsageError, match="lockbox"):
        judged(SIGNAL.lockbox)


def test_every_view_covers_every_forecast_once():
    for view in ("by_regime", "by_sector", "by_year", "by_block"):
        assert sum(row["n"] for row in TOLD[view]) == TOLD["overall"]["n"] == 100 * 24
    assert sum(row["n"] for row in TOLD["calibration"]) == TOLD["overall"]["n"]
    assert [row["block"] for row in TOLD["by_block"]] == [1, 2, 3, 4, 5]


def test_figures_are_those_of_their_rows():
    rows = SIGNAL.take((SIGNAL.block != 5) & (SIGNAL.regime == 2))
    told = next(row for row in TOLD["by_regime"] if row["regime"] == SIGNAL.regimes[2])
    assert told["dates"] == 20 and told["first_day"] == str(rows.day.min())
    assert told["auc"]["value"] == metrics.auc(rows.y, rows.probability)
    assert told["base_rate"] == pytest.approx(rows.y.mean())
    held = portfolio.book(rows)
    assert told["net_return"]["value"] == pytest.approx((held.net * held.overlap).mean())


def test_a_years_figures_follow_the_grid():
    wide = assess(SIGNAL, trials=3, seed=1, resamples=5, stride=6)
    held = portfolio.book(SIGNAL.forward, stride=6)
    assert held.overlap == 2 and wide["stride"] == 6
    assert wide["portfolio"]["net_per_year"] == pytest.approx(held.net.mean() * 42)
    assert wide["overall"]["net_return"]["value"] == pytest.approx(TOLD["overall"]["net_return"]["value"])


def test_every_interval_holds_its_value():
    for row in [TOLD["overall"], *TOLD["by_block"], *TOLD["by_regime"]]:
        for name in ("auc", "log_loss", "brier", "ece", "rank_ic", "net_return"):
            assert row[name]["low"] <= row[name]["value"] <= row[name]["high"], (name, row[name])


def test_a_planted_signal_is_found_and_a_null_market_gives_nothing():
    null = judged(made(signal=0.0, days=300))["overall"]
    assert TOLD["overall"]["auc"]["low"] > 0.5 and TOLD["overall"]["rank_ic"]["low"] > 0
    assert null["auc"]["low"] < 0.5 < null["auc"]["high"]
    assert null["rank_ic"]["low"] < 0 < null["rank_ic"]["high"]
    assert null["net_return"]["low"] < 0


def test_the_oracle_bounds_what_can_be_reached():
    oracle = TOLD["oracle"]
    assert oracle["meta_learner_auc"] < oracle["auc"]["value"] < oracle["bound"]
    assert 0.7 < oracle["share_reached"] < 1 and not oracle["suspicious"]


def test_forecasts_better_than_the_oracle_are_suspicious():
    leak = replace(SIGNAL, probability=np.where(SIGNAL.y == 1, 0.6, 0.4) + 0.0 * SIGNAL.probability)
    assert judged(leak)["oracle"]["suspicious"]


def test_an_unknown_oracle_is_none():
    assert judged(replace(SIGNAL, oracle=np.full(len(SIGNAL), np.nan)))["oracle"] is None


def test_models_stand_side_by_side_with_the_meta_learner_first():
    assert [row["model"] for row in TOLD["models"]] == [META, "model 1", "model 2"]
    assert TOLD["models"][0]["lead_of_meta_learner"] == {"value": 0, "low": 0, "high": 0}
    worst = TOLD["models"][2]
    assert worst["lead_of_meta_learner"]["value"] == pytest.approx(
        TOLD["overall"]["auc"]["value"] - worst["auc"]["value"]
    )
    lead = worst["lead_of_meta_learner"]
    assert lead["low"] <= lead["value"] <= lead["high"] and lead["value"] > 0
    assert [entry["auc"] for entry in TOLD["models"][0]["auc_by_block"]] == [
        row["auc"]["value"] for row in TOLD["by_block"]
    ]


def test_what_is_undefined_is_none_and_not_left_out():
    told = judged(replace(SIGNAL, y=np.ones(len(SIGNAL), np.int8)))
    assert told["overall"]["auc"] == {"value": None, "low": None, "high": None}
    assert TOLD["by_sector"][0]["net_return"]["value"] is None  # eight names a day make no fifths


def test_a_better_challenger_is_seen_on_the_rows_both_forecast():
    champion = replace(SIGNAL, probability=SIGNAL.base["model 2"]).take(SIGNAL.symbol != "S03")
    order = np.random.default_rng(3).permutation(len(SIGNAL))
    found = compare(champion, SIGNAL.take(order), seed=1, resamples=60)
    assert found["n"] == len(champion)
    assert found["auc"]["value"] == pytest.approx(
        metrics.auc(champion.y, SIGNAL.probability[SIGNAL.symbol != "S03"])
        - metrics.auc(champion.y, champion.probability)
    )
    assert found["auc"]["better"] > 0.9


def test_models_of_other_labels_or_other_times_are_not_compared():
    with pytest.raises(UsageError, match="labels"):
        compare(SIGNAL, replace(SIGNAL, y=1 - SIGNAL.y), seed=1, resamples=5)
    with pytest.raises(UsageError, match="share no day"):
        compare(SIGNAL, replace(SIGNAL, day=SIGNAL.day + 9999), seed=1, resamples=5)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("y", 2, "labels must be 0 or 1"),
        ("probability", np.nan, "probabilities of the meta-learner"),
        ("probability", 1.5, "probabilities of the meta-learner"),
        ("ret", np.inf, "returns must be finite"),
        ("regime", 6, "regimes must be 0..5"),
        ("block", -1, "blocks must be 0..5"),
    ],
)
def test_forecasts_that_cannot_be_judged_are_refused(column, value, words):
    values = getattr(SIGNAL, column).copy()
    values[5] = value
    with pytest.raises(UsageError, match=f"{words}.*row 5"):
        replace(SIGNAL, **{column: values})


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(UsageError, match="excess"):
        replace(SIGNAL, excess=SIGNAL.excess[1:])
    with pytest.raises(UsageError, match="base short"):
        replace(SIGNAL, base={"short": SIGNAL.probability[1:]})
