import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import CADENCE_DAYS
from perdure.pipelines.exoplanet.evaluation import baselines
from perdure.pipelines.exoplanet.evaluation.recovery import RecoveryMap, inject, point_noise, recover
from perdure.pipelines.exoplanet.evaluation.saliency import occlusion
from perdure.pipelines.exoplanet.simulator import simulate

LENGTH = 1024


def boxes(period, t0, *, depth, n=1, length=LENGTH):
    flux = np.random.default_rng(1).standard_normal((n, length)).astype(np.float32)
    offset = (np.arange(length) * CADENCE_DAYS - t0 + period / 2) % period - period / 2
    return flux - depth * (np.abs(offset) < 0.06).astype(np.float32)


def test_a_box_is_found_at_its_period_and_time():
    found = baselines.box_search(boxes(2.5, 1.1, depth=5))
    assert found.period[0] == pytest.approx(2.5, abs=0.02)
    assert found.t0[0] % 2.5 == pytest.approx(1.1, abs=0.05)
    assert found.score[0] > 12


def test_the_score_ignores_gaps_and_shape_alike_for_each_row():
    flux = np.concatenate([boxes(2.5, 1.1, depth=5), boxes(1.7, 0.4, depth=0)])
    flux[:, 200:400] = 0
    both = baselines.box_search(flux)
    assert both.score[0] == baselines.box_search(flux[:1]).score[0]
    assert both.score[0] > both.score[1] + 4


def test_a_curve_without_variation_scores_nothing():
    found = baselines.box_search(np.zeros((1, LENGTH), dtype=np.float32))
    assert found.score[0] == 0 and np.isnan(found.period[0])


def test_box_least_squares_agrees_with_astropy_on_the_period():
    timeseries = pytest.importorskip("astropy.timeseries")
    flux = boxes(3.3, 2.0, depth=3)
    time = np.arange(LENGTH) * CADENCE_DAYS
    search = timeseries.BoxLeastSquares(time, flux[0].astype(float))
    result = search.power(np.linspace(0.6, 10, 4000), 0.12)
    assert baselines.box_search(flux).period[0] == pytest.approx(
        result.period[np.argmax(result.power)], abs=0.05
    )


def test_metadata_counts_gaps_and_their_lengths():
    flux = np.ones((2, 20))
    flux[0, 0:2] = np.nan
    flux[0, 5:10] = np.nan
    known = baselines.metadata(flux, {"kp": np.array([12.0, 13.0])})
    assert known["missing_share"].tolist() == [0.35, 0]
    assert known["gaps"].tolist() == [2, 0]
    assert known["longest_gap"].tolist() == [5, 0]
    assert known["kp"].tolist() == [12, 13]


def test_simulated_metadata_tells_nothing_and_nothing_is_warned_of():
    curves = simulate(4, range(1200), planet_share=0.4, length=256)
    known = baselines.metadata(curves.flux, curves.columns)
    halves = [
        {name: values[half] for name, values in known.items()} for half in (slice(600), slice(600, None))
    ]
    line = baselines.metadata_baseline(halves[0], curves.label[:600], halves[1], curves.label[600:], seed=0)
    assert 0.4 < line.test_auc < 0.6 and 0.4 < line.train_auc < 0.6
    assert line.warning is None


def test_a_magnitude_that_gives_the_label_away_is_warned_of():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    known = {"kp": 12 + label + rng.standard_normal(400), "gaps": rng.poisson(2, 400).astype(float)}
    train, test = ({k: v[half] for k, v in known.items()} for half in (slice(200), slice(200, None)))
    line = baselines.metadata_baseline(train, label[:200], test, label[200:], seed=0)
    assert line.test_auc > 0.7 and line.train_auc > 0.7
    assert "may leak its labels" in line.warning and "kp" in line.warning


def test_metadata_of_unlike_parts_are_refused():
    with pytest.raises(UsageError, match="differ"):
        baselines.metadata_baseline({"a": np.ones(4)}, np.ones(4), {"b": np.ones(4)}, np.ones(4), seed=0)


def test_an_injected_planet_has_the_strength_asked_for_in_any_unit():
    rng = np.random.default_rng(2)
    flux = (5e4 + 20 * rng.standard_normal(LENGTH)).astype(np.float32)
    flux[40:60] = np.nan
    changed = inject(flux, period=3.0, mes=15.0, rng=np.random.default_rng(3))
    seen = np.isfinite(flux)
    np.testing.assert_array_equal(np.isfinite(changed), seen)
    power = np.sqrt(((flux - changed)[seen].astype(float) ** 2).sum())
    assert power / point_noise(flux) == pytest.approx(15.0, rel=1e-3)
    assert point_noise(flux) == pytest.approx(20, rel=0.1)


def test_the_recovery_map_counts_what_predict_finds():
    flux = np.random.default_rng(2).standard_normal((6, LENGTH)).astype(np.float32)

    def predict(raw):
        return (baselines.box_search(raw).score > 9).astype(float)

    found = recover(
        predict, flux, seed=0, per_cell=3, periods=(1.0, 2.0, 60.0), strengths=(1.0, 2.0, 40.0, 60.0)
    )
    assert found.periods[-1] == pytest.approx(0.49 * LENGTH * CADENCE_DAYS)
    assert (found.count == 3).all() and found.rate.shape == (3, 2)
    assert found.rate[0].max() < 0.5 and (found.rate[2] == 1).all()
    again = recover(
        predict, flux, seed=0, per_cell=3, periods=(1.0, 2.0, 60.0), strengths=(1.0, 2.0, 40.0, 60.0)
    )
    assert found.as_document() == again.as_document()


def test_an_empty_cell_has_no_rate():
    assert np.isnan(RecoveryMap((1, 2), (5, 8), np.zeros((1, 1)), np.zeros((1, 1))).rate[0, 0])


def test_recovery_without_quiet_curves_is_refused():
    with pytest.raises(UsageError, match="no quiet curve"):
        recover(lambda raw: raw[:, 0], np.zeros((0, LENGTH)), seed=0)


def test_occlusion_points_at_what_the_prediction_rests_on():
    curve = np.zeros(400, dtype=np.float32)
    curve[200:210] = -10
    fall = occlusion(lambda x: np.clip(-x.min(axis=1) / 10, 0, 1), curve, width=40, stride=10)
    assert fall.shape == (400,)
    assert 190 <= np.argmax(fall) <= 220
    assert fall[:150].max() == 0 and fall[260:].max() == 0
