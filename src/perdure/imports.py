"""Imports of installed packages that leave the random streams alone.

Many packages draw from the global streams of Python or NumPy while they are imported (JAX, Keras, TensorFlow,
scikit-learn, LightGBM, XGBoost and SHAP do). Which unit, worker or iteration is the first to import one differs from
attempt to attempt, so its numbers would differ too. From the first `perdure.open` on the streams are therefore put back
behind every import of an installed package. What the project's own modules draw while they are imported is the script's
affair and is left alone.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_INSTALLED = ("site-packages", "dist-packages")  # folders of packages that are not the project's own


def install(*, arrived: Callable[[], None]) -> None:
    """From now on imports of installed packages leave the streams alone. Once in a process.

    `arrived` is called behind each such import. Imports by other threads than the main one are let be: to put a stream
    back would take away what the main thread has drawn meanwhile.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(arrived))


class _Finder(MetaPathFinder):
    """Finds nothing by itself: it wraps the outermost of nested imports, whoever finds it."""

    def __init__(self, arrived: Callable[[], None]) -> None:
        self._arrived = arrived
        self._inside = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if self._inside or threading.current_thread() is not threading.main_thread():
            return None
        if fullname.partition(".")[0] in sys.stdlib_module_names:
            return None
        spec = self._found(fullname, path, target)
        if spec is not None and spec.loader is not None and _is_installed(spec):
            self._wrap(spec.loader)
        return spec

    def _found(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(fullname, path, target)
                if spec is not None:
                    return spec
        return None

    def _wrap(self, loader: Any) -> None:
        """A loader serves one module: what is put over its method goes again when it is called."""
        execute = loader.exec_module

        def executed(module: ModuleType) -> None:
            del loader.exec_module
            if self._inside:
                execute(module)
                return
            before = _states()
            self._inside = True
            try:
                execute(module)
            finally:
                self._inside = False
                _put_back(before)
                self._arrived()

        try:
            loader.exec_module = executed
        except AttributeError:
            pass  # a loader of another kind, shared by modules: those of built-in and frozen ones, which draw nothing


def _is_installed(spec: ModuleSpec) -> bool:
    return any(folder in (spec.origin or "") for folder in _INSTALLED)


def _states() -> list[tuple[Callable[[Any], None], Any]]:
    """What puts each stream back, and where it is now. NumPy is not loaded for this: it has drawn nothing yet."""
    found: list[tuple[Callable[[Any], None], Any]] = []
    if (python := sys.modules.get("random")) is not None:
        found.append((python.setstate, python.getstate()))
    if (numpy := sys.modules.get("numpy.random")) is not None and hasattr(numpy, "set_state"):
        found.append((numpy.set_state, numpy.get_state(legacy=False)))
    return found


def _put_back(before: list[tuple[Callable[[Any], None], Any]]) -> None:
    for restore, state in before:
        restore(state)
