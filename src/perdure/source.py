"""The project's own code: which files a module depends on, and a digest of what each one means.

Imports are read from the syntax tree; nothing is imported. A file is the project's unless it belongs to
the standard library, to installed packages, or to perdure (whose pipelines are projects of their own).
Modules that are imported by a computed name are not seen.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
PIPELINES = PACKAGE / "pipelines"
INSTALLED = frozenset({"site-packages", "dist-packages"})
MODULE_FILES = (".py", "/__init__.py", *importlib.machinery.EXTENSION_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement: `from ..module import names` has level 2."""

    level: int
    module: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """What a file means (the digest of its syntax tree) and what it imports."""

    digest: str
    imports: tuple[Import, ...]


@dataclass(frozen=True, slots=True)
class Closure:
    """A module with all it imports: the project's files, and the top-level names of other libraries."""

    root: Path
    files: dict[str, str]  # relative to the root, with forward slashes -> digest
    libraries: frozenset[str]


def closure_of(path: Path, root: Path | None = None) -> Closure:
    """Follow the imports of the file `path` through the project; `root` is `project_root(path)` by default.

    Raises OSError when the file cannot be read, SyntaxError when it is not Python.
    """
    path = path.resolve()
    root = root.resolve() if root else project_root(path)
    found: dict[str, str] = {}
    libraries: set[str] = set()
    _parse(path)  # the module itself must be readable; what it imports may be anything
    waiting = [path]
    while waiting:
        file = waiting.pop()
        name = relative_name(file, root)
        if name in found:
            continue
        source = source_of(file)
        found[name] = source.digest
        for item in source.imports:
            files = list(_resolve(item, file, root))
            waiting.extend(files)
            if not files and item.level == 0 and item.module[0] not in sys.stdlib_module_names:
                libraries.add(item.module[0])
    return Closure(root, dict(sorted(found.items())), frozenset(libraries))


def project_root(path: Path) -> Path:
    """Give the folder that file names are relative to.

    For a built-in pipeline its package; else the running script's folder; else the folder that holds the
    file's outermost package.
    """
    if path.is_relative_to(PIPELINES):
        return PIPELINES
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script and not is_library(str(folder := Path(script).resolve().parent)):
        return folder
    return _outermost(path)


def relative_name(file: Path, root: Path) -> str:
    """Give the name under which a file is recorded: the same wherever the project's folder is moved to."""
    return os.path.relpath(file, root).replace(os.sep, "/")


@lru_cache(maxsize=4096)
def is_library(folder: str) -> bool:
    """Say whether files in `folder` are the standard library's, installed, or perdure's own."""
    path = Path(folder)
    if INSTALLED.intersection(path.parts):
        return True
    paths = sysconfig.get_paths()
    if any(path.is_relative_to(Path(paths[name]).resolve()) for name in ("stdlib", "platstdlib")):
        return True
    return path == Path(paths["scripts"]).resolve() or path.is_relative_to(PACKAGE)


def source_of(file: Path) -> Source:
    """Digest one file, remembered by (path, time, size); a file that is not Python counts by its bytes."""
    found = file.stat()
    return _source(str(file), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4096)
def _source(path: str, mtime_ns: int, size: int) -> Source:
    try:
        tree = _parse(Path(path))
    except (SyntaxError, ValueError):
        return Source(hashlib.sha256(Path(path).read_bytes()).hexdigest(), ())
    imports: list[Import] = []
    pieces: list[str] = []
    _describe(tree, pieces.append, imports)
    return Source(hashlib.sha256("".join(pieces).encode(errors="surrogatepass")).hexdigest(), tuple(imports))


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


def _describe(node: ast.AST, write: Callable[[str], object], imports: list[Import]) -> None:
    """Write a syntax tree without places, comments, docstrings and empty fields.

    Fields that are empty are left out because Python versions differ in which of them exist.
    """
    if isinstance(node, ast.Import):
        imports.extend(Import(0, tuple(alias.name.split(".")), ()) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = tuple(node.module.split(".")) if node.module else ()
        imports.append(Import(node.level, module, tuple(alias.name for alias in node.names)))
    write(type(node).__name__)
    write("(")
    for field in node._fields:
        value: Any = getattr(node, field, None)
        if value is None and not isinstance(node, ast.Constant):
            continue
        if isinstance(value, list):
            if field == "body" and _is_docstring(node, value):
                value = value[1:]
            if value:
                write(f"{field}=[")
                for item in value:
                    if isinstance(item, ast.AST):
                        _describe(item, write, imports)
                    else:
                        write(repr(item))
                    write(",")
                write("]")
        elif isinstance(value, ast.AST):
            write(f"{field}=")
            _describe(value, write, imports)
        elif field != "kind":  # u"" and "" are the same text
            write(f"{field}={value!r}")
    write(")")


def _is_docstring(node: ast.AST, body: list[Any]) -> bool:
    return (
        isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and bool(body)
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )


def _resolve(item: Import, file: Path, root: Path) -> Iterator[Path]:
    """Give the project's files that an import statement runs: packages on the way, modules, submodules."""
    for base in _bases(item, file, root):
        files = [found for found in _modules(base, item) if _is_project(found, root)]
        if files:
            yield from files
            return


def _bases(item: Import, file: Path, root: Path) -> Iterable[Path]:
    if item.level:
        return (file.parents[item.level - 1],) if item.level <= len(file.parents) else ()
    if item.module[0] == PACKAGE.name:
        return (PACKAGE.parent,)
    return (root, _outermost(file), *_search_path(tuple(sys.path)), *_loaded_from(item.module[0]))


@lru_cache(maxsize=16)
def _search_path(path: tuple[str, ...]) -> tuple[Path, ...]:
    folders = [Path(entry).resolve() for entry in path if entry and Path(entry).is_dir()]
    return tuple(folder for folder in folders if not is_library(str(folder)))


def _loaded_from(name: str) -> tuple[Path, ...]:
    """Editable installs may come from a folder that is on no path; the loaded module knows."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if not file or is_library(str(Path(file).resolve().parent)):
        return ()
    return (_outermost(Path(file).resolve()),)


def _modules(base: Path, item: Import) -> Iterator[Path]:
    if item.level:
        yield from _existing(f"{base}/__init__.py")
    place = str(base)
    for i, part in enumerate(item.module):
        place = f"{place}/{part}"
        last = i == len(item.module) - 1
        yield from _module_file(place) if last else _existing(f"{place}/__init__.py")
    for name in item.names:
        yield from _module_file(f"{place}/{name}")


def _module_file(place: str) -> Iterator[Path]:
    for suffix in MODULE_FILES:
        found = list(_existing(place + suffix))
        if found:
            yield from found
            return


def _existing(place: str) -> Iterator[Path]:
    if os.path.isfile(place):  # noqa: PTH113 - asked thousands of times for each phase: a Path would double that
        yield Path(place)


def _is_project(file: Path, root: Path) -> bool:
    if file.is_relative_to(PIPELINES):
        return root == PIPELINES
    return not is_library(str(file.parent))


def _outermost(path: Path) -> Path:
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder
