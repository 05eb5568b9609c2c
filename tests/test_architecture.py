"""The shape of the code: which way imports point, and what no module ever does to its host process."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "ats_sync"
SHIM = ROOT / "compat"
APART = ("simulator", "stress")
"""Programs beside the library: the simulator, and the stress test."""
LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {"errors", "results", "arguments", "config", "clock", "conditions", "forks", "interruptible", "store_url"}
    ),
    frozenset({"venue", "logs", "reentry"}),
    frozenset({"feeds"}),
    frozenset({"store"}),
    frozenset({"engine", "events", "transport"}),
    frozenset({"runtime"}),
    frozenset({"reads"}),
    frozenset({"queries"}),
    frozenset({"shared"}),
    frozenset({"rest_shaped", "shapes", "status", "tables"}),
    frozenset({"look", "publisher", "snapshots"}),
    frozenset({"rest_text", "batches"}),
    frozenset({"lifecycle"}),
    frozenset({"shared_events"}),
    frozenset({"shared_lifecycle"}),
    frozenset({"watchlist", "stats", "overview"}),
    frozenset({"manager"}),
    frozenset({"process_manager"}),
    frozenset({""}),
    frozenset({"endpoint"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""From the bottom up; a module imports what lies below it, and its own part."""
PURE = ("engine", "store", "venue")
OUTSIDE = frozenset({"socket", "time", "select", "ssl", "requests", "websocket", "urllib3", "asyncio", "subprocess"})

CLIENTS = {"requests", "urllib3", "websocket", "asyncio"}


def modules(*roots: Path) -> list[Path]:
    return sorted(path for root in roots for path in root.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """Return the part of a module: ``ats_sync.store.klines`` belongs to ``store``, ``ats_sync`` itself to ""."""
    return module.split(".")[1] if "." in module else ""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a module. (Walking through them again for each test takes most of the time.)"""
    return tuple(ast.walk(parsed(path)))


def imports(path: Path, tree: ast.AST | None = None) -> Iterator[tuple[str, str]]:
    """Yield ``(module, name)`` of every import; ``name`` is "" where the module itself is imported."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in nodes(path) if tree is None else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package.split(".")
                base = base[: len(base) - node.level + 1]
                module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            else:
                module = node.module or ""
            yield from ((module, alias.name) for alias in node.names)


def within_library(path: Path, tree: ast.AST | None = None) -> Iterator[str]:
    """Yield the modules of the library that a module imports."""
    for module, name in imports(path, tree):
        if module == "ats_sync" or module.startswith("ats_sync."):
            inner = f"{module}.{name}"
            is_module = (ROOT / Path(*inner.split("."))).with_suffix(".py").exists() or (
                ROOT / Path(*inner.split(".")) / "__init__.py"
            ).exists()
            yield inner if name and is_module else module


LIBRARY_MODULES = [path for path in modules(LIBRARY) if part_of(name_of(path)) not in APART]


def layer_of(part: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


def test_imports_point_down() -> None:
    wrong = []
    for path in LIBRARY_MODULES:
        own = part_of(name_of(path))
        for imported in within_library(path):
            part = part_of(imported)
            if part in APART:
                allowed = own == "cli"
            else:
                allowed = layer_of(part) < layer_of(own) or part == own or {part, own} <= LAYERS[0]
            if not allowed:
                wrong.append(f"{name_of(path)} imports {imported}")
    assert not wrong


def test_every_part_has_its_layer() -> None:
    for path in LIBRARY_MODULES:
        layer_of(part_of(name_of(path)))


def test_the_page_on_the_architecture_names_the_same_layers() -> None:
    page = (ROOT / ".github" / "ARCHITECTURE.md").read_text("utf-8")
    table = page.split("\n## Layers\n")[1].split("\n## ")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [frozenset(re.findall(r"`(\w+)`", cell)) for cell in first_cells]
    assert named == [frozenset(part or "ats_sync" for part in layer) for layer in LAYERS]


def test_the_words_of_that_page_are_explained_by_modules_that_exist() -> None:
    table = (ROOT / ".github" / "ARCHITECTURE.md").read_text("utf-8").split("\n## Words\n")[1]
    seen = [line.rstrip("| ").rpartition("|")[2].strip(" `") for line in table.splitlines() if line.startswith("| ")][
        1:
    ]
    assert len(seen) > 30
    assert [each for each in seen if not (LIBRARY / f"{each}.py").is_file()] == []


def test_the_engine_does_not_know_the_transport() -> None:
    for path in modules(LIBRARY / "engine", LIBRARY / "transport"):
        for imported in within_library(path):
            assert {part_of(imported), part_of(name_of(path))} != {"engine", "transport"}


VENUE_FACTS = ("X-MBX-", "SUBSCRIBE", "banned until", "serverShutdown", "/fapi/", "/api/v3")
"""What only ``venue`` may know how to write; as parts of strings."""
PATHS_ELSEWHERE = frozenset({"ats_sync.endpoint.routes"})
"""Which paths other programs may ask for, and what of memory answers each, is the endpoint's own business."""
ERROR_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1120, 1121, 4021})
"""Below zero."""
SHAPING = ("shapes", "rest_shaped", "rest_text")


@pytest.mark.parametrize("part", ["transport", "runtime", "engine", "reads", "queries", "endpoint", *SHAPING])
def test_what_the_exchange_writes_is_known_only_in_venue(part: str) -> None:
    single = LIBRARY / f"{part}.py"
    for path in [single] if single.exists() else modules(LIBRARY / part):
        prose = {id(node.value) for node in nodes(path) if isinstance(node, ast.Expr)}
        for node in nodes(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)) and id(node) not in prose:
                for fact in VENUE_FACTS:
                    if fact.startswith("/") and name_of(path) in PATHS_ELSEWHERE:
                        continue
                    assert fact not in str(node.value), f"{name_of(path)}:{node.lineno} knows {fact!r}"
            if (
                isinstance(node, ast.UnaryOp)
                and isinstance(node.op, ast.USub)
                and isinstance(node.operand, ast.Constant)
            ):
                assert node.operand.value not in ERROR_CODES, f"{name_of(path)}:{node.lineno} knows an error code"
            assert not fields_of_frames(node), f"{name_of(path)}:{node.lineno} knows a field of a frame"


def fields_of_frames(node: ast.AST) -> list[str]:
    """Return the fields of one or two letters, which only frames have, that a subscript or a ``get`` reads."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        keys: list[ast.AST] = [node.slice]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        keys = [*node.args[:1]]
    else:
        return []
    names = [each.value for each in keys if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return [name for name in names if re.fullmatch("[A-Za-z]{1,2}", name) and name != "id"]


@pytest.mark.parametrize(
    ("text", "known"),
    [("a['S']", ["S"]), ("a.get('ap', 0)", ["ap"]), ("{'E': 1}", []), ("a['symbol']", []), ("a[0]", [])],
)
def test_reading_a_field_of_a_frame_is_noticed(text: str, known: list[str]) -> None:
    assert [name for node in ast.walk(ast.parse(text)) for name in fields_of_frames(node)] == known


def test_nothing_above_the_store_checks_the_class_of_a_series() -> None:
    """What differs is a row in ``feeds`` or a method of ``Series``."""
    classes = series_classes()
    assert {"Series", "KlineSeries", "DerivedKlines", "MarkBoard"} <= classes
    asking = [
        f"{name_of(path)}:{node.lineno}"
        for path in LIBRARY_MODULES
        if part_of(name_of(path)) != "store"
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("isinstance", "issubclass")
        and classes & {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
    ]
    assert not asking


@pytest.mark.parametrize("part", PURE)
def test_no_object_uses_private_attributes_of_another(part: str) -> None:
    """An object of its own class is the exception, in the module that defines both."""
    wrong = []
    for path in modules(LIBRARY / part):
        attributes = [node for node in nodes(path) if isinstance(node, ast.Attribute)]
        own = {node.name for node in nodes(path) if isinstance(node, ast.FunctionDef)} | {
            node.attr for node in attributes if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
        }
        for node in attributes:
            private = re.match(r"_(?!_|replace|asdict|make|fields)", node.attr) and node.attr not in own
            if private and ast.unparse(node.value) not in ("self", "cls", "super()"):
                wrong.append(f"{name_of(path)}:{node.lineno} {ast.unparse(node)}")
    assert not wrong


KINDS_TOLD_APART = {
    "ats_sync.cli.demo": 2,  # what it waits for without streams, and what it calls live
    "ats_sync.cli.scanner": 1,  # whose trades are in memory
    "ats_sync.endpoint.routes": 1,  # the ratios among the paths of statistics
    "ats_sync.rest_text": 1,  # candles of the spot exchange
    "ats_sync.shared.reading": 1,  # tickers of all symbols, which are pulled one by one
    "ats_sync.store.derivations": 1,  # what is derived
    "ats_sync.store.market": 1,  # what candles are derived from
    "ats_sync.venue.ratios": 1,  # whether a name is that of a ratio
}
"""How often each module does something else for one kind than for another; a new kind has to be known there."""
REGISTRY = "ats_sync.store.market._MAKE"
"""Which class a series of a kind is of."""


def test_kinds_are_distinguished_in_rows_and_nowhere_else() -> None:
    """Comparisons with one kind, a key or a class of it, choices between two, and tables by kind."""
    found: Counter[str] = Counter()
    classes, constants = series_classes(), kind_constants()
    for path in LIBRARY_MODULES:
        for node in nodes(path):
            compared = isinstance(node, ast.Compare) and any(
                is_of_one_kind(each, constants) for each in (node.left, *node.comparators)
            )
            chosen = isinstance(node, ast.IfExp) and names_a_kind(node.body) and names_a_kind(node.orelse)
            asked = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("isinstance", "issubclass")
                and bool(classes & {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)})
            )
            matched = isinstance(node, ast.match_case) and names_a_kind(node.pattern)
            found[name_of(path)] += compared or chosen or asked or matched
        found[name_of(path)] += len(set(tables_by_kind(path)) - {REGISTRY})
    assert +found == KINDS_TOLD_APART
    assert found.total() <= 10


def names_a_kind(node: ast.AST) -> bool:
    attributes = (each.value for each in ast.walk(node) if isinstance(each, ast.Attribute))
    return any(isinstance(each, ast.Name) and each.id == "Kind" for each in attributes)


def is_of_one_kind(node: ast.AST, constants: frozenset[str]) -> bool:
    """Return whether it is a kind, or a constant that names some, or the key of a board."""
    last = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    board = isinstance(node, ast.Attribute) and node.attr == "key" and ast.unparse(node.value).endswith(BOARDS)
    return names_a_kind(node) or last in constants or board


BOARDS = (".marks", ".liquidations", ".tickers", ".quotes", ".contracts", ".spot", ".listings")


def kind_constants() -> frozenset[str]:
    """Return the names of constants that are a kind or a key of one, or several."""
    found: set[str] = set()
    for path in LIBRARY_MODULES:
        for node in parsed(path).body:
            if isinstance(node, ast.Assign) and names_a_kind(node.value) and not isinstance(node.value, ast.Dict):
                found |= {each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    assert {"CLOCK", "LISTINGS", "SHARED", "RATIOS"} <= found
    return frozenset(found)


def series_classes() -> set[str]:
    return {
        node.name
        for path in modules(LIBRARY / "store")
        for node in nodes(path)
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Series", "Board", "Klines"))
    }


def tables_by_kind(path: Path) -> Iterator[str]:
    """Yield the tables that contain an action for each of some kinds; tables of names or numbers are allowed."""
    for node in nodes(path):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        table = getattr(node, "value", None)
        if not targets or not isinstance(table, ast.Dict):
            continue
        by_kind = any(key is not None and names_a_kind(key) for key in table.keys)
        if by_kind and not all(isinstance(value, ast.Constant) for value in table.values):
            yield f"{name_of(path)}.{ast.unparse(targets[0])}"


def test_the_lock_of_the_engine_is_taken_in_one_place() -> None:
    taken = [
        name_of(path)
        for path in modules(LIBRARY)
        for node in nodes(path)
        if isinstance(node, ast.With) and any("engine_lock" in ast.unparse(item) for item in node.items)
    ]
    assert taken == ["ats_sync.runtime.runtime"]


LOCK_RULE = re.compile(r"caller\s+holds\s+(?:the|\w+'s|the\s+\w+'s)\s+lock(?!,\s+or)")
"""What a helper says of itself that needs a lock; one that may also do without says when."""


@cache
def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in nodes(path) if isinstance(node, ast.FunctionDef)]


def looks_at_a_lock(function: ast.FunctionDef) -> bool:
    """Return whether a function asserts that a lock is taken, or raises where it is not, as functions of the standard
    library do."""
    checks = [node.test for node in ast.walk(function) if isinstance(node, (ast.Assert, ast.If))]
    return any(re.search(r"\.(locked|guarded|_is_owned)\(\)", ast.unparse(check)) for check in checks)


def test_a_helper_that_needs_a_lock_asserts_it() -> None:
    """It does so itself, or in what it calls in its own module; a hook that does nothing needs no assertion."""
    said, wrong = 0, []
    for path in LIBRARY_MODULES:
        looking = {each.name for each in functions(path) if looks_at_a_lock(each)}
        for function in functions(path):
            if not LOCK_RULE.search(ast.get_docstring(function) or "") or len(function.body) == 1:
                continue
            said += 1
            calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
            called = {ast.unparse(call).removeprefix("self.") for call in calls}
            if not looking & {function.name, *called}:
                wrong.append(f"{name_of(path)}:{function.lineno} {function.name}")
    assert said > 30
    assert not wrong


def test_the_architecture_page_names_every_thread() -> None:
    """Those of commands may be named there, too."""
    page = (ROOT / ".github" / "ARCHITECTURE.md").read_text("utf-8")
    table = page.split("\n## Threads\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {re.sub(r"-(<.*|N)$", "", name) for cell in cells for name in re.findall(r"`(ats-[^`]+)`", cell)}
    started: dict[bool, set[str]] = {True: set(), False: set()}
    for path in LIBRARY_MODULES:
        of_command = part_of(name_of(path)) == "cli"
        prose = {id(node.value) for node in nodes(path) if isinstance(node, ast.Expr)}
        texts = [node for node in nodes(path) if isinstance(node, ast.Constant) and id(node) not in prose]
        started[of_command] |= {
            text.value.rstrip("-")
            for text in texts
            if isinstance(text.value, str) and re.fullmatch(r"ats-[a-z-]+", text.value)
        }
    assert (
        started[False] - {"ats-sync"} <= named <= started[False] | started[True]
    )  # (It is installed under that name.)


def test_the_simulator_stands_alone_but_for_the_settings_it_hands_out() -> None:
    """Its literals are its own: a mistake shared by client and simulator would hide the worst bugs."""
    for path in modules(LIBRARY / "simulator"):
        # Inside a function, or for the type checker only: importing the simulator does not load the library.
        later = {
            id(node)
            for parent in nodes(path)
            if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef))
            or (isinstance(parent, ast.If) and "TYPE_CHECKING" in ast.unparse(parent.test))
            for node in ast.walk(parent)
        }
        for node in nodes(path):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for imported in within_library(path, ast.Module([node], [])):
                    if part_of(imported) != "simulator":
                        assert part_of(imported) == "config", f"{name_of(path)} imports {imported}"
                        assert id(node) in later, f"{name_of(path)} imports {imported} at its top"


@pytest.mark.skipif(not SHIM.is_dir(), reason="there is no shim in this checkout")
def test_the_shim_uses_public_names_only() -> None:
    public = {
        element.value
        for node in nodes(LIBRARY / "__init__.py")
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets)
        for element in ast.walk(node.value)
        if isinstance(element, ast.Constant)
    }
    assert "DataManager" in public
    for path in modules(SHIM):
        for module, name in imports(path):
            if module.startswith("ats_sync"):
                assert module == "ats_sync", f"{name_of(path)} imports {module}"
                assert not name or name in public, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("part", PURE)
def test_what_is_pure_has_no_threads_sockets_or_clocks(part: str) -> None:
    for path in modules(LIBRARY / part):
        check_pure(path)


def check_pure(path: Path) -> None:
    for module, name in imports(path):
        assert module.split(".")[0] not in OUTSIDE, f"{name_of(path)} imports {module}"
        assert (module, name) not in {("threading", "Thread"), ("threading", "Timer"), ("threading", "Event")}
        assert (module, name) not in {("datetime", "date")}
        assert not module.startswith("concurrent")
    for node in nodes(path):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            written = f"{node.value.id}.{node.attr}"
            assert written not in {"threading.Thread", "threading.Timer", "threading.Event", "threading.Condition"}
            assert written not in {"datetime.now", "datetime.utcnow", "datetime.today"}


FORBIDDEN = (
    "sys.setswitchinterval",
    "sys.setrecursionlimit",
    "sys.settrace",
    "sys.setprofile",
    "sys.excepthook",
    "threading.excepthook",
    "threading.stack_size",
    "gc.disable",
    "gc.enable",
    "gc.freeze",
    "gc.set_threshold",
    "gc.collect",
    "gc.set_debug",
    "signal.signal",
    "signal.setitimer",
    "signal.alarm",
    "setdefaulttimeout",
    "logging.basicConfig",
    "logging.disable",
    "logging.captureWarnings",
    "logging.root",
    "locale.setlocale",
    "os.putenv",
    "os.chdir",
    "os.umask",
    "time.sleep",
    "random.seed",
    "warnings.filterwarnings",
    "warnings.simplefilter",
)
OWN_PROCESS = (
    "ats_sync.cli",
    "ats_sync.interruptible",
    "ats_sync.__main__",
    "ats_sync.simulator.child",
    "ats_sync.simulator.serving._child",
    "ats_sync.simulator.__main__",
    "ats_sync.stress",
)
"""Programs: the process they run in is their own."""


def is_environment(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "environ"


def written_to_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if is_environment(node.func.value):
            return node.func.attr in {"update", "setdefault", "pop", "clear", "popitem"}
        return node.func.attr == "getLogger" and not node.args
    targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else ()
    return any(isinstance(target, ast.Subscript) and is_environment(target.value) for target in targets)


def of_the_host(node: ast.AST, name: str) -> Iterator[ast.AST]:
    """Yield the nodes of a module except those of programs."""
    waiting = [(node, name)]
    while waiting:
        parent, outer = waiting.pop()
        for child in ast.iter_child_nodes(parent):
            inner = f"{outer}.{child.name}" if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else outer
            if inner not in OWN_PROCESS:
                yield child
                waiting.append((child, inner))


def test_a_program_that_requests_nothing_loads_no_client() -> None:
    """A script that reads from a shared store would wait for it and pay for it."""
    code = f"import ats_sync, sys; print(sorted({CLIENTS!r} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "[]\n"


def test_the_host_process_is_never_changed() -> None:
    wrong = []
    last_names = {forbidden.split(".")[-1] for forbidden in FORBIDDEN}
    for path in modules(LIBRARY, SHIM):
        if name_of(path).startswith(tuple(f"{own}." for own in OWN_PROCESS)) or name_of(path) in OWN_PROCESS:
            continue
        for node in of_the_host(parsed(path), name_of(path)):
            where = f"{name_of(path)}:{getattr(node, 'lineno', '?')}"
            if written_to_environment(node):
                wrong.append(f"{where} writes to the environment or takes the root logger")
            if isinstance(node, ast.Attribute) and node.attr in last_names:
                written = ast.unparse(node)
                if written in FORBIDDEN or node.attr in FORBIDDEN:
                    wrong.append(f"{where} uses {written}")
    assert not wrong


def test_no_exception_is_silently_swallowed() -> None:
    for path in LIBRARY_MODULES:
        for node in nodes(path):
            if isinstance(node, ast.ExceptHandler):
                whole = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
                silent = all(isinstance(each, (ast.Pass, ast.Continue)) for each in node.body)
                assert not (whole and silent), f"{name_of(path)}:{node.lineno}"


def test_every_module_says_what_it_is_for() -> None:
    assert not [name_of(path) for path in LIBRARY_MODULES if not ast.get_docstring(parsed(path))]


def packages_on_disk() -> set[str]:
    found = {name_of(path) for path in modules(LIBRARY, SHIM) if path.name == "__init__.py"}
    bare = {path.parent for path in modules(LIBRARY, SHIM)} - {
        path.parent for path in modules(LIBRARY, SHIM) if path.name == "__init__.py"
    }
    assert not bare, f"without __init__.py: {bare}"
    return found


def test_setup_names_every_package() -> None:
    named: set[str] = set()
    for node in nodes(ROOT / "setup.py"):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PACKAGES":
            named = set(ast.literal_eval(node.value))
    assert named == packages_on_disk()
    assert (LIBRARY / "py.typed").exists()


def test_no_file_contains_a_path_of_one_machine() -> None:
    marks = ["/" + "home/", "/" + "work/", "/" + "root/", "/" + "Users/", "/" + "tmp/"]
    for path in modules(LIBRARY, SHIM):
        text = path.read_text(encoding="utf-8")
        assert not [mark for mark in marks if f'"{mark}' in text or f"'{mark}" in text], path
