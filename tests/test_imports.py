"""Who is the first to import a package makes no difference to anybody's numbers."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from processes import digest, environment, finish, run_script

PACKAGE = """
import random
import numpy
random.random()
numpy.random.rand()
"""
# As much of torch as its random stream takes: what it draws depends on when it was seeded.
TORCH = (
    PACKAGE
    + """
class _State(numpy.ndarray):
    numpy = lambda self: numpy.asarray(self)

_generator = numpy.random.RandomState(99)

def manual_seed(seed):
    _generator.seed(seed & 0xFFFFFFFF)

def get_rng_state():
    _, words, position, *_ = _generator.get_state()
    return numpy.append(words, position).astype(numpy.uint32).view(_State)

def set_rng_state(state):
    _generator.set_state(("MT19937", state[:-1], int(state[-1])))

def rand(count):
    return _generator.rand(count)

from_numpy, get_num_threads, get_num_interop_threads = numpy.asarray, lambda: 1, lambda: 1
"""
)


def installed(folder: Path, **packages: str) -> str:
    """A folder of installed packages, with these among them."""
    place = folder / "site-packages"
    for name, text in packages.items():
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").write_text(text)
    return f"{Path(__file__).parents[1] / 'src'}{os.pathsep}{place}"


def found(folder: Path, **variables: str) -> object:
    return json.loads(finish("first_import.py", folder, **variables).stdout)


def check(tmp_path: Path, **variables: str) -> None:
    late, early = tmp_path / "late", tmp_path / "early"
    assert found(late, **variables) == found(early, **variables, EARLY="1")
    assert digest(late) == digest(early)


def test_a_unit_that_imports_first_draws_what_it_draws_when_all_was_imported_before(tmp_path: Path) -> None:
    place = installed(tmp_path, torch=TORCH, drawing=PACKAGE)
    check(tmp_path, FRAMEWORKS="drawing torch", PYTHONPATH=place)


@pytest.mark.crash
@pytest.mark.parametrize(
    "names", ["jax", "torch sklearn", "tensorflow", "keras torch", "lightgbm xgboost shap"]
)
def test_so_it_is_with_each_framework(tmp_path: Path, names: str) -> None:
    check(tmp_path, FRAMEWORKS=names)


@pytest.mark.parametrize(
    "moment",
    [
        "unit.computed:5",
        pytest.param("unit.computed:1", marks=pytest.mark.crash),
        pytest.param("snapshot.published:2", marks=pytest.mark.crash),
    ],
)
def test_a_resume_that_skips_the_units_that_imported_ends_with_the_same_bits(
    tmp_path: Path, moment: str
) -> None:
    given = {"FRAMEWORKS": "drawing torch", "PYTHONPATH": installed(tmp_path, torch=TORCH, drawing=PACKAGE)}
    finish("first_import.py", tmp_path / "whole", **given)
    killed = run_script("first_import.py", tmp_path / "killed", **given, PERDURE_KILL_AT=moment)
    assert killed.returncode == -9, killed.stderr
    finish("first_import.py", tmp_path / "killed", **given)
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")


def python(folder: Path, text: str) -> str:
    """What a script prints that finds `drawing` among installed packages and `own` beside it."""
    packages = folder / "site-packages"
    for place in (packages / "drawing", packages / "outer", folder):
        place.mkdir(parents=True, exist_ok=True)
    (packages / "drawing" / "__init__.py").write_text(PACKAGE)
    (packages / "drawing" / "part.py").write_text(PACKAGE)
    (packages / "outer" / "__init__.py").write_text("import drawing, drawing.part\n" + PACKAGE)
    (folder / "own.py").write_text("import outer\nimport numpy\nnumpy.random.seed(9)\n")
    (folder / "script.py").write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, str(folder / "script.py")], capture_output=True, text=True, timeout=60,
        env=environment(folder / "run", PYTHONPATH=f"{Path(__file__).parents[1] / 'src'}:{packages}"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BEGIN = """
import random, sys, threading
import numpy as np
import perdure
run = perdure.open("run", seed=1)
random.seed(4); np.random.seed(4)
"""
END = """
print(random.random(), np.random.rand())
"""


def expected(seed: int = 4) -> str:
    return f"{random.Random(4).random()} {np.random.RandomState(seed).rand()}"


def test_an_installed_package_that_draws_on_import_takes_nothing_from_the_streams(tmp_path: Path) -> None:
    assert python(tmp_path, BEGIN + "import outer\nimport drawing.part" + END) == expected()


def test_a_part_of_a_package_that_is_imported_later_takes_nothing_either(tmp_path: Path) -> None:
    assert python(tmp_path, BEGIN + "import drawing\nimport drawing.part" + END) == expected()


def test_what_the_projects_own_modules_do_to_the_streams_stands(tmp_path: Path) -> None:
    assert python(tmp_path, BEGIN + "import own" + END) == expected(seed=9)


def test_without_perdure_imports_draw_as_ever(tmp_path: Path) -> None:
    assert (
        python(tmp_path, BEGIN.replace('run = perdure.open("run", seed=1)', "") + "import outer" + END)
        != expected()
    )


def test_a_module_comes_as_it_would_without_perdure(tmp_path: Path) -> None:
    text = """
    import inspect, importlib, importlib.util
    import outer
    found = importlib.util.find_spec
    print(type(outer.__loader__).__name__, "exec_module" in vars(outer.__spec__.loader))
    print("drawing" in inspect.getsource(outer), importlib.reload(outer) is outer)
    print(found("nowhere"), found("drawing.part").name)
    """
    assert (
        python(tmp_path, BEGIN + textwrap.dedent(text))
        == "SourceFileLoader False\nTrue True\nNone drawing.part"
    )


def test_a_package_whose_import_fails_raises_its_own_error_and_the_streams_stay(tmp_path: Path) -> None:
    text = """
    from pathlib import Path
    Path("%s/broken.py").write_text("import random; random.random(); raise ValueError('mine')")
    try:
        import broken
    except ValueError as error:
        print(error, "broken" in sys.modules)
    """ % (tmp_path / "site-packages")
    assert python(tmp_path, BEGIN + textwrap.dedent(text) + END) == f"mine False\n{expected()}"


def test_an_import_by_another_thread_takes_back_nothing_of_what_the_main_one_draws(tmp_path: Path) -> None:
    (tmp_path / "site-packages" / "waiting").mkdir(parents=True)
    (tmp_path / "site-packages" / "waiting" / "__init__.py").write_text(
        "import sys\nstarted = sys.modules['__main__'].started\nstarted.set()\nsys.modules['__main__'].go_on.wait(30)\n"
    )
    text = """
    started, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=__import__, args=("waiting",))
    thread.start()
    started.wait(30)
    first = random.random()
    go_on.set()
    thread.join()
    print(first != random.random())
    """
    assert python(tmp_path, BEGIN + textwrap.dedent(text)) == "True"


def test_importing_perdure_alone_installs_nothing(tmp_path: Path) -> None:
    text = "import sys\nbefore = list(sys.meta_path)\nimport perdure\nprint(sys.meta_path == before)"
    assert python(tmp_path, text) == "True"
