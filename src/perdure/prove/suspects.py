"""What a script's own text says about why its bits may differ: a reading, not a verdict."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from perdure.source import closure_of

_TIME = "the time differs in every process; record it with run.step, or leave it out of results"
_SEED = "is seeded by the system; give it a seed, and put the generator into state="
_SYSTEM = "draws from the system's own randomness, which nothing can repeat"
_THREADS = "threads end in another order each time; add up results in a fixed order, or use run.map"
_FOLDER = "lists files in whatever order the file system has them; sort the list"
_HASH = "a set is iterated over in another order in each process; use sorted(...)"
_CALLS = {
    "time.time": ("time", _TIME), "time.time_ns": ("time", _TIME), "time.perf_counter": ("time", _TIME),
    "time.monotonic": ("time", _TIME), "time.perf_counter_ns": ("time", _TIME), "time.process_time": ("time", _TIME),
    "datetime.datetime.now": ("time", _TIME), "datetime.datetime.utcnow": ("time", _TIME),
    "datetime.datetime.today": ("time", _TIME), "datetime.date.today": ("time", _TIME),
    "os.getpid": ("time", "the process id differs in every process"),
    "os.urandom": ("random", _SYSTEM), "uuid.uuid1": ("random", _SYSTEM), "uuid.uuid4": ("random", _SYSTEM),
    "random.SystemRandom": ("random", _SYSTEM), "secrets.token_hex": ("random", _SYSTEM),
    "secrets.randbelow": ("random", _SYSTEM), "secrets.token_bytes": ("random", _SYSTEM),
    "os.listdir": ("files", _FOLDER), "os.scandir": ("files", _FOLDER), "glob.glob": ("files", _FOLDER),
    "concurrent.futures.as_completed": ("threads", _THREADS), "threading.Thread": ("threads", _THREADS),
    "concurrent.futures.ThreadPoolExecutor": ("threads", _THREADS),
}  # fmt: skip
_UNSEEDED = {
    "numpy.random.default_rng",
    "random.Random",
    "numpy.random.SeedSequence",
    "numpy.random.RandomState",
}
_ORDERED = {
    "sorted",
    "len",
    "min",
    "max",
    "any",
    "all",
    "set",
    "frozenset",
}  # what they give has no order of a set
_MUTATORS = {
    "append",
    "extend",
    "add",
    "update",
    "insert",
    "pop",
    "appendleft",
    "setdefault",
    "clear",
    "remove",
}
_REPLACED = (
    "a new object takes its name here, while state= keeps the first one; change that in place (+=, [...] =)"
)
_Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Suspect:
    """A place in the script. kind: 'local', 'hash', 'time', 'random', 'files' or 'threads'."""

    kind: str
    file: str
    line: int
    code: str  # the name or expression
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.code}: {self.why}"


def suspects(script: Path, *, likely: Iterable[str] = ()) -> list[Suspect]:
    """Usual causes in a script and what it imports of its project; kinds in `likely` come first."""
    order = list(likely)
    found: list[Suspect] = []
    root = script.resolve().parent
    for name in closure_of(script, root).files:
        try:
            tree = ast.parse((root / name).read_bytes(), filename=name)
        except (SyntaxError, ValueError):  # compiled, or of another Python
            continue
        found += [*_carried(tree, name), *_calls(tree, name), *_sets(tree, name)]
    places = {(one.line, one.code, one.file): one for one in found}.values()
    return sorted(places, key=lambda one: order.index(one.kind) if one.kind in order else len(order))


# -- calls -------------------------------------------------------------------------------------------------------


def _calls(tree: ast.Module, file: str) -> Iterator[Suspect]:
    names = _imported(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = _dotted(node.func, names)
        text = f"{ast.unparse(node.func)}(...)" if node.args or node.keywords else ast.unparse(node)
        if called in _CALLS:
            kind, why = _CALLS[called]
            yield Suspect(kind, file, node.lineno, text, why)
        elif called in _UNSEEDED and not [a for a in node.args if not _is_none(a)] and not node.keywords:
            yield Suspect("random", file, node.lineno, text, _SEED)
        elif called == "hash":
            yield Suspect(
                "hash", file, node.lineno, text, "the hash of a text differs in every process; use hashlib"
            )


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _imported(tree: ast.Module) -> dict[str, str]:
    """Names in the module that stand for imported ones: np -> numpy, now -> datetime.datetime."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


# -- sets --------------------------------------------------------------------------------------------------------


def _sets(tree: ast.Module, file: str) -> Iterator[Suspect]:
    """Sets that are iterated over, where their order can matter."""
    bound = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_set(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        for walked in _walked(node):
            if _is_set(walked, bound):
                yield Suspect("hash", file, walked.lineno, ast.unparse(walked)[:60], _HASH)


def _walked(node: ast.AST) -> list[ast.expr]:
    """What a node iterates over."""
    if isinstance(node, ast.For | ast.comprehension):
        return [node.iter]
    if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _ORDERED):
        return [argument for argument in node.args if not isinstance(argument, ast.Starred)]
    return []


def _is_set(node: ast.expr, bound: set[str]) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in {"set", "frozenset"}
    return isinstance(node, ast.Set | ast.SetComp) or (isinstance(node, ast.Name) and node.id in bound)


# -- local variables that one iteration hands to the next --------------------------------------------------------


def _carried(tree: ast.Module, file: str) -> Iterator[Suspect]:
    for scope in ast.walk(tree):
        if isinstance(scope, _Scope):
            yield from _carried_in(scope, file)


def _carried_in(scope: _Scope, file: str) -> Iterator[Suspect]:
    """Names bound before a perdure loop, changed in its body, and not in its state=."""
    bound: dict[str, ast.expr] = {}
    for node in _statements(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for name, value in _pairs(target, node.value):
                    bound.setdefault(name, value)
        elif isinstance(node, ast.For):
            verb = _verb(node.iter, bound)
            if verb is not None:
                saved = _saved_names(verb, bound) | _names(node.target)
                for name, line in (_generators(node.body, bound) | _changed(node.body)).items():
                    if name in bound and name not in saved:
                        kind = "range" if ast.unparse(verb.func).endswith("range") else "each"
                        yield Suspect("local", file, line, name, _why(kind))
                for name, line in _replaced(node.body, _held(verb, bound) - _names(node.target)).items():
                    yield Suspect("local", file, line, name, _REPLACED)


def _why(kind: str) -> str:
    if kind == "each":
        return "this variable goes from unit to unit and starts afresh on a resume; put it into unit.result"
    return "this local variable goes from iteration to iteration and starts afresh on a resume; put it into state="


def _statements(scope: _Scope) -> Iterator[ast.stmt]:
    """Statements of a scope in order, inner blocks too, without those of inner functions."""
    waiting: list[ast.stmt] = list(scope.body)
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            waiting[:0] = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[str, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return [pair for t, v in zip(target.elts, value.elts, strict=True) for pair in _pairs(t, v)]
    return [(name, value) for name in _names(target)]


def _names(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}


def _verb(node: ast.expr, bound: dict[str, ast.expr]) -> ast.Call | None:
    """The call of run.range or run.each that a loop goes over, directly or by a name."""
    if isinstance(node, ast.Name):
        node = bound.get(node.id, node)
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"range", "each"}
    ):
        return node
    return None


def _saved_names(verb: ast.Call, bound: dict[str, ast.expr]) -> set[str]:
    given = [keyword.value for keyword in verb.keywords if keyword.arg == "state"]
    names = {name for value in given for name in _names(value)}
    return names | {inner for name in names if name in bound for inner in _names(bound[name])}


def _held(verb: ast.Call, bound: dict[str, ast.expr]) -> set[str]:
    """Names of the objects in state=, written out there or in a dict bound before."""
    given = [keyword.value for keyword in verb.keywords if keyword.arg == "state"]
    dicts = [bound.get(value.id, value) if isinstance(value, ast.Name) else value for value in given]
    values = [value for one in dicts if isinstance(one, ast.Dict) for value in one.values]
    return {value.id for value in values if isinstance(value, ast.Name)}


def _replaced(body: list[ast.stmt], names: set[str]) -> dict[str, int]:
    """Which of the names the body assigns anew -> line."""
    nodes = (node for statement in body for node in ast.walk(statement) if isinstance(node, ast.Assign))
    found = (name for node in nodes for target in node.targets for name in ast.walk(target))
    lines: dict[str, int] = {}
    for name in found:
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store) and name.id in names:
            lines.setdefault(name.id, name.lineno)
    return lines


def _changed(body: list[ast.stmt]) -> dict[str, int]:
    """Names that the body changes after reading them, or in place -> line."""
    first_use: dict[str, bool] = {}  # whether a name is read before it is bound
    changed: dict[str, int] = {}
    for node in (inner for statement in body for inner in _in_order(statement)):
        if isinstance(node, ast.Name):
            first_use.setdefault(node.id, isinstance(node.ctx, ast.Load))
            if isinstance(node.ctx, ast.Store) and first_use[node.id]:
                changed.setdefault(node.id, node.lineno)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            if first_use.get(node.target.id, True):
                changed.setdefault(node.target.id, node.lineno)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _MUTATORS
        ):
            if isinstance(node.func.value, ast.Name):
                changed.setdefault(node.func.value.id, node.lineno)
        elif (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
        ):
            changed.setdefault(node.value.id, node.lineno)
    return changed


def _generators(body: list[ast.stmt], bound: dict[str, ast.expr]) -> dict[str, int]:
    """Random generators that the body draws from -> line."""
    made = {name for name, value in bound.items() if isinstance(value, ast.Call) and _makes_generator(value)}
    nodes = (node for statement in body for node in ast.walk(statement))
    return {node.id: node.lineno for node in nodes if isinstance(node, ast.Name) and node.id in made}


def _makes_generator(node: ast.Call) -> bool:
    return ast.unparse(node.func).rpartition(".")[2] in {"default_rng", "Generator", "Random", "RandomState"}


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes as they are evaluated: the value of an assignment before its target."""
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Assign):
        children = [node.value, *node.targets]
    yield node
    for child in children:
        yield from _in_order(child)
