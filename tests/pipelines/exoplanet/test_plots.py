import io
import threading

import numpy as np
import pytest

from perdure.pipelines.exoplanet import plots
from perdure.pipelines.exoplanet.evaluation.recovery import RecoveryMap

RNG = np.random.default_rng(0)
LABEL = np.arange(60) % 4 == 0
PROBABILITY = np.clip(0.3 * RNG.random(60) + 0.5 * LABEL, 0, 1)
FLUX = RNG.standard_normal((60, 256)).astype(np.float32)
COLUMNS = {
    "star": np.array([f"sim-{i:06d}" for i in range(60)]),
    "kind": np.where(LABEL, "planet", "quiet"),
    "period_d": np.where(LABEL, 1.5, np.nan),
    "t0_d": np.where(LABEL, 0.3, np.nan),
}
HISTORY = {"epoch": range(5), "loss": [5, 4, 3, 2, 1.0], "val_loss": [5, 4, 4, 4, 4.0], "val_auc": [0.5] * 5}
MAP = RecoveryMap((1, 2, 4), (5, 8), np.array([[1, 2]]), np.array([[4, 0]]))
PLOTS = {
    "training": lambda: plots.training_curves(HISTORY, interruptions=[1, 3], best=2),
    "roc": lambda: plots.roc(PROBABILITY, LABEL),
    "precision and recall": lambda: plots.precision_recall(PROBABILITY, LABEL),
    "confusion": lambda: plots.confusion_matrix(PROBABILITY, LABEL),
    "reliability": lambda: plots.reliability(PROBABILITY, LABEL),
    "gallery": lambda: plots.gallery(FLUX, PROBABILITY, LABEL, COLUMNS, each=1),
    "saliency": lambda: plots.saliency(FLUX[0], np.linspace(-1, 1, 256)),
    "recovery": lambda: plots.recovery_map(MAP),
    "prediction": lambda: plots.prediction(
        np.arange(256), FLUX[0] + 9, FLUX[0], dip_times=[30], probability=0.8, star="KIC 1"
    ),
}


def pixels(png):
    from matplotlib.image import imread

    return imread(io.BytesIO(png))


@pytest.mark.parametrize("name", PLOTS)
def test_each_plot_is_a_picture_with_something_on_it_and_a_clean_rim(name):
    picture = pixels(PLOTS[name]())
    assert picture.shape[0] > 200 and picture.shape[1] > 300
    assert (picture[..., :3] < 0.9).any(axis=2).mean() > 0.003
    rim = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (rim[:, :3] > 0.95).all()


def test_equal_arrays_give_equal_bytes_in_any_thread():
    made = []
    threads = [threading.Thread(target=lambda: made.append(PLOTS["roc"]())) for _ in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    assert made[0] == made[1] == made[2] == PLOTS["roc"]()


def test_plots_leave_the_global_state_of_pyplot_alone():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    PLOTS["training"]()
    assert plt.get_fignums() == before


def test_an_interruption_shows():
    assert plots.training_curves(HISTORY) != plots.training_curves(HISTORY, interruptions=[2])


@pytest.mark.parametrize("label", [np.zeros(60, bool), np.ones(60, bool)])
def test_a_single_class_is_drawn_too(label):
    for draw in (plots.roc, plots.precision_recall, plots.confusion_matrix, plots.reliability):
        assert draw(PROBABILITY, label).startswith(b"\x89PNG")
    assert plots.gallery(FLUX, PROBABILITY, label, {}, each=1).startswith(b"\x89PNG")


def test_an_empty_history_and_a_curve_without_points_are_drawn_too():
    assert plots.training_curves({"epoch": [], "loss": []}).startswith(b"\x89PNG")
    nothing = np.zeros((1, 256), dtype=np.float32)
    assert plots.gallery(nothing, np.zeros(1), np.zeros(1), {}, each=1).startswith(b"\x89PNG")
