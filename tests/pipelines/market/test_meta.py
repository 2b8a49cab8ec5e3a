"""The meta-learner goes forward: a block's forecast depends on nothing that came later."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from perdure.pipelines.market.learning.meta import MetaLearner, Samples, final, forward
from perdure.pipelines.market.models.training import chances, log_odds


def made(rows=3000, *, scale=1.0, seed=0):
    """Two useful models, one useless, five blocks; the truth is known."""
    random = np.random.default_rng(seed)
    truth = 0.8 * random.standard_normal(rows)
    logits = np.column_stack(
        [scale * (truth + random.standard_normal(rows)), scale * (truth + random.standard_normal(rows)),
         random.standard_normal(rows)]
    )  # fmt: skip
    day = np.datetime64("2015-01-01") + np.sort(random.integers(0, 1000, rows))
    block = np.minimum((day - day[0]).astype(int) // 200, 4)
    return Samples(
        logits, random.integers(0, 6, rows), block, (random.random(rows) < chances(truth)).astype(np.int8),
        np.ones(rows), day, day + 10,
    )  # fmt: skip


def with_changes_after(samples, moment):
    y = np.where(samples.t1 >= moment, 1 - samples.y, samples.y)
    return Samples(samples.logits, samples.regime, samples.block, y, samples.weight, samples.day, samples.t1)


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_labels_that_were_open_when_a_block_began_change_nothing_in_it(block):
    samples = made()
    begin = samples.day[samples.block == block].min()
    upto = samples.block <= block
    changed = with_changes_after(samples, begin)
    assert not np.array_equal(changed.y, samples.y)
    assert np.array_equal(forward(changed)[upto], forward(samples)[upto])


def test_earlier_labels_do_change_a_block():
    samples = made()
    begin = samples.day[samples.block == 3].min()
    flipped = Samples(
        samples.logits, samples.regime, samples.block, np.where(samples.t1 < begin, 1 - samples.y, samples.y),
        samples.weight, samples.day, samples.t1,
    )  # fmt: skip
    assert not np.allclose(forward(flipped)[samples.block == 3], forward(samples)[samples.block == 3])


def test_forecasts_of_overconfident_models_come_out_calibrated():
    samples = made(rows=20_000, scale=4.0)
    late = samples.block >= 3
    probability = forward(samples)[late]
    for low, high in ((0.2, 0.35), (0.35, 0.5), (0.5, 0.65), (0.65, 0.8)):
        there = (probability >= low) & (probability < high)
        assert abs(samples.y[late][there].mean() - probability[there].mean()) < 0.03


def test_a_useless_model_gets_little_weight():
    learner = final(made(), before=np.datetime64("2030-01-01"))
    useful, also, useless = np.abs(learner.combination.weights[:3])
    assert useless < 0.3 * min(useful, also)


def test_the_first_block_is_the_mean_of_the_base_models():
    samples = made()
    first = samples.block == 0
    assert np.allclose(log_odds(forward(samples)[first]), samples.logits[first].mean(axis=1))


def test_a_meta_learner_read_back_from_its_document_gives_the_same_bits():
    samples = made()
    learner = final(samples, before=np.datetime64("2030-01-01"))
    again = MetaLearner.of(learner.document())
    assert np.array_equal(
        learner.probability(samples.logits, samples.regime), again.probability(samples.logits, samples.regime)
    )


def test_a_forecast_does_not_depend_on_the_rows_beside_it():
    samples = made()
    learner = final(samples, before=np.datetime64("2030-01-01"))
    whole = learner.probability(samples.logits, samples.regime)
    alone = np.array(
        [learner.probability(samples.logits[k : k + 1], samples.regime[k : k + 1])[0] for k in range(50)]
    )
    assert np.array_equal(whole[:50], alone)
