"""The pieces of the Keras adapter: batches, callbacks' state, what is compared before a resume."""

from __future__ import annotations

import json
import os
import random
import threading

os.environ.setdefault("KERAS_BACKEND", "jax")

from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras.src.backend.common import global_state  # noqa: E402

import perdure  # noqa: E402
from perdure.errors import ChangedError, StateError, UsageError  # noqa: E402
from perdure.keras import Batches, Resume  # noqa: E402
from perdure.keras.architecture import Names, describe_data, describe_model  # noqa: E402
from perdure.keras.compatibility import check_versions  # noqa: E402
from perdure.keras.others import Others  # noqa: E402
from perdure.keras.variables import Attributes, Variables  # noqa: E402
from perdure.snapshot import streams  # noqa: E402
from perdure.snapshot.parts import canonical  # noqa: E402

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)


def small_model(units: int = 3, *, dropout: float = 0.5) -> keras.Model:
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dropout(dropout), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    return model


# -- batches -------------------------------------------------------------------------------------------------------


def test_every_epoch_shows_each_row_once_in_an_order_of_its_own() -> None:
    batches = Batches(X, Y, batch_size=4, seed=3)
    shown = []
    for epoch in range(2):
        batches.begin(epoch=epoch, first=0)
        shown.append(np.concatenate([batches[i][1] for i in range(len(batches))]))
    assert sorted(shown[0]) == sorted(shown[1]) == list(range(10))
    assert list(shown[0]) != list(shown[1])


def test_an_epoch_that_begins_later_has_the_same_batches_from_there_on() -> None:
    whole, late = Batches(X, Y, batch_size=3, seed=3), Batches(X, Y, batch_size=3, seed=3)
    whole.begin(epoch=5, first=0)
    late.begin(epoch=5, first=2)
    assert (len(late), late.num_batches) == (4, 2)
    for i in range(2):
        np.testing.assert_array_equal(late[i][0], whole[i + 2][0])


def test_a_stream_counts_batches_over_passes() -> None:
    stream, finite = Batches(X, Y, batch_size=4, seed=1, infinite=True), Batches(X, Y, batch_size=4, seed=1)
    stream.begin_stream(4)
    finite.begin(epoch=1, first=0)
    assert stream.num_batches is None
    np.testing.assert_array_equal(stream[0][1], finite[1][1])  # batch 4 of a stream of passes of 3


def test_augmentation_gets_the_epoch_and_the_rows() -> None:
    seen = []

    def augment(x: np.ndarray, y: np.ndarray, epoch: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append((epoch, rows.tolist()))
        return x + epoch, y

    batches = Batches(X, Y, batch_size=5, shuffle=False, augment=augment)
    batches.begin(epoch=7, first=1)
    np.testing.assert_array_equal(batches[0][0], X[5:] + 7)
    assert seen == [(7, [5, 6, 7, 8, 9])]


def test_a_sampler_chooses_the_rows_and_their_order() -> None:
    batches = Batches(X, Y, batch_size=2, sampler=lambda epoch: np.array([9, 9, epoch, 1]))
    batches.begin(epoch=4, first=0)
    assert [batches[i][1].tolist() for i in range(len(batches))] == [[9, 9], [4, 1]]


def test_a_sampler_of_floats_is_refused() -> None:
    with pytest.raises(UsageError, match="row numbers"):
        Batches(X, Y, batch_size=2, sampler=lambda epoch: np.zeros(3))


def test_inputs_may_be_dicts_and_need_no_targets() -> None:
    batches = Batches({"a": X, "b": Y}, batch_size=4, shuffle=False, drop_last=True)
    assert len(batches) == 2
    (x,) = batches[1]
    assert x["b"].tolist() == [4, 5, 6, 7]


def test_inputs_and_targets_of_different_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match="as many rows"):
        Batches(X, Y[:5], batch_size=2)


# -- the model -----------------------------------------------------------------------------------------------------


def test_a_model_is_described_the_same_however_many_were_made_before_it() -> None:
    first = describe_model(small_model())
    small_model()
    assert describe_model(small_model()) == first


def test_variables_keep_their_names_however_many_models_were_made_before() -> None:
    def keys(model: keras.Model) -> list[str]:
        model.optimizer.build(model.trainable_variables)
        variables = Variables.of(model)
        return [*variables.part("weights").tensors, *variables.part("optimizer").tensors]

    assert keys(small_model()) == keys(small_model())


def test_a_changed_rate_or_graph_changes_the_description_by_name() -> None:
    before, after = describe_model(small_model()), describe_model(small_model(dropout=0.25))
    different = {name for name in before if before[name] != after.get(name)}
    assert different == {"model layer dropout rate"}

    def graph(*, crossed: bool) -> object:
        a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
        left, right = keras.layers.Dense(2, name="left"), keras.layers.Dense(2, name="right")
        first, second = (b, a) if crossed else (a, b)
        model = keras.Model([a, b], [left(first), right(second)], name="pair")
        return describe_model(model)["model layer pair graph"]

    assert graph(crossed=False) != graph(crossed=True)


def test_names_that_the_user_gave_are_kept() -> None:
    layer = keras.layers.Dense(2, name="dense_of_mine")
    model = keras.Sequential([keras.Input((2,)), layer])
    assert Names.of(model).of_variable(layer.kernel.path).endswith("/dense_of_mine/kernel")


def test_changed_data_change_the_description() -> None:
    large = np.zeros((300_000, 20), np.float32)
    before = describe_data("x", large)
    large[-1] = 1
    assert describe_data("x", large) != before
    assert describe_data("x", X) != describe_data("x", X[::-1])


def test_variables_restored_into_another_shape_are_refused_by_name() -> None:
    model = small_model()
    model.optimizer.build(model.trainable_variables)
    part = Variables.of(model).part("weights")
    with pytest.raises(ChangedError, match=r"dense/kernel float32\[2, 3\] was saved and is not in the model"):
        Variables.of(_built(small_model(4))).restore("weights", part.tensors, part.document)  # type: ignore[arg-type]


def test_a_second_optimizer_that_is_not_built_is_refused() -> None:
    model = _built(small_model())
    model.critic = keras.optimizers.SGD(name="critic")
    with pytest.raises(StateError, match=r"'critic' .* was not built before fit"):
        Variables.of(model)


def test_a_model_within_that_nobody_trains_needs_no_optimizer_until_somebody_does() -> None:
    within = small_model()
    model = keras.Sequential([keras.Input((2,)), within])
    model.compile("sgd", "mse")
    variables = Variables.of(_built(model))
    assert len(variables.group("optimizer")) == len(model.optimizer.variables)
    within.optimizer.build(within.trainable_variables)
    with pytest.raises(StateError, match="was not built before fit"):
        variables.group("optimizer")


def test_layers_that_a_frozen_model_holds_are_trainable_again_where_they_were() -> None:
    def nested() -> tuple[keras.Model, Attributes]:
        within = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dense(2)])
        model = keras.Sequential([keras.Input((2,)), within])
        model.compile("sgd", "mse", run_eagerly=True)
        return within, Attributes.of(Variables.of(_built(model)))

    (saved, attributes), (now, others) = nested(), nested()
    saved.trainable = False
    saved.layers[1].trainable = True
    part = attributes.part()
    assert part is not None
    others.restore(part.tensors, json.loads(canonical(part.document)))
    assert [layer.trainable for layer in (now, *now.layers)] == [False, False, True]


def test_a_class_that_a_model_keeps_has_no_state() -> None:
    class Scheduler:
        def state_dict(self) -> dict[str, object]:
            return {}

        def load_state_dict(self, state: object) -> None: ...

    model = _built(small_model())
    model.kind = Scheduler
    assert Attributes.of(Variables.of(model)).part() is None


def _built(model: keras.Model) -> keras.Model:
    model.optimizer.build(model.trainable_variables)
    return model


# -- versions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "backend", "backend_version"),
    [("3.16.0", "jax", "0.10.2"), ("3.15.0", "jax", "0.10.2"), ("3.15.1", "jax", "0.11.0"),
     ("3.15.1", "openvino", "2026.1")],
)  # fmt: skip
def test_versions_outside_the_tested_table_are_refused(
    version: str, backend: str, backend_version: str
) -> None:
    with pytest.raises(UsageError, match=f"was not tested with Keras {version} on {backend}"):
        check_versions(keras=version, backend=backend, version=backend_version)


def test_versions_of_the_tested_table_are_taken() -> None:
    check_versions(keras="3.15.1", backend="jax", version="0.10.2")
    check_versions(keras="3.15.4", backend="torch", version="2.13.0+cpu")


# -- other callbacks -----------------------------------------------------------------------------------------------


class Counter(keras.callbacks.Callback):
    def __init__(self, **attributes: object) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


def round_trip(saved: Others, into: Others) -> None:
    part = saved.part()
    into.restore(part.tensors, json.loads(canonical(part.document)))


def test_a_users_callback_gets_its_numbers_lists_and_arrays_back_in_place() -> None:
    said: list[str] = []
    known: list[float] = []
    before = Counter(count=3, _losses=[1.5, float("nan")], weights=[np.ones(2)], path=Path("x"))
    after = Counter(count=0, _losses=known, weights=[np.zeros(2)], path=Path("y"))
    round_trip(Others.of([before], said.append), Others.of([after], said.append))
    assert (after.count, known[0], after.path, said) == (3, 1.5, Path("y"), [])
    np.testing.assert_array_equal(after.weights[0], np.ones(2))


def test_lists_of_a_callbacks_class_and_variables_and_metrics_that_it_keeps_come_back() -> None:
    class Shared(Counter):
        losses: list[float] = []  # noqa: RUF012

    before = Shared(beta=keras.Variable(0.25), mean=keras.metrics.Mean())
    before.losses.append(1.5)
    before.mean.update_state(4.0)
    part = Others.of([before], print).part()
    Shared.losses.clear()
    after = Shared(beta=keras.Variable(0.0), mean=keras.metrics.Mean())
    Others.of([after], print).restore(part.tensors, json.loads(canonical(part.document)))
    assert (Shared.losses, float(after.beta), float(after.mean.result())) == ([1.5], 0.25, 4.0)


def test_a_callback_that_keeps_the_fitted_model_saves_nothing_of_it_again() -> None:
    model = small_model()
    callback = Counter(net=model, head=model.layers[-1], rate=model.optimizer)
    callback.set_model(model)
    assert not Others.of([callback], print).part().tensors


def test_a_variable_of_another_shape_than_was_saved_is_refused() -> None:
    saved, now = (Others.of([Counter(v=keras.Variable(np.zeros(n)))], print) for n in (2, 3))
    with pytest.raises(StateError, match=r"Counter\.v was saved with variables of the shapes \[\(2,\)\]"):
        round_trip(saved, now)


def test_a_layer_that_is_not_built_yet_is_not_replaced_by_what_was_saved_of_it() -> None:
    saved, now = keras.layers.Dense(1), keras.layers.Dense(1)
    saved.build((None, 2))
    with pytest.raises(
        StateError, match=r"Counter\.head .* has \[\] now; make it the same way, and build it"
    ):
        round_trip(Others.of([Counter(head=saved)], print), Others.of([Counter(head=now)], print))


def test_what_a_callback_makes_only_when_it_needs_it_is_left_to_it_and_told() -> None:
    scores = keras.metrics.F1Score()
    scores.update_state(np.eye(2), np.eye(2))
    said: list[str] = []
    now = Others.of([Counter(mean=None, scores=keras.metrics.F1Score())], said.append)
    for _ in range(2):
        round_trip(Others.of([Counter(mean=keras.metrics.Mean(), scores=scores)], print), now)
    assert now.callbacks[0].mean is None
    assert not now.callbacks[0].scores.variables
    assert [note.split()[1] for note in said] == ["Counter.mean", "Counter.scores"]


def test_a_metric_that_was_given_up_before_it_was_saved_is_given_up_again() -> None:
    now = Counter(mean=keras.metrics.Mean())
    round_trip(Others.of([Counter(mean=None)], print), Others.of([now], print))
    assert now.mean is None


def test_state_dict_is_used_where_a_callback_has_it() -> None:
    class Own(keras.callbacks.Callback):
        value = 1

        def state_dict(self) -> dict[str, object]:
            return {"value": self.value}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.value = state["value"] * 10

    before, after = Own(), Own()
    before.value = 4
    round_trip(Others.of([before], print), Others.of([after], print))
    assert after.value == 40


def test_what_cannot_be_captured_is_refused_or_told() -> None:
    with pytest.raises(StateError, match="keeps a deque in 'recent'"):
        Others.of([Counter(recent=deque())], print)
    said: list[str] = []
    Others.of([Counter(thing=object(), function=len)], said.append)
    assert len(said) == 1
    assert "Counter.thing (object) is not captured" in said[0]


def test_large_data_in_a_callback_is_not_saved_and_a_change_of_it_is_noticed() -> None:
    data = np.zeros(1 << 19)
    others = Others.of([Counter(data=data, count=1)], print)
    assert not others.part().tensors
    others.check_data()
    data[3] = 1
    with pytest.raises(StateError, match=r"Counter\.data holds over 1 MB and changed"):
        others.check_data()


def test_backup_and_restore_beside_resume_is_refused() -> None:
    with pytest.raises(UsageError, match="in the place of BackupAndRestore"):
        Others.of([keras.callbacks.BackupAndRestore("somewhere")], print)


def test_other_callbacks_than_before_are_refused() -> None:
    saved, now = Others.of([Counter()], print), Others.of([keras.callbacks.EarlyStopping()], print)
    with pytest.raises(StateError, match="saved with the callbacks Counter and has EarlyStopping"):
        round_trip(saved, now)


# -- the callback --------------------------------------------------------------------------------------------------


def fit(run: perdure.Run, *callbacks: keras.callbacks.Callback, **options: object) -> keras.callbacks.History:
    model = small_model()
    arguments = {"x": X, "y": Y, "epochs": 2, "verbose": 0} | options
    return model.fit(**arguments, callbacks=list(callbacks))


def test_every_within_epochs_needs_batches(tmp_path: Path) -> None:
    with (
        perdure.open(tmp_path / "run") as run,
        pytest.raises(UsageError, match=r"pass perdure\.keras\.Batches"),
    ):
        fit(run, Resume(run, every="30s"))


def test_data_without_a_position_are_refused(tmp_path: Path) -> None:
    def generator():  # type: ignore[no-untyped-def]
        yield X, Y

    with perdure.open(tmp_path / "run") as run, pytest.raises(UsageError, match="fit gets a generator"):
        fit(run, Resume(run), x=generator(), y=None)


def test_epochs_of_plain_arrays_that_end_within_a_pass_are_refused(tmp_path: Path) -> None:
    with (
        perdure.open(tmp_path / "run") as run,
        pytest.raises(UsageError, match=r"steps_per_epoch=2 keeps one pass .* \(5 batches\)"),
    ):
        fit(run, Resume(run), batch_size=2, steps_per_epoch=2)


def test_validation_data_without_a_position_are_refused(tmp_path: Path) -> None:
    class Random(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            return X, Y

    def generator():  # type: ignore[no-untyped-def]
        yield X, Y

    for data, kind in ((generator(), "generator"), (Random(), "Random")):
        with (
            perdure.open(tmp_path / kind) as run,
            pytest.raises(UsageError, match=f"validation_data holds a {kind}"),
        ):
            fit(run, Resume(run), validation_data=data, validation_steps=1)


class Schedule(keras.callbacks.Callback):
    """Changes the learning rate as a batch begins, and fails at one of the batches of the process."""

    def __init__(self, fails_at: int) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.fails_at = lambda: fails_at  # not part of its state

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        self.seen.append(batch)
        optimizer = self.model.optimizer
        optimizer.learning_rate = float(optimizer.learning_rate) * 0.9

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        if len(self.seen) == self.fails_at():
            raise RuntimeError


def test_callbacks_see_each_batch_once_and_by_its_number_though_its_epoch_was_left(tmp_path: Path) -> None:
    def train(folder: str, fails_at: int) -> tuple[list[int], list[bytes]]:
        with perdure.open(tmp_path / folder, seed=1, budget=None) as run:
            model, schedule = small_model(), Schedule(fails_at)
            model.fit(Batches(X, Y, batch_size=2), epochs=2, verbose=0,
                      callbacks=[schedule, Resume(run, every=("epoch", 3))])  # fmt: skip
            variables = [*model.variables, *model.optimizer.variables]
            return schedule.seen, [np.asarray(variable.value).tobytes() for variable in variables]

    expected = train("whole", -1)
    assert expected[0] == [*range(5), *range(5)]
    for fails_at in (4, 10):  # batch 3 of the first epoch had begun when it was saved; batch 3 of the second
        with pytest.raises(RuntimeError):
            train("left", fails_at)
    assert train("left", -1) == expected


def test_optimizers_in_a_dict_and_in_a_model_within_are_saved_too() -> None:
    class Pair(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_model()
            self.both = {"a": keras.optimizers.SGD(0.1), "b": keras.optimizers.Adam(0.2)}

        def call(self, x: object) -> object:
            return self.inner(x)

    model = Pair()
    model.compile("sgd", "mse")
    model.build((None, 2))
    for optimizer in (model.optimizer, model.inner.optimizer, *model.both.values()):
        optimizer.build(model.trainable_variables)
    kept = {id(variable) for variable in Variables.of(model).group("optimizer")}
    for optimizer in (model.optimizer, model.inner.optimizer, *model.both.values()):
        assert all(id(variable) in kept for variable in optimizer.variables)


def attributes_after(before: keras.Model, change: Callable[[keras.Model], object], into: keras.Model) -> None:
    """Restore into one model what another had after a change."""
    attributes = attributes_of(before)
    assert attributes.part() is None
    change(before)
    part = attributes.part()
    arrays, document = ({}, None) if part is None else (part.tensors, json.loads(canonical(part.document)))
    attributes_of(into).restore(arrays, document)


def attributes_of(model: keras.Model) -> Attributes:
    return Attributes.of(Variables.of(_built(model)))


def test_a_rate_and_trainable_that_change_while_steps_run_eagerly_come_back() -> None:
    def change(model: keras.Model) -> None:
        model.layers[1].rate = 0.125
        model.layers[0].trainable = False
        model.optimizer.weight_decay = 0.5

    before, after = small_model(), small_model()
    for model in (before, after):
        model.compile("adam", "mse", run_eagerly=True)
    attributes_after(before, change, after)
    assert (after.layers[1].rate, after.optimizer.weight_decay) == (0.125, 0.5)
    assert len(after.trainable_variables) == 2


def test_of_a_compiled_step_no_attributes_are_kept_for_it_is_traced_anew() -> None:
    after = small_model(dropout=0.5)
    attributes_after(small_model(), lambda model: setattr(model.layers[1], "rate", 0.125), after)
    assert after.layers[1].rate == 0.5


def test_what_a_model_keeps_with_a_state_dict_is_saved_with_it() -> None:
    class Counts:
        count = 0

        def state_dict(self) -> dict[str, int]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.count = state["count"]

    before, after = small_model(), small_model()
    before.own, after.own = Counts(), Counts()
    before.own.count = 3
    part = attributes_of(before).part()
    assert part is not None
    attributes_of(after).restore(part.tensors, json.loads(canonical(part.document)))
    assert after.own.count == 3


def test_a_metric_that_is_not_logged_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with perdure.open(tmp_path / "run") as run, pytest.raises(UsageError, match=r"'val_auc', .* have loss"):
        fit(run, Resume(run, best="max:val_auc"))


def test_one_callback_in_two_fits_counts_them(tmp_path: Path) -> None:
    with perdure.open(tmp_path / "run") as run:
        resume = Resume(run)
        fit(run, resume)
        fit(run, resume, epochs=3)
        assert len(run.history("fit")) == 2
        assert [entry["position"] for entry in run.history("fit-2")] == [0, 1, 2]


def test_log_and_insert_inside_fit_belong_to_its_epochs(tmp_path: Path) -> None:
    with perdure.open(tmp_path / "run") as run:

        class Logs(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: object = None) -> None:
                run.log(noticed=epoch)
                run.insert("seen", [{"epoch": epoch}])

        small_model().fit(X, Y, epochs=2, verbose=0, callbacks=[Resume(run), Logs()])
        assert [e["noticed"] for e in run.history("fit") if "noticed" in e] == [0, 1]


def test_an_exception_in_fit_counts_nothing_and_the_run_goes_on(tmp_path: Path) -> None:
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            if epoch == 1:
                raise RuntimeError("on purpose")

    with perdure.open(tmp_path / "run", budget=None) as run:
        with pytest.raises(RuntimeError, match="on purpose"):
            small_model().fit(X, Y, epochs=3, verbose=0, callbacks=[Resume(run), Fails()])
        assert run.step("after", list, (1, 2), version="1") == [1, 2]
        assert len(run.history("fit")) == 1


def test_the_best_weights_come_back_after_training_went_on(tmp_path: Path) -> None:
    with perdure.open(tmp_path / "run") as run:
        seen = []

        class Weights(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: object = None) -> None:
                seen.append([np.array(w) for w in self.model.get_weights()])

        resume, model = Resume(run, best="max:loss"), small_model()
        history = model.fit(X, Y, epochs=4, verbose=0, callbacks=[resume, Weights()])
        best = int(np.argmax(history.history["loss"]))
        resume.restore_best()
        assert (resume.best_epoch, resume.best_value) == (best, history.history["loss"][best])
        for now, then in zip(model.get_weights(), seen[best], strict=True):
            np.testing.assert_array_equal(now, then)


def test_a_loss_that_is_nan_is_kept_in_the_history(tmp_path: Path) -> None:
    with perdure.open(tmp_path / "run") as run:
        fit(run, Resume(run), y=np.full(10, np.nan, np.float32))
        assert all(entry["loss"] != entry["loss"] for entry in run.history("fit"))


def test_fits_inside_each_are_phases_of_their_units(tmp_path: Path) -> None:
    def train() -> list[object]:
        with perdure.open(tmp_path / "run") as run:
            for unit in run.each("model", ["a", "b"]):
                unit.result = fit(run, Resume(run)).history["loss"]
            return [run.history("model/a/fit"), run.history("model/b/fit")]

    assert train() == train()


def test_a_unit_draws_the_same_whether_or_not_another_one_ran_before_it_in_the_process():
    """Keras makes its global seed generator at the first use, from Python's stream."""

    def body():
        keras.random.normal((2,))
        return random.random(), np.random.random()

    global_state.set_global_attribute("global_seed_generator", None)
    drawn = []
    for _ in range(2):
        with streams.unit(7):
            drawn.append(body())
    assert drawn[0] == drawn[1]


def test_the_generator_outside_a_unit_goes_on_where_it_was():
    def outside(between):
        keras.utils.set_random_seed(3)
        first = np.asarray(keras.random.normal((2,)))
        between()
        return first, np.asarray(keras.random.normal((2,)))

    def unit():
        with streams.unit(7):
            keras.random.normal((5,))

    plain, around = outside(lambda: None), outside(unit)
    assert all(np.array_equal(a, b) for a, b in zip(plain, around, strict=True))


def test_a_fit_that_is_stopped_as_a_batch_begins_trains_that_batch_and_ends_its_epoch(tmp_path: Path) -> None:
    class Stop(keras.callbacks.Callback):
        def __init__(self, *, fails: bool) -> None:
            super().__init__()
            self.fails = lambda: fails

        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            self.model.stop_training = batch == 3

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if batch == 3 and self.fails():
                raise RuntimeError

    def train(folder: str, *, fails: bool) -> dict[str, list[float]]:
        with perdure.open(tmp_path / folder, seed=1, budget=None) as run:
            return fit(run, Resume(run, every=("epoch", 1)), Stop(fails=fails), x=Batches(X, Y, batch_size=2),
                       y=None).history  # fmt: skip

    with pytest.raises(RuntimeError):
        train("left", fails=True)
    assert len(train("left", fails=False)["loss"]) == 1
    assert train("left", fails=False) == train("whole", fails=False)


def test_data_may_look_at_what_a_callback_set_as_the_epoch_began_though_it_was_left(tmp_path: Path) -> None:
    class Level(keras.callbacks.Callback):
        def __init__(self, *, fails: bool) -> None:
            super().__init__()
            self.level, self.fails = 0, lambda: fails

        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            self.level += 1

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if self.level == 2 and batch == 3 and self.fails():
                raise RuntimeError

    def train(*, fails: bool) -> list[int]:
        shown: list[int] = []
        level = Level(fails=fails)

        class Watched(Batches):
            def begin(
                self, *, epoch: int, first: int
            ) -> None:  # PyTorch's loader asks for batches right after
                shown.append(level.level)
                super().begin(epoch=epoch, first=first)

        with perdure.open(tmp_path / "run", seed=1, budget=None) as run:
            fit(run, Resume(run, every=("epoch", 1)), level, x=Watched(X, Y, batch_size=2), y=None)
        return shown

    with pytest.raises(RuntimeError):
        train(fails=True)
    assert train(fails=False) == [2]


def test_no_thread_tells_callbacks_of_a_batch_while_it_is_saved(tmp_path: Path) -> None:
    class Safe(keras.callbacks.Callback):
        async_safe = True

        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            self.seen = threading.current_thread() is threading.main_thread()

    safe = Safe()
    with perdure.open(tmp_path / "run", seed=1) as run:
        fit(run, Resume(run), safe)
    assert safe.seen
