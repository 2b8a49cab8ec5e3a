"""Nothing that is stored or loaded can execute code: the sources call nothing that could."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "perdure"
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "yaml",
}
CALLS = {"eval", "exec", "compile", "read_pickle", "to_pickle", "from_pickle", "pickle_load", "load_weights"}
PIPES = {"executors/message.py"}  # pickle between processes of our own, over a pipe that nobody else has
# Libraries whose `load` may run what it reads, and what makes it not do so.
LOADS = {"torch": ("weights_only", True), "models": ("safe_mode", True), "saving": ("safe_mode", True)}
# `numpy.save` pickles arrays of objects unless it is told not to; `numpy.load` only when it is told to.
SAVES = {"save", "savez", "savez_compressed"}


def problems(text: str) -> Iterator[str]:
    """A line for each thing in a source that could make code of data."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                yield from (
                    f"{node.lineno}: imports {a.name}" for a in names if a.name.split(".")[0] in MODULES
                )
            case ast.ImportFrom(module=module) if (module or "").split(".")[0] in MODULES:
                yield f"{node.lineno}: imports from {module}"
            case ast.Call():
                yield from (f"{node.lineno}: {problem}" for problem in called(node))


def called(call: ast.Call) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    base = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    given = {word.arg: getattr(word.value, "value", "?") for word in call.keywords}
    if name in CALLS and not (name == "compile" and base in {"re", "model", "keras"}):
        yield f"calls {name}"
    if given.get("allow_pickle", False) is not False:
        yield f"{name} with allow_pickle"
    if base in {"np", "numpy"} and name in SAVES and given.get("allow_pickle") is not False:
        yield f"{name} without allow_pickle=False"
    option, value = LOADS.get(base, ("", None))
    if option and name in {"load", "load_model"} and given.get(option) is not value:
        yield f"{base}.{name} without {option}={value}"


def test_no_source_loads_what_could_execute_code() -> None:
    found = {
        f"{path.relative_to(SOURCE)}:{problem}"
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).as_posix() not in PIPES
        for problem in problems(path.read_text(encoding="utf-8"))
    }
    assert found == set()


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "import yaml.loader",
        "eval(text)",
        "compile(text, 'x', 'exec')",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "np.save(path, array)",
        "pandas.read_pickle(path)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "keras.models.load_model(path)",
        "keras.saving.load_model(path, safe_mode=False)",
    ],
)
def test_the_look_at_the_sources_finds_each_way_of_running_data(line: str) -> None:
    assert list(problems(line))


def test_what_is_harmless_is_not_found() -> None:
    text = "re.compile('x'); np.load(p, allow_pickle=False); torch.load(p, weights_only=True); model.compile('adam')"
    assert list(problems(text)) == []


def test_pickle_is_only_for_pipes_between_own_processes() -> None:
    users = [
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if any("pickle" in problem for problem in problems(path.read_text(encoding="utf-8")))
    ]
    assert users == sorted(PIPES)
