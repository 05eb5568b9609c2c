"""What the README says of methods, settings and files is true."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ats_sync import Config, DataManager

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted((ROOT / "tests").glob("*/README.md")),
    *sorted((ROOT / "examples").rglob("README*.md")),
]


def section(title: str) -> str:
    return re.split(r"^## ", README.split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row whose first cell is code, without their backticks."""
    table = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`").replace("\\|", "|") for cell in row] for row in table]


def written(name: str, method: Any) -> str:
    """Return a method as the README writes it: its arguments and defaults, without types."""
    signature = inspect.signature(method)
    bare = [each.replace(annotation=each.empty) for each in list(signature.parameters.values())[1:]]
    return f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}"


def result(function: Any) -> str:
    annotation = inspect.signature(function).return_annotation
    assert isinstance(annotation, str)
    return annotation.split("[")[0] if annotation.startswith("np.") else annotation


def members() -> dict[str, str]:
    found = {}
    for name, member in vars(DataManager).items():
        if not name.startswith("_"):
            is_property = isinstance(member, property)
            found[name if is_property else written(name, member)] = result(member.fget if is_property else member)
    return found


def test_every_public_method_is_in_the_tables_with_its_arguments_and_result() -> None:
    assert {row[0]: row[1] for row in rows(section("All methods"))} == members()


def test_every_read_says_where_it_reads_from_and_what_fresh_means() -> None:
    reads = [row for row in rows(section("All methods")) if row[0].startswith(("get_", "wait_"))]
    assert len(reads) > 12
    assert all(len(row) == 4 and row[2] and row[3] for row in reads if not row[0].startswith(("get_stats", "wait_r")))


def test_every_setting_is_in_the_tables_with_its_default() -> None:
    listed = {row[0]: ast.literal_eval(row[1]) for row in rows(section("Configuration"))}
    assert listed == {each.name: getattr(Config(), each.name) for each in fields(Config)}


def test_the_two_commands_are_written_as_ci_looks_for_them() -> None:
    commands = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[0].endswith("-m ats_sync demo")
    assert commands[1].endswith("-m pytest -q")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_top_level_contains_what_the_owner_wants() -> None:
    """Everything else is a dotfile, or made by a tool."""
    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    made = {"build", "dist", "__pycache__"} | {name for name in there if name.endswith(".egg-info")}
    assert there - made == {"README.md", "ats_sync", "compat", "examples", "pyproject.toml", "setup.py", "tests"}
