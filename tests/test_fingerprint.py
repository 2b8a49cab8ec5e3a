"""A fingerprint changes when code, config, arguments, libraries or threads do, and says which."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure import fingerprint
from perdure.content import SETTLED_NS, digest_file, digest_value
from perdure.errors import FormatError, UsageError
from perdure.fingerprint import (
    Fingerprint,
    current_code_and_environment,
    differences,
    flattened,
    of_function,
    of_module_file,
    threads,
)
from perdure.source import PIPELINES, closure_of, project_root, source_of

TRAIN = """
import json
import numpy as np
from lib.model import build
from lib import data

def fit(x):
    return build(x)
"""


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    (folder / "lib" / "deep").mkdir(parents=True)
    (folder / "train.py").write_text(TRAIN)
    (folder / "lib" / "__init__.py").write_text("")
    (folder / "lib" / "model.py").write_text(
        "from . import layers\nfrom .deep import *\ndef build(x): return x\n"
    )
    (folder / "lib" / "layers.py").write_text("import lib.model\nimport no_such_library\n")
    (folder / "lib" / "deep" / "__init__.py").write_text("from ..loss import loss\n")
    (folder / "lib" / "loss.py").write_text("def loss():\n    def inner():\n        from lib import late\n")
    (folder / "lib" / "late.py").write_text("x = 1\n")
    (folder / "lib" / "data.py").write_text("rows = 3\n")
    (folder / "unused.py").write_text("y = 1\n")
    return folder


def loop_of(folder: Path, **options: object) -> Fingerprint:
    return of_module_file(folder / "train.py", config={}, root=folder, **options)


def loaded(path: Path) -> dict[str, object]:
    """Run a file as a module of its own and give its names."""
    names: dict[str, object] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names


# --- code --------------------------------------------------------------------------------------------------


def test_the_code_is_the_module_and_all_of_the_project_that_it_imports(project):
    assert list(loop_of(project).code) == [
        "lib/__init__.py",
        "lib/data.py",
        "lib/deep/__init__.py",
        "lib/late.py",
        "lib/layers.py",
        "lib/loss.py",
        "lib/model.py",
        "train.py",
    ]


def test_nothing_is_imported_to_find_imports(project):
    (project / "lib" / "data.py").write_text("raise SystemExit('imported')\n")
    assert "lib/data.py" in loop_of(project).code


@pytest.mark.parametrize("name", ["train.py", "lib/late.py", "lib/__init__.py"])
def test_a_changed_file_is_named(project, name):
    before = loop_of(project)
    path = project / name
    path.write_text(path.read_text() + "\nchanged = True\n")
    assert differences(before, loop_of(project)) == [f"code: {name} changed"]


def test_new_and_vanished_files_are_named(project):
    before = loop_of(project)
    (project / "lib" / "layers.py").write_text("import unused\n")
    (project / "lib" / "data.py").unlink()
    assert differences(before, loop_of(project)) == [
        "code: lib/data.py is gone",
        "code: lib/layers.py changed",
        "code: unused.py is new",
        "library: no_such_library was absent, is gone",
    ]


def test_comments_layout_and_docstrings_do_not_count(project):
    before = loop_of(project)
    (project / "train.py").write_text(
        '"""What it does."""\n'
        + TRAIN.replace("def fit(x):", "def fit( x ):  # fits\n    'Fit it.'").replace(
            "build(x)", "build(\n  x\n  )"
        )
    )
    assert differences(before, loop_of(project)) == []


@pytest.mark.parametrize(
    "change", ["return build(x + 1)", "return build(1.0)", "return build('x')", "yield build(x)"]
)
def test_every_change_of_meaning_counts(project, change):
    before = loop_of(project)
    (project / "train.py").write_text(TRAIN.replace("return build(x)", change))
    assert differences(before, loop_of(project)) == ["code: train.py changed"]


def test_a_text_that_is_no_docstring_counts(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = ['a']\n'b'\n")
    first = source_of(path).digest
    path.write_text("x = ['a']\n'changed'\n")
    assert source_of(path).digest != first


def test_a_moved_folder_has_the_same_fingerprint(project, tmp_path):
    before = loop_of(project)
    moved = shutil.move(project, tmp_path / "elsewhere")
    assert loop_of(Path(moved)).digest == before.digest


def test_a_file_that_is_not_python_counts_by_its_bytes(project):
    (project / "lib" / "data.py").write_text("this is not python")
    before = loop_of(project)
    (project / "lib" / "data.py").write_text("this is not python either")
    assert differences(before, loop_of(project)) == ["code: lib/data.py changed"]


def test_a_script_and_its_modules_are_named_from_the_scripts_folder(project):
    (project / "train.py").write_text(
        TRAIN.replace("from lib.model", "import sys\nsys.path.insert(0, '../elsewhere')\nfrom lib.model")
        + "from perdure.fingerprint import of_function\nimport extra\n"
        + "print(*of_function(extra.go, config={}, arguments={}).code)\n"
    )
    (project / "lib" / "layers.py").write_text("")
    elsewhere = project.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "extra.py").write_text("import lib.late\ndef go(): 0\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["../elsewhere/extra.py", "lib/__init__.py", "lib/late.py"]


def test_a_pipelines_own_files_are_its_code_and_perdure_is_a_library():
    path = PIPELINES / "exoplanet" / "curves.py"
    found = of_module_file(path, config={})
    assert project_root(path) == PIPELINES
    assert "exoplanet/curves.py" in found.code
    assert all(name.startswith("exoplanet/") or name == "__init__.py" for name in found.code)
    assert "perdure" in found.libraries


def test_perdures_files_are_no_part_of_a_scripts_code(project):
    (project / "train.py").write_text(
        "import perdure.errors\nfrom perdure.pipelines.exoplanet import curves\n"
    )
    found = loop_of(project)
    assert list(found.code) == ["train.py"]
    assert "perdure" in found.libraries


# --- functions ---------------------------------------------------------------------------------------------


def test_a_lambda_a_nested_function_and_a_partial_count_as_their_module(project):
    (project / "plain.py").write_text(
        "import functools\n"
        "def fit(x): return x\n"
        "def outer():\n    def inner(): return 1\n    return inner\n"
        "nested, short = outer(), lambda x: x\n"
        "class Net:\n    def train(self): return 1\n"
    )
    names = loaded(project / "plain.py")
    expected = list(closure_of(project / "plain.py", project).files)
    for function in (names["fit"], names["nested"], names["short"], names["Net"].train):
        assert list(of_function(function, config={}, arguments={}, root=project).code) == expected
    bound = of_function(functools.partial(names["fit"], 3, y=4), config={}, arguments={"z": 5}, root=project)
    assert sorted(bound.arguments) == ["bound 0", "y", "z"]


def test_the_object_of_a_bound_method_is_an_argument(project):
    @dataclass
    class Net:
        width: int

        def train(self) -> int:
            return self.width

    narrow = of_function(Net(1).train, config={}, arguments={})
    wide = of_function(Net(2).train, config={}, arguments={})
    assert differences(narrow, wide) == ["arguments: 'self' changed"]


def test_a_decorator_does_not_hide_the_function():
    @functools.lru_cache
    def fit() -> int:
        return 1

    assert any(
        name.endswith("test_fingerprint.py") for name in of_function(fit, config={}, arguments={}).code
    )


def test_a_librarys_function_counts_by_the_librarys_version():
    found = of_function(np.mean, config={}, arguments={})
    assert list(found.code.values()) == ["library"]
    assert found.libraries["numpy"] == np.__version__


def test_a_function_without_source_needs_a_version():
    with pytest.raises(UsageError, match=r"'len'.*version="):
        of_function(len, config={}, arguments={})
    typed = eval("lambda: 1", {"__name__": "__main__"})
    with pytest.raises(UsageError, match="version="):
        of_function(typed, config={}, arguments={})
    assert of_function(len, config={}, arguments={}, version="1").code == {"version": "1"}


def test_a_version_stands_in_for_the_code(project):
    before = loop_of(project, version="3")
    (project / "train.py").write_text("x = 1")
    assert [line for line in differences(before, loop_of(project, version="3")) if "code" in line] == []
    assert "code: version was '3', is '4'" in differences(before, loop_of(project, version="4"))
    assert "code: version was '3', is 'none'" in differences(before, loop_of(project))


# --- config, libraries, threads ----------------------------------------------------------------------------


def given_config(config: dict[str, object]) -> Fingerprint:
    return Fingerprint({}, flattened(config), {}, {}, {})


def test_a_changed_setting_is_shown_with_both_values():
    before = given_config({"lr": 0.1, "net": {"width": 3, "gone": True}})
    after = given_config({"lr": 0.2, "net": {"width": "3"}, "new": None})
    assert differences(before, after) == [
        "config: lr was 0.1, is 0.2",
        "config: net.gone was true, is gone",
        'config: net.width was 3, is "3"',
        "config: new is new (null)",
    ]


def test_a_setting_that_is_not_a_number_equals_itself():
    assert differences(given_config({"x": float("nan")}), given_config({"x": float("nan")})) == []


def test_a_dot_in_a_name_does_not_hide_another_setting():
    assert len(flattened({"a.b": 1, "a": {"b": 2}})) == 2


def test_tuples_numpy_numbers_and_paths_are_plain_settings():
    assert flattened({"a": (1, np.float32(0.5)), "b": Path("x"), "c": {}}) == {
        "a": [1, 0.5],
        "b": "x",
        "c": {},
    }


def test_a_setting_that_is_no_setting_is_named():
    with pytest.raises(UsageError, match=r"config 'net.loss' is a function"):
        flattened({"net": {"loss": lambda: 0}})


def test_libraries_go_by_their_installed_versions(project):
    (project / "train.py").write_text("import numpy, PIL.Image, no_such_library, json\n")
    found = loop_of(project).libraries
    assert found["numpy"] == np.__version__
    assert found["no_such_library"] == "absent"
    assert found["PIL"] != "absent"
    assert "json" not in found
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_keras_brings_the_backend_that_it_would_use(project, monkeypatch):
    (project / "train.py").write_text("import keras\n")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    found = loop_of(project)
    assert {"keras", "jax", "jaxlib"} <= found.libraries.keys()
    assert found.threads["KERAS_BACKEND"] == "jax"


def test_keras_own_settings_file_decides_without_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert threads()["KERAS_BACKEND"] == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    assert threads()["KERAS_BACKEND"] == "torch"


def test_thread_settings_are_compared(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = Fingerprint({}, {}, {}, {}, threads())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(977)), raising=False)
    lines = differences(before, Fingerprint({}, {}, {}, {}, threads()))
    assert 'threads: OMP_NUM_THREADS was "", is 1' in lines
    assert any(line.startswith("threads: cores was ") and line.endswith("is 977") for line in lines)


def test_a_framework_that_is_not_loaded_yet_is_no_difference():
    before = Fingerprint({}, {}, {}, {}, {"torch threads": "2"})
    assert differences(before, Fingerprint({}, {}, {}, {}, {})) == []
    assert differences(before, Fingerprint({}, {}, {}, {}, {"torch threads": "4"})) == [
        "threads: torch threads was 2, is 4"
    ]


def test_a_version_does_not_depend_on_what_is_loaded_by_now():
    code = "import sys; sys.path[:0] = sys.argv[1:]; from perdure.fingerprint import library_version as v; "
    names = ("talib", "tensorflow", "sklearn")
    source = str(Path(fingerprint.__file__).parent.parent)
    asked = f"print([v(name) for name in {names}])"
    said = [
        subprocess.run(
            [sys.executable, "-c", code + before + asked, source], capture_output=True, text=True, check=True
        ).stdout
        for before in ("", "import talib; ")
    ]
    assert said[0] == said[1] and "absent" not in said[0]


def test_why_asks_nobody_for_the_backend_that_a_script_chose_itself(project, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    saved = loop_of(project)
    monkeypatch.delenv("KERAS_BACKEND")
    now = fingerprint.current_code_and_environment(saved, project)
    assert not any("KERAS_BACKEND" in line for line in fingerprint.differences(saved, now))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    now = fingerprint.current_code_and_environment(saved, project)
    assert any("KERAS_BACKEND" in line for line in fingerprint.differences(saved, now))


def test_why_sees_changed_files_and_libraries_without_running_the_script(project, monkeypatch):
    saved = loop_of(project)
    assert differences(saved, current_code_and_environment(saved, project)) == []
    (project / "lib" / "late.py").write_text("x = 2\n")
    (project / "lib" / "data.py").unlink()
    monkeypatch.setattr(fingerprint, "library_version", lambda name: "9.9" if name == "numpy" else "absent")
    lines = differences(saved, current_code_and_environment(saved, project))
    assert lines[:2] == ["code: lib/data.py is gone", "code: lib/late.py changed"]
    assert f"library: numpy was {np.__version__}, is 9.9" in lines


def test_a_fingerprint_survives_as_json(project):
    saved = of_function(np.mean, config={"lr": 0.1}, arguments={"x": [1, 2]})
    again = Fingerprint.from_document(json.loads(json.dumps(saved.as_document())))
    assert again == saved
    assert again.digest == saved.digest
    assert dataclasses.replace(saved, config={"lr": 0.2}).digest != saved.digest


def test_a_fingerprint_that_lacks_a_part_is_refused():
    with pytest.raises(FormatError, match="threads"):
        Fingerprint.from_document({"code": {}, "config": {}, "arguments": {}, "libraries": {}})


# --- arguments ---------------------------------------------------------------------------------------------


def digest(value: object) -> str:
    return digest_value(value, name="x")


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(json_like, json_like)
def test_digests_are_equal_exactly_when_the_values_are(one, other):
    assert (digest(one) == digest(other)) == (exact(one) == exact(other))


def exact(value: object) -> object:
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    return type(value), repr(value)


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: float
    y: float = 0.0


def one() -> int:
    return 1


def two() -> int:
    return 2


DIFFERENT = [
    (1, 1.0),
    ("1", b"1"),
    ([1, 2], [2, 1]),
    ([[1], [2]], [[1, 2], []]),
    ({"a": 1}, {"a": 2}),
    ({1, 2}, {1, 3}),
    (Point(1), Point(2)),
    (Colour.RED, Colour.BLUE),
    (datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)),
    (np.zeros(3), np.zeros(3, np.float32)),
    (np.zeros((2, 3)), np.zeros((3, 2))),
    (np.array([0.0]), np.array([-0.0])),
    (np.zeros(2, [("a", "f4")]), np.zeros(2, [("b", "f4")])),
    (np.array(["a"], object), np.array(["b"], object)),
    (one, two),
    (functools.partial(one, 1), functools.partial(one, 2)),
    (Point(1).__eq__, Point(2).__eq__),
    (len, sorted),
    (int, float),
]


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_different_content_has_different_digests(first, second):
    assert digest(first) == digest(first)
    assert digest(first) != digest(second)


def test_the_order_of_sets_and_dicts_does_not_count():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"x", "y", "z"}) == digest({"z", "y", "x"})


def test_an_array_counts_by_its_content_however_it_lies(tmp_path):
    array = np.random.default_rng(0).normal(size=(1000, 700))
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert (
        digest(mapped)
        == digest(array)
        == digest(np.asfortranarray(array))
        == digest(np.tile(array, 2)[:, :700])
    )
    array[999, 699] += 1e-12
    assert digest(mapped) != digest(array)


def test_a_framework_tensor_counts_by_its_content():
    jax = pytest.importorskip("jax.numpy")
    assert digest(jax.zeros(3)) == digest(jax.zeros(3))
    assert digest(jax.zeros(3)) != digest(jax.ones(3))


def test_a_table_counts_by_its_content():
    pl = pytest.importorskip("polars")
    table = pl.DataFrame({"a": [1, 2, None], "b": ["x", None, "z"]})
    parts = pl.concat([table[:1], table[1:]], rechunk=False)
    assert digest(parts) == digest(table)
    assert digest(table.with_columns(a=pl.Series([1, 2, 0]))) != digest(table)
    pytest.importorskip("pyarrow")
    assert digest(parts.to_arrow()) == digest(table.to_arrow())


def test_a_file_counts_by_its_bytes_not_its_place(tmp_path):
    (tmp_path / "a").write_text("same")
    (tmp_path / "b").write_text("same")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    (tmp_path / "b").write_text("else")
    assert digest(tmp_path / "a") != digest(tmp_path / "b")


def test_a_folder_counts_by_the_names_and_bytes_of_its_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "b").write_text("b")
        (tmp_path / name / "a").write_text("a")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "c")
    assert digest(tmp_path / "one") != digest(tmp_path / "two")


def test_a_link_to_nothing_has_no_content_until_there_is_something(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a").write_text("a")
    before = digest(folder)
    (folder / "link").symlink_to(tmp_path / "later")
    (folder / "loop").symlink_to(folder / "loop")
    assert digest(folder) == before
    (tmp_path / "later").write_text("b")
    assert digest(folder) != before


def test_a_file_that_cannot_be_read_is_named_and_not_only_its_folder(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("a")

    def refused(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UsageError, match=r"a cannot be read \(Permission denied\)"):
        digest_value(tmp_path, name="data")


def test_a_path_to_nothing_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(UsageError, match=r"argument out: .*nowhere.*str\(path\)"):
        digest_value(tmp_path / "nowhere", name="out")


def test_a_file_is_read_again_only_when_it_changed(tmp_path):
    path, cache = tmp_path / "a", {}
    path.write_text("one")
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 2 * SETTLED_NS))
    first = digest_file(path, cache)
    assert list(cache.values()) == [first]
    cache[next(iter(cache))] = "remembered"
    assert digest_file(path, cache) == "remembered"
    path.write_text("two")
    assert digest_file(path, cache) not in (first, "remembered")


def test_a_file_that_was_just_written_is_not_remembered(tmp_path):
    cache: dict[object, str] = {}
    (tmp_path / "a").write_text("one")
    digest_file(tmp_path / "a", cache)
    assert cache == {}


class Source:
    def __init__(self, name: str) -> None:
        self.name = name

    def __perdure_fingerprint__(self) -> str:
        return self.name


def test_an_object_may_say_itself_what_it_is():
    assert digest(Source("a")) == digest(Source("a"))
    assert digest([Source("a")]) != digest([Source("b")])


def test_what_cannot_be_told_is_named_with_the_way_out():
    with pytest.raises(
        UsageError, match=r"argument symbols\['a'\]\[1\] is a .*object.*version=.*__perdure_finger"
    ):
        of_function(one, config={}, arguments={"symbols": {"a": [1, object()]}})
    found = of_function(one, config={}, arguments={"symbols": object()}, version="1")
    assert found.arguments == {"symbols": "version"}


def test_a_list_that_contains_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(UsageError, match="contains itself"):
        digest(loop)


def test_the_module_loads_no_array_library():
    code = (
        "import sys, perdure.fingerprint as f; f.threads(); "
        "print(*{'numpy', 'keras', 'polars'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
