"""What `state=` takes comes back as it was; what it cannot take is refused by name."""

from __future__ import annotations

import json
import math
import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inprocess import Tracked, store_at
from perdure.errors import DamagedError, StateError
from perdure.snapshot import codec
from perdure.snapshot.parts import canonical, flatten, sources_of, unflatten


def round_trip(value: Any, tmp_path: Path) -> Any:
    """Through a file, as a snapshot goes."""
    tensors, document = flatten(value, owner="x")
    layout = codec.plan(tensors)
    body = b"".join(np.ascontiguousarray(tensors[t.name]).tobytes() for t in layout)
    (tmp_path / "f").write_bytes(codec.header(layout, canonical(document)) + body)
    arrays, text = codec.read(tmp_path / "f")
    return unflatten(json.loads(text), arrays)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))


def bfloat16() -> np.ndarray:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return np.arange(5).astype(ml_dtypes.bfloat16)


def test_nested_values_come_back_with_types_order_and_bits(tmp_path: Path) -> None:
    kinds = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", "c8"]
    value = {
        "arrays": {kind: np.arange(7).astype(kind) for kind in kinds},
        "empty": np.zeros((0, 3)),
        "single": np.array(2.5),
        "nan": np.array([np.nan, -0.0, np.inf]),
        "bfloat16": bfloat16(),
        "list": [1, 0.1, None, True, "ä\0", (1, (2.0, [])), {}],
        3: "three",
        "3": "text three",
        "big": 10**40,
        "scalar": np.float32(0.1),
        "weird": [math.nan, math.inf, -0.0],
    }
    assert same(round_trip(value, tmp_path), value)


def test_paths_that_spell_alike_are_not_mixed_up(tmp_path: Path) -> None:
    one, two, three = np.array([1.0]), np.array([2.0]), np.array([3.0])
    value = {"a/b": one, "a": {"b": two}, "0": one, 0: three, "": {"": two}, "value": one, "a/b'": three}
    assert same(round_trip(value, tmp_path), value)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"))
keys = st.text(st.characters(codec="utf-8"), max_size=5) | st.integers(-3, 3)
arrays = st.builds(lambda n: np.arange(n, dtype=np.float32), st.integers(0, 4))


@given(
    st.recursive(
        scalars | arrays, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=12
    )
)
def test_any_nesting_of_plain_values_and_arrays_comes_back(value: Any) -> None:
    tensors, document = flatten(value, owner="x")
    assert same(unflatten(json.loads(canonical(document)), tensors), value)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "'thing'.*object"),
        (lambda: None, "'thing'.*function"),
        (3, "'thing'.*int"),
        (None, "'thing'.*NoneType"),
        ({"a": {"b": object()}}, "'thing'.*a/b.*object"),
        ([1, {2}], "'thing'.*1.*set"),
        ({(1, 2): 3}, r"\(1, 2\)"),
        ({True: 3}, "True"),
        (np.array(["text"]), "<U4"),
        (np.array([object()]), "object"),
        (np.array([1], ">i4"), ">i4"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "'thing'"),
        ({"d": np.array(["2020-01-01"], "M8[D]")}, "datetime64"),
    ],
)
def test_what_cannot_be_captured_is_refused_at_once_by_name(value: object, named: str) -> None:
    with pytest.raises(StateError, match=named):
        sources_of({"thing": value})


def test_a_jax_array_is_refused_because_it_cannot_be_restored_in_place() -> None:
    jnp = pytest.importorskip("jax.numpy")
    with pytest.raises(StateError, match=r"'w'.*ArrayImpl"):
        sources_of({"w": jnp.zeros(2)})


@pytest.mark.parametrize("name", ["best", "streams", "loop", "history", "a/b", "", "__metadata__"])
def test_names_that_are_ours_are_refused(name: str) -> None:
    with pytest.raises(StateError, match="called"):
        sources_of({name: np.zeros(1)})


def restored(state: dict[str, Any], change: Any) -> None:
    """Capture, change, restore."""
    sources = sources_of(state)
    saved = {
        name: [{k: np.array(v) for k, v in s.capture()[0].items()}, s.capture()[1]]
        for name, s in sources.items()
    }
    change()
    for name, source in sources.items():
        source.restore(*saved[name])


def test_arrays_are_restored_in_place_so_that_every_reference_sees_it() -> None:
    inner, outer = np.arange(3.0), np.arange(2.0)
    state = {"w": outer, "nested": {"list": [inner, 7]}}

    def change() -> None:
        inner[:] = outer[:] = -1.0
        state["nested"]["list"][1] = 8  # type: ignore[index,call-overload]
        state["nested"]["new"] = 9  # type: ignore[index,call-overload]

    restored(state, change)
    assert inner.tolist() == [0, 1, 2] and outer.tolist() == [0, 1]
    assert state["nested"] == {"list": [inner, 7]}


def test_random_generators_go_on_where_they_were() -> None:
    for kind in (np.random.PCG64, np.random.Philox, np.random.MT19937, np.random.SFC64):
        state = {"np": np.random.Generator(kind(3)), "py": random.Random(4)}
        state["np"].normal(size=3)
        state["py"].gauss(0, 1)
        drawn: list[Any] = []
        restored(state, lambda s=state, d=drawn: d.extend([s["np"].normal(size=5), s["py"].gauss(0, 1)]))
        assert drawn[0].tobytes() == state["np"].normal(size=5).tobytes() and drawn[1] == state["py"].gauss(
            0, 1
        )


def test_a_generator_of_another_kind_is_refused() -> None:
    saved = sources_of({"g": np.random.Generator(np.random.PCG64(1))})["g"].capture()
    with pytest.raises(StateError, match=r"PCG64 and is Philox"):
        sources_of({"g": np.random.Generator(np.random.Philox(1))})["g"].restore(*saved)


def test_an_object_with_a_state_dict_gives_and_takes_it() -> None:
    class Model:
        def __init__(self) -> None:
            self.w, self.steps = np.zeros(2), 0

        def state_dict(self) -> dict[str, object]:
            return OrderedDict(w=self.w, steps=self.steps)

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.w, self.steps = state["w"], state["steps"]

    model = Model()

    def change() -> None:
        model.w, model.steps = np.ones(2), 5

    restored({"model": model}, change)
    assert model.w.tolist() == [0, 0] and model.steps == 0


@pytest.mark.slow
def test_torch_modules_and_optimizers_go_on_with_the_same_bits() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1).to(torch.float32)
    )
    optimizer = torch.optim.Adam(net.parameters(), amsgrad=True)
    x = torch.linspace(-1, 1, 24).reshape(8, 3)

    def train() -> None:
        for _ in range(3):
            optimizer.zero_grad()
            (net(x) ** 2).mean().backward()
            optimizer.step()

    train()
    after: list[bytes] = []
    state = {"net": net, "optimizer": optimizer, "half": {"b": torch.ones(3, dtype=torch.bfloat16)}}
    restored(state, lambda: (train(), after.extend(p.detach().numpy().tobytes() for p in net.parameters())))
    train()
    assert [p.detach().numpy().tobytes() for p in net.parameters()] == after
    assert state["half"]["b"].dtype == torch.bfloat16


def test_the_official_library_reads_our_files_with_identical_tensors(tmp_path: Path) -> None:
    official = pytest.importorskip("safetensors")
    from perdure.clock import SystemClock  # noqa: F401 - the store of the helper needs nothing else

    state = {
        "w": np.arange(12.0).reshape(3, 4),
        "small": np.arange(3, dtype=np.int8),
        "flag": np.array(True),
        "none": np.zeros((0, 2), np.float32),
        "b": {"half": np.ones(3, np.float16)},
    }
    with store_at(tmp_path / "run") as store:
        tracked = Tracked(store, state)
        tracked.track.offer_best(1.0, position=0, parts=tracked.parts(), maximize=True)
        tracked.save(1)
        tracked.writer.close()
    (path,) = (tmp_path / "run").glob("snapshots/*/*.safetensors")
    ours, _ = codec.read(path)
    with official.safe_open(path, "np") as theirs:
        assert set(theirs.keys()) == set(ours)
        assert all(same(theirs.get_tensor(name), np.array(ours[name])) for name in ours)
        assert theirs.get_tensor("w/value").tolist() == state["w"].tolist()  # type: ignore[union-attr]


RUBBISH = [
    b"",
    b"abc",
    b"\xff" * 8,
    bytes(8),
    *(bytes([len(t)]) + bytes(7) + t for t in (b"{}", b"[]", b"7", b"null")),
]


@pytest.mark.parametrize("content", RUBBISH)
def test_rubbish_is_not_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(DamagedError, match=str(tmp_path / "f")):
        codec.read(tmp_path / "f")


def test_every_flipped_byte_of_a_header_is_noticed(tmp_path: Path) -> None:
    array = np.arange(4.0)
    layout = codec.plan({"w/value": array})
    header = codec.header(layout, canonical({"format": 1, "text": "abc"}))
    for place in range(len(header.rstrip())):
        damaged = bytearray(header)
        damaged[place] ^= 1
        (tmp_path / "f").write_bytes(damaged + array.tobytes())
        try:
            arrays, document = codec.read(tmp_path / "f")
        except DamagedError:
            continue
        assert document == canonical({"format": 1, "text": "abc"})
        assert (
            list(arrays) != ["w/value"] or arrays["w/value"].dtype != array.dtype
        )  # the digest of the part has these
