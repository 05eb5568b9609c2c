"""Compares an older checkout with this one, by the same program in one run.

The source of both is counted by the same rules. Measurements run in a process of each checkout, one after the other, on
an exchange of this one.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ats_sync.simulator import SimulatedExchange

from .ingest import GENEROUS, UNLIMITED, exchange, settings
from .machine import CONSUMER, pin
from .report import Report

HERE = Path(__file__).parents[2]
PROBE = Path(__file__).with_name("house_probe.py")
SECTION = "The house, before and now"
ASIDE = ("simulator", "stress")
"""Parts of ``ats_sync`` that do not count as the library."""
LONG = 400
PATIENCE = 900.0


def measure(report: Report, *, quick: bool, symbols: int, base: Path | None = None, suites: bool = False) -> None:
    """Measure both checkouts side by side, as figures and as a table for a Markdown page."""
    if base is None:
        report.note("house left out: --base names no older checkout")
        return
    trees = {"before": base.resolve(), "now": HERE}
    found: dict[str, dict[str, float]] = {name: counted(tree) for name, tree in trees.items()}
    with exchange(symbols, **UNLIMITED) as ex:
        for _ in range(1 if quick else 3):
            for name, tree in trees.items():
                for what, value in _probed(ex, tree, quick=quick).items():
                    found[name][what] = min(value, found[name].get(what, value))
    if suites:
        for name, tree in trees.items():
            found[name]["seconds of the whole test suite"] = _suite(report, tree)
    for what in found["now"]:
        for name in trees:
            if what in found[name]:
                report.add(SECTION, what, name, found[name][what], "")
    report.show(SECTION)
    print(table(found["before"], found["now"]), flush=True)


def table(before: Mapping[str, float], now: Mapping[str, float]) -> str:
    """Return both columns and their ratio as a Markdown table; a figure that one of them lacks is a dash."""
    lines = ["| what | before | now | now ÷ before |", "|---|---|---|---|"]
    for what in dict.fromkeys((*before, *now)):
        pair = [before.get(what), now.get(what)]
        cells = ["–" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" for value in pair]
        ratio = f"{pair[1] / pair[0]:.2f}" if pair[0] and pair[1] is not None else "–"
        lines.append(f"| {what} | {cells[0]} | {cells[1]} | {ratio} |")
    return "\n".join(lines)


# --- counted in the source -----------------------------------------------------------------------------------------


def counted(tree: Path) -> dict[str, float]:
    """Return what can be counted in the source of a checkout."""
    sources = {path: path.read_text("utf-8") for path in library(tree)}
    lines = {path: text.count("\n") for path, text in sources.items()}
    without = [path for path in sources if path.relative_to(tree).parts[1] != "cli"]
    return {
        "modules, without simulator and stress": len(sources),
        "lines of these": sum(lines.values()),
        "modules, without cli, too": len(without),
        "lines of these, without cli, too": sum(lines[path] for path in without),
        f"modules of more than {LONG} lines": sum(count > LONG for count in lines.values()),
        "branches on kind": len(branches_on_kind({name_of(tree, path): text for path, text in sources.items()})),
    }


def library(tree: Path) -> Iterator[Path]:
    """Yield the modules of the library in a checkout."""
    for path in sorted((tree / "ats_sync").rglob("*.py")):
        if path.relative_to(tree).parts[1] not in ASIDE:
            yield path


def name_of(tree: Path, path: Path) -> str:
    """Return the dotted name of a module in a checkout."""
    return ".".join(path.relative_to(tree).with_suffix("").parts)


def branches_on_kind(sources: Mapping[str, str]) -> list[str]:
    """Return the places (``module:line``) outside the registry where the kind of some data makes a difference.

    These are comparisons with a kind or with a constant made of kinds, choices between two kinds, patterns, tests for
    the class of a series, and tables keyed by kind.
    """
    trees = {name: ast.parse(text) for name, text in sources.items() if name.rpartition(".")[2] != "feeds"}
    constants = {
        target.id
        for name, text in sources.items()
        for node in ast.parse(text).body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and _kinds(node.value, set())
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id.isupper() and target.id != "FEEDS"
    }
    return sorted(
        f"{name}:{node.lineno}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.expr, ast.pattern)) and _branches(node, constants)
    )


def _branches(node: ast.expr | ast.pattern, constants: set[str]) -> bool:
    if isinstance(node, ast.Compare):
        return any(_kinds(side, constants) for side in (node.left, *node.comparators))
    if isinstance(node, ast.IfExp):
        return _kinds(node.body, set()) and _kinds(node.orelse, set())
    if isinstance(node, ast.MatchValue):
        return _kinds(node.value, constants)
    if isinstance(node, ast.Dict):
        return sum(key is not None and _kinds(key, constants) for key in node.keys) > 1
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
        return re.search(r"\b[A-Z]\w*(Series|Klines|Board|Ring)\b", ast.unparse(node.args[1])) is not None
    return False


def _kinds(node: ast.AST, constants: set[str]) -> bool:
    """Return whether the node names a kind, directly or by a constant."""
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and ast.unparse(each.value).rpartition(".")[2] == "Kind":
            return True
        if isinstance(each, ast.Name) and each.id in constants:
            return True
    return False


# --- measured in a process of each ---------------------------------------------------------------------------------


def _probed(ex: SimulatedExchange, tree: Path, *, quick: bool) -> dict[str, float]:
    asked: dict[str, Any] = {
        "tree": str(tree),
        "config": settings(ex, **GENEROUS),
        "symbols": list(ex.symbols),
        "reads": 200 if quick else 2_000,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", f"exec(compile(open({str(PROBE)!r}).read(), {str(PROBE)!r}, 'exec'))"],
        cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        pin(process.pid, CONSUMER)
        answer, errors = process.communicate(json.dumps(asked), timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise RuntimeError(f"{tree} could not be measured: {errors[-500:]}")
    found: dict[str, float] = json.loads(answer.splitlines()[-1])
    return found


def _suite(report: Report, tree: Path) -> float:
    """Return the seconds that all tests of a checkout take, run as its README says."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tree, capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
    )  # fmt: skip
    took = time.monotonic() - begun
    report.note(f"tests of {tree.name}: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else 'no output'}")
    return took
