import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.learning.network import PRESETS, Architecture, build, compile_model

os.environ.setdefault("KERAS_BACKEND", "jax")  # before the first import of keras, which reads it

TINY = PRESETS["tiny"]


def digest(model):
    return sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()


def batch(rows=32):
    x = np.random.default_rng(0).standard_normal((rows, TINY.length)).astype("float32")
    return x, (np.arange(rows) % 2).astype("float32")


def test_an_architecture_survives_json():
    for preset in PRESETS.values():
        document = json.loads(json.dumps(preset.as_document()))
        assert Architecture.from_document(document) == preset


def test_a_document_with_a_foreign_field_is_refused():
    with pytest.raises(UsageError, match=r"model\.json"):
        Architecture.from_document({**TINY.as_document(), "attention": 3})


def test_a_curve_too_short_for_its_convolutions_is_refused():
    with pytest.raises(UsageError, match="leaves no step"):
        replace(TINY, length=12)


@pytest.mark.parametrize(
    ("name", "low", "high", "steps"),
    [("tiny", 1_000, 6_000, 31), ("small", 80_000, 120_000, 49), ("full", 850_000, 950_000, 49)],
)
def test_presets_have_the_promised_size(name, low, high, steps):
    model = build(PRESETS[name], seed=0)
    assert low < model.count_params() < high
    assert model.get_layer("lstm").output.shape[1] == PRESETS[name].steps == steps


def test_two_builds_of_one_seed_hold_the_same_bits_and_of_two_seeds_do_not():
    assert digest(build(TINY, seed=5)) == digest(build(TINY, seed=5))
    assert digest(build(TINY, seed=5)) != digest(build(TINY, seed=6))


def test_no_two_layers_share_their_initial_draws():
    seeds = [
        layer.kernel_initializer.seed
        for layer in build(TINY, seed=5).layers
        if hasattr(layer, "kernel_initializer")
    ]
    assert len(set(seeds)) == len(seeds) == 5


def test_two_trainings_of_one_seed_end_with_the_same_bits():
    trained = []
    for _ in range(2):
        model = build(TINY, seed=5)
        compile_model(model, peak_rate=1e-3, warmup_steps=2, total_steps=10)
        model.fit(*batch(), batch_size=8, epochs=1, shuffle=False, verbose=0)
        trained.append(digest(model))
    assert trained[0] == trained[1] != digest(build(TINY, seed=5))


@pytest.mark.slow
def test_a_new_process_builds_the_same_bits():
    code = (
        "from hashlib import sha256; from perdure.pipelines.exoplanet.learning.network import PRESETS, build; "
        "print(sha256(b''.join(w.tobytes() for w in build(PRESETS['tiny'], seed=5).get_weights())).hexdigest())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert other.stdout.strip() == digest(build(TINY, seed=5)), other.stderr


def test_halving_keeps_the_greater_of_each_pair_and_drops_an_odd_end():
    from perdure.pipelines.exoplanet.learning.layers import Halve

    x = np.array([[1, 5, 2, 2, 9, 3, 7]], dtype="float32")[..., None]
    assert np.asarray(Halve()(x)).ravel().tolist() == [5, 2, 9]


def test_the_rate_warms_up_peaks_and_falls_to_its_floor():
    from perdure.pipelines.exoplanet.learning.schedule import WarmupCosine

    rate = WarmupCosine(peak_rate=0.1, warmup_steps=10, total_steps=110)
    values = [float(rate(step)) for step in range(130)]
    assert values[0] == pytest.approx(0.01)
    assert max(values) == pytest.approx(0.1) and values.index(max(values)) in (9, 10)
    assert values[60] == pytest.approx(0.1 * (0.01 + 0.99 * 0.5), rel=1e-5)
    assert values[110] == values[129] == pytest.approx(0.001)
    assert all(later <= earlier for earlier, later in pairwise(values[10:]))


def test_a_schedule_and_a_network_survive_serialisation():
    import keras

    from perdure.pipelines.exoplanet.learning.schedule import WarmupCosine

    rate = WarmupCosine(peak_rate=0.1, warmup_steps=10, total_steps=110)
    copied = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert float(copied(50)) == float(rate(50))


def test_a_saved_network_predicts_the_same_bits(tmp_path):
    import keras

    model = build(TINY, seed=5)
    model.save(tmp_path / "best.keras")
    x, _ = batch(4)
    again = keras.saving.load_model(tmp_path / "best.keras", safe_mode=True)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_schedule_that_only_warms_up_is_refused():
    from perdure.pipelines.exoplanet.learning.schedule import WarmupCosine

    with pytest.raises(UsageError, match="50 warm-up steps of 50"):
        WarmupCosine(peak_rate=0.1, warmup_steps=50, total_steps=50)
