"""What must be the same for a recorded result to stand: code, config, arguments, libraries, threads.

A fingerprint is small, readable and comparable piece by piece, so that a refusal can name what changed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from perdure.content import FileKey, digest_value, source_file, unwrapped
from perdure.errors import FormatError, UsageError
from perdure.source import Closure, closure_of, is_library, source_of

DISTRIBUTIONS = {  # top-level name -> distribution, where they differ
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "PIL": "pillow",
    "cv2": "opencv-python",
    "yaml": "PyYAML",
    "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil",
    "batman": "batman-package",
    "talib": "TA-Lib",
    "google": "protobuf",
}
KERAS_BACKENDS = {"jax": ("jax", "jaxlib"), "tensorflow": ("tensorflow",), "torch": ("torch",)}
COMPANIONS = {"jax": ("jaxlib",), "lightning": ("torch",), "flax": ("jax", "jaxlib")}
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_ENABLE_ONEDNN_OPTS",
    "XLA_FLAGS",
    "JAX_PLATFORMS",
    "JAX_ENABLE_X64",
)
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Five maps from names to what they stood for when a phase ran; all of it JSON."""

    code: dict[str, str]  # file relative to the project -> digest of its syntax tree; or "version" alone
    config: dict[str, object]  # "a.b" -> JSON value
    arguments: dict[str, str]  # name -> digest of the content
    libraries: dict[str, str]  # top-level name -> version
    threads: dict[str, str]  # cores, thread settings, machine

    def as_document(self) -> dict[str, dict[str, object]]:
        """Give it as JSON."""
        return {field.name: dict(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_document(cls, document: Mapping[str, Mapping[str, Any]]) -> Fingerprint:
        """Take it from JSON; raises FormatError when a part is missing."""
        missing = [field.name for field in dataclasses.fields(cls) if field.name not in document]
        if missing:
            raise FormatError(
                f"run.db holds a damaged fingerprint, which lacks {', '.join(missing)}; `perdure verify --repair` "
                "mends what it can, and `perdure backups` lists what can be restored"
            )
        return cls(**{field.name: dict(document[field.name]) for field in dataclasses.fields(cls)})

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of the whole."""
        return hashlib.sha256(_canonical(self.as_document()).encode()).hexdigest()


def of_function(
    function: Callable[..., object],
    *,
    config: Mapping[str, object] | None,
    arguments: Mapping[str, object],
    version: str | None = None,
    root: Path | None = None,
    files: MutableMapping[FileKey, str] | None = None,
) -> Fingerprint:
    """Give the fingerprint of a call of `function`.

    The code is the module that defines the function (a lambda or nested function too) and all of the
    project that it imports; what a partial binds counts as arguments. `version` stands in for the code, and
    for arguments whose content cannot be told. `files` remembers digests of files between calls.
    Raises UsageError for a function without source, or such an argument, without `version`.
    """
    given = dict(arguments)
    while isinstance(function, functools.partial):
        given |= {f"bound {i}": value for i, value in enumerate(function.args)} | function.keywords
        function = function.func
    if inspect.ismethod(function) and not inspect.isclass(function.__self__):
        given["self"] = function.__self__
    elif (
        not inspect.isroutine(function)
        and not isinstance(function, type)
        and not hasattr(function, "__wrapped__")
    ):
        given["self"], function = function, type(function).__call__
    code, libraries = _code_of(function, version, root)
    digests = {name: _argument(name, value, version, files) for name, value in given.items()}
    return Fingerprint(code, flattened(config or {}), digests, libraries, threads())


def of_module_file(
    path: Path,
    *,
    config: Mapping[str, object] | None,
    version: str | None = None,
    root: Path | None = None,
) -> Fingerprint:
    """Give the fingerprint of a loop written in the file `path`: no arguments, all else as a function's."""
    closure = _closure(path, str(path), root)
    code = dict(closure.files) if version is None else {"version": version}
    return Fingerprint(code, flattened(config or {}), {}, _versions(closure.libraries), threads())


def of_values(
    config: Mapping[str, object],
    *,
    arguments: Mapping[str, object],
    libraries: Iterable[str],
    version: str | None = None,
    files: MutableMapping[FileKey, str] | None = None,
) -> Fingerprint:
    """Give the fingerprint of a library's work that depends on these values alone, whatever code asked for it."""
    digests = {name: _argument(name, value, version, files) for name, value in arguments.items()}
    code = {} if version is None else {"version": version}
    return Fingerprint(code, flattened(config), digests, _versions(frozenset(libraries)), threads())


def current_code_and_environment(saved: Fingerprint, root: Path) -> Fingerprint:
    """Give what `saved` would be now, as far as that can be told without running the script.

    Code by the recorded files below `root`, library versions, threads; config, arguments, the thread counts of
    frameworks, and a backend of Keras that no variable names here (the script may) are copied.
    """
    code = {name: _file_now(name, digest, root) for name, digest in saved.code.items()}
    libraries = {name: library_version(name) for name in saved.libraries}
    untold = () if os.environ.get("KERAS_BACKEND") else ("KERAS_BACKEND",)
    kept = {name: value for name, value in saved.threads.items() if name.endswith((" threads", *untold))}
    return Fingerprint(
        {name: digest for name, digest in code.items() if digest is not None},
        dict(saved.config),
        dict(saved.arguments),
        libraries,
        threads() | kept,
    )


def differences(saved: Fingerprint, current: Fingerprint) -> list[str]:
    """Give one line for each thing that differs, none when the recorded results stand."""
    return [
        *_code_differences(saved.code, current.code),
        *_differences("config", saved.config, current.config),
        *[
            f"arguments: {name!r} {_change(saved.arguments.get(name), current.arguments.get(name))}"
            for name in _changed(saved.arguments, current.arguments)
        ],
        *_differences("library", saved.libraries, current.libraries),
        *_differences("threads", *_comparable_threads(saved.threads, current.threads)),
    ]


def flattened(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Give nested configuration as {"a.b": JSON value}; raises UsageError for what is not JSON."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        name = prefix + (key if "." not in str(key) else json.dumps(key))
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{name}.")
        else:
            flat[name] = _plain(value, name)
    return flat


@lru_cache(maxsize=512)
def library_version(name: str) -> str:
    """Give the installed version of the library with the top-level name `name`, "absent" without one."""
    if name == "python":
        return platform.python_version()
    from importlib import metadata  # 20 ms, which `perdure status` need not pay

    try:
        return metadata.version(DISTRIBUTIONS.get(name, name))
    except metadata.PackageNotFoundError:  # not asked of the module: whether it is loaded by now differs
        found = _all_distributions().get(name)
        return metadata.version(found[0]) if found else ABSENT


@lru_cache(maxsize=1)
def _all_distributions() -> Mapping[str, list[str]]:
    """Top-level names and the distributions that bring them; reads the records of all that is installed."""
    from importlib import metadata

    return metadata.packages_distributions()


def threads() -> dict[str, str]:
    """Give what decides how sums are split, and so their last bits: cores, thread settings, machine."""
    affinity = getattr(os, "sched_getaffinity", None)
    found = {
        "cores": str(len(affinity(0)) if affinity else os.cpu_count()),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_features(),
        "KERAS_BACKEND": keras_backend(),
    }
    found |= {name: os.environ.get(name, "") for name in THREAD_VARIABLES}
    if (torch := sys.modules.get("torch")) is not None:
        found["torch threads"] = str(torch.get_num_threads())
    if (tensorflow := sys.modules.get("tensorflow")) is not None:
        counts = tensorflow.config.threading
        inside, across = counts.get_intra_op_parallelism_threads(), counts.get_inter_op_parallelism_threads()
        found["tensorflow threads"] = f"{inside}+{across}"
    return found


def keras_backend() -> str:
    """Give the backend that Keras uses or would use, by Keras's own rule, without importing it."""
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return str(json.loads((home / "keras.json").read_text()).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"


# --- pieces ------------------------------------------------------------------------------------------------


def _code_of(function: Any, version: str | None, root: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    plain = unwrapped(function)
    name = getattr(plain, "__qualname__", repr(plain))
    file = source_file(function)
    if file is None:
        if version is None:
            raise UsageError(
                f"the source of {name!r} cannot be found (a builtin, or typed into a prompt), so a change of "
                'it would go unseen; put it in a file, or pass version="1" (and another one when it changes)'
            )
        return {"version": version}, _versions(frozenset())
    library = plain.__module__.partition(".")[0]
    if is_library(str(file.parent)) and not library.startswith("perdure") and plain.__module__ != "__main__":
        code, libraries = {f"{plain.__module__}:{name}": "library"}, _versions(frozenset({library}))
    else:
        closure = _closure(file, name, root)
        code, libraries = dict(closure.files), _versions(closure.libraries)
    return (code if version is None else {"version": version}), libraries


def _closure(file: Path, name: str, root: Path | None) -> Closure:
    try:
        return closure_of(file, root)
    except (OSError, SyntaxError) as error:
        raise UsageError(
            f'the source of {name!r} cannot be read ({error}); mend it, or pass version="1"'
        ) from error


def _argument(
    name: str, value: object, version: str | None, files: MutableMapping[FileKey, str] | None
) -> str:
    try:
        return digest_value(value, name=name, files=files)
    except UsageError:
        if version is None:
            raise
        return "version"  # the caller vouches for it


def _versions(names: frozenset[str]) -> dict[str, str]:
    wanted = {"python", "perdure", *names} - set(sys.stdlib_module_names)
    for name in names:
        wanted.update(COMPANIONS.get(name, ()))
    if "keras" in names:
        wanted.update(KERAS_BACKENDS.get(keras_backend(), ()))
    return {name: library_version(name) for name in sorted(wanted)}


@lru_cache(maxsize=1)
def _cpu_features() -> str:
    """Digest the processor's instruction sets: libraries choose their kernels by them."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:16]


def _plain(value: Any, name: str) -> object:
    if isinstance(value, list | tuple):
        return [_plain(item, f"{name}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}.{key}") for key, item in value.items()}
    if type(value).__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise UsageError(
        f"config {name!r} is a {type(value).__qualname__}; config holds numbers, text, lists and dicts, "
        "so that it can be shown and compared: pass anything else as an argument"
    )


def _file_now(name: str, recorded: str, root: Path) -> str | None:
    if name == "version" or recorded == "library":
        return recorded
    try:
        return source_of(Path(os.path.normpath(root / name))).digest
    except OSError:
        return None


def _code_differences(saved: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    if "version" in saved or "version" in current:
        was, now = saved.get("version", "none"), current.get("version", "none")
        return [f"code: version was {was!r}, is {now!r}"] if was != now else []
    return [
        f"code: {name} {_change(saved.get(name), current.get(name))}" for name in _changed(saved, current)
    ]


def _change(was: str | None, now: str | None) -> str:
    if was is None:
        return "is new"
    return "is gone" if now is None else "changed"


def _differences(kind: str, saved: Mapping[str, object], current: Mapping[str, object]) -> list[str]:
    def shown(values: Mapping[str, object], name: str) -> str:
        value = values.get(name, ABSENT)
        return value if isinstance(value, str) and value and kind != "config" else json.dumps(value)

    def line(name: str) -> str:
        if name not in saved:
            return f"{kind}: {name} is new ({shown(current, name)})"
        if name not in current:
            return f"{kind}: {name} was {shown(saved, name)}, is gone"
        return f"{kind}: {name} was {shown(saved, name)}, is {shown(current, name)}"

    return [line(name) for name in _changed(saved, current)]


def _changed(saved: Mapping[str, object], current: Mapping[str, object]) -> list[str]:
    names = sorted(saved.keys() | current.keys())
    return [name for name in names if _canonical(saved.get(name, {})) != _canonical(current.get(name, {}))]


def _comparable_threads(
    saved: Mapping[str, str], current: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Leave out the counts of a framework that one of the two had not loaded yet."""
    names = {name for name in saved.keys() ^ current.keys() if name.endswith(" threads")}
    return (
        {name: value for name, value in saved.items() if name not in names},
        {name: value for name, value in current.items() if name not in names},
    )


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
