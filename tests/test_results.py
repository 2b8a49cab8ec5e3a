"""Results survive the process bit for bit, and nothing stored can run code."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from perdure.errors import FormatError, StateError
from perdure.results import INLINE_BYTES, Encoded, decode, encode


def reload(encoded: Encoded, folder: Path) -> object:
    for blob in encoded.blobs:
        assert hashlib.sha256(blob.content).hexdigest() == blob.digest
        (folder / f"{blob.digest}{blob.suffix}").write_bytes(blob.content)
    return decode(encoded.document, lambda digest, suffix: folder / f"{digest}{suffix}")


def no_blobs(digest: str, suffix: str) -> Path:
    raise AssertionError(f"{digest}{suffix} was asked for")


def bits(value: object) -> object:
    """A form of `value` in which equality means equal types and equal bits."""
    if isinstance(value, float):
        return "float", struct.pack(">d", value)
    if isinstance(value, complex):
        return "complex", bits(value.real), bits(value.imag)
    if isinstance(value, list | tuple):
        return "list", [bits(item) for item in value]
    if isinstance(value, dict):
        return "dict", {key: bits(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return "array", value.dtype, value.shape, value.tobytes()
    return type(value), value


any_text = st.text(st.characters()) | st.text(st.characters(categories=["Cs", "Lu"]))
keys = any_text | st.sampled_from(["$array", "$dict", "$float", "$", "$table", "$text"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62)
    | st.floats()
    | st.complex_numbers()
    | any_text
    | st.binary()
    | st.builds(Path, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
)
arrays = hnp.arrays(
    hnp.scalar_dtypes()
    | hnp.byte_string_dtypes()
    | hnp.unicode_string_dtypes(max_len=5)
    | hnp.array_dtypes(max_size=3),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
values = st.recursive(
    scalars | arrays,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(values)
def test_every_value_comes_back_with_the_same_bits_and_the_same_digest(value):
    encoded = encode(value)
    assert encoded.blobs == ()
    again = decode(encoded.document, no_blobs)
    assert bits(again) == bits(value)
    assert encode(again).digest == encoded.digest


@settings(max_examples=30, deadline=None)
@given(value=values)
def test_a_document_is_plain_canonical_json_named_by_its_digest(value):
    encoded = encode(value)
    tree = json.loads(encoded.document, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert encoded.document == json.dumps(tree, sort_keys=True, separators=(",", ":"))
    assert encoded.digest == hashlib.sha256(encoded.document.encode()).hexdigest()


def test_a_nan_keeps_its_payload_and_zero_its_sign():
    odd = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]
    again = decode(encode([odd, -0.0, float("inf"), float("-inf")]).document, no_blobs)
    assert [struct.pack(">d", x).hex() for x in again] == [
        "fff8000000000123",
        "8000000000000000",
        "7ff0000000000000",
        "fff0000000000000",
    ]


def test_an_integer_of_many_thousand_digits_survives():
    assert decode(encode(7**20_000).document, no_blobs) == 7**20_000


def test_the_order_of_keys_does_not_change_the_digest():
    assert encode({"a": 1, "b": 2}).digest == encode({"b": 2, "a": 1}).digest
    assert encode({"a": 1}).digest != encode({"a": 1.0}).digest


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        (OrderedDict(a=1), {"a": 1}),
        (IntEnum("Colour", "RED BLUE").BLUE, 2),
        (np.int32(7), 7),
        (np.bool_(True), True),
        (np.float32(0.1), 0.10000000149011612),
        (np.float64(0.1), 0.1),
        (np.str_("x"), "x"),
        ({np.str_("x"): np.uint8(255)}, {"x": 255}),
    ],
)
def test_what_json_knows_by_another_name_comes_back_plain(value, plain):
    again = decode(encode(value).document, no_blobs)
    assert bits(again) == bits(plain)
    assert encode(value).digest == encode(plain).digest


def test_a_numpy_date_keeps_its_unit():
    date = np.datetime64("2024-02-29T12", "h")
    again = decode(encode(date).document, no_blobs)
    assert again.dtype == date.dtype
    assert again == date


# --- arrays ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_is_a_blob_and_comes_back_memory_mapped(tmp_path, order):
    array = np.asarray(np.random.default_rng(1).normal(size=(300, 70)), order=order)
    encoded = encode({"fit": [array, array.copy(order="K")]})
    assert [blob.suffix for blob in encoded.blobs] == [".npy"], "the same content is one blob"
    assert len(encoded.document) < 500
    again = reload(encoded, tmp_path)["fit"][1]
    assert isinstance(again, np.memmap)
    assert again.flags.f_contiguous == (order == "F")
    assert bits(np.asarray(again)) == bits(array)
    assert encode({"fit": [again, again]}).digest == encoded.digest


def test_the_limit_between_document_and_blob_is_exact():
    assert encode(np.zeros(INLINE_BYTES, np.uint8)).blobs == ()
    assert len(encode(np.zeros(INLINE_BYTES + 1, np.uint8)).blobs) == 1


def test_arrays_come_back_read_only_whatever_their_size(tmp_path):
    for size in (3, 100_000):
        again = reload(encode(np.zeros(size)), tmp_path)
        with pytest.raises(ValueError, match="read-only"):
            again[0] = 1


@pytest.mark.parametrize("size", [5, 20_000])
@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "int4"])
def test_the_small_floats_of_accelerators_keep_their_type(tmp_path, name, size):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.arange(size).astype(getattr(ml_dtypes, name))
    encoded = encode(array)
    again = reload(encoded, tmp_path)
    assert bits(np.asarray(again)) == bits(array)
    assert encode(again).digest == encoded.digest


def test_a_structured_array_with_gaps_survives(tmp_path):
    dtype = np.dtype([("flag", "?"), ("flux", ">f4", (3,)), ("name", "U4")], align=True)
    array = np.zeros(5000, dtype)
    array["flux"] = 1.5
    array["name"] = "kepl"
    again = reload(encode(array), tmp_path)
    assert again.dtype == dtype
    assert (again == array).all()


def test_every_second_row_of_an_array_is_kept_as_those_rows(tmp_path):
    array = np.arange(40_000).reshape(-1, 4)[::2, 1:3]
    assert bits(np.asarray(reload(encode(array), tmp_path))) == bits(array)


def test_large_bytes_are_a_blob(tmp_path):
    encoded = encode({"pdf": b"x" * 100_000})
    assert [blob.suffix for blob in encoded.blobs] == [".bin"]
    assert reload(encoded, tmp_path) == {"pdf": b"x" * 100_000}


# --- tables ------------------------------------------------------------------------------------------------


def frame():
    pl = pytest.importorskip("polars")
    return pl.DataFrame(
        {
            "symbol": ["SPY", None, "ÄÖ"],
            "close": [1.5, float("nan"), -0.0],
            "n": pl.Series([1, 2, None], dtype=pl.UInt16),
            "day": pl.Series([0, 1, 2], dtype=pl.Date),
            "at": pl.Series([0, 1, 2], dtype=pl.Datetime("us", "UTC")),
            "kind": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
            "side": pl.Series(["buy", "sell", "buy"], dtype=pl.Enum(["sell", "buy"])),
            "path": [[1.0], [], None],
            "pair": [{"x": 1}, {"x": 2}, {"x": None}],
        }
    )


def test_a_polars_frame_comes_back_equal_from_the_same_bytes(tmp_path):
    pl = pytest.importorskip("polars")
    table = frame()
    encoded = encode({"prices": table})
    again = reload(encoded, tmp_path)["prices"]
    assert isinstance(again, pl.DataFrame)
    assert again.equals(table)
    assert again.schema == table.schema
    assert encode({"prices": again}).digest == encoded.digest
    assert [blob.suffix for blob in encoded.blobs] == [".parquet"]


def test_how_a_table_is_chunked_does_not_change_its_digest():
    pl = pytest.importorskip("polars")
    whole = pl.DataFrame({"x": np.arange(1000.0), "s": [str(i) for i in range(1000)]})
    parts = pl.concat([whole[:300], whole[300:]], rechunk=False)
    assert encode(parts).digest == encode(whole).digest
    pytest.importorskip("pyarrow")
    assert encode(parts.to_arrow()).digest == encode(whole.to_arrow()).digest


def test_an_arrow_table_comes_back_as_an_arrow_table(tmp_path):
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {"x": [1.0, None], "d": pa.array(["a", "b"]).dictionary_encode(), "n": pa.array([1, 2], "int8")}
    )
    encoded = encode(table)
    again = reload(encoded, tmp_path)
    assert again.equals(table, check_metadata=False)
    assert encode(again).digest == encoded.digest


def test_a_pandas_frame_comes_back_with_its_index(tmp_path):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"x": [1.0, 2.0], "s": ["a", "b"]}, index=pd.date_range("2024-01-01", periods=2))
    encoded = encode(table)
    again = reload(encoded, tmp_path)
    pd.testing.assert_frame_equal(again, table, check_freq=False)
    assert encode(again).digest == encoded.digest


def test_a_table_that_parquet_cannot_hold_is_refused_by_name():
    pl = pytest.importorskip("polars")
    table = pl.DataFrame({"x": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(StateError, match=r"result\['t'\] is a polars.DataFrame"):
        encode({"t": table})


# --- refusals ----------------------------------------------------------------------------------------------


@dataclass
class Fit:
    x: int


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"fit": [1, 2, {3}]}, r"result\['fit'\]\[2\] is a builtins.set.*sorted\(value\)"),
        ([Fit(1)], r"result\[0\] is a .*Fit, .*dataclasses.asdict\(value\)"),
        (lambda: 0, "result is a builtins.function"),
        (object(), "result is a builtins.object.*arrays or tables"),
        ({1: 2}, "key 1 of type int.*str keys"),
        (np.array([object()]), "dtype object.*tolist"),
        (np.ma.masked_array([1, 2], [0, 1]), "MaskedArray.*filled"),
        (bytearray(b"x"), r"bytes\(value\)"),
    ],
)
def test_what_cannot_be_recorded_is_named_with_its_place_and_a_way_out(value, says):
    with pytest.raises(StateError, match=says):
        encode(value)


def test_text_of_variable_width_is_refused_rather_than_pickled():
    with pytest.raises(StateError, match="fixed-width"):
        encode(np.array(["a", "bc"], dtype=np.dtypes.StringDType()))


def test_a_list_that_contains_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(StateError, match="contains itself"):
        encode(loop)


@pytest.mark.parametrize(
    "document",
    [
        '{"$call":"os.system"}',
        '{"$table":{"blob":"x","kind":"os.system"}}',
        encode(np.zeros(1, np.uint16)).document.replace('{"npy"', '{"view":"os","npy"'),
    ],
)
def test_a_document_of_unknown_kind_is_refused(document):
    with pytest.raises(FormatError):
        decode(document, lambda digest, suffix: Path("nowhere"))


def test_a_pickle_in_the_place_of_an_array_is_not_loaded(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        decode('{"$array":{"blob":"x"}}', lambda digest, suffix: path)


def test_the_module_loads_no_array_library():
    code = (
        "import sys, perdure.results as r; r.encode({'a': [1, b'x']}); "
        "print(*{'numpy', 'polars', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
