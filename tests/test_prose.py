"""Words that a native engineer would smile at, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BANNED = {
    r"can not": "cannot",
    r"anew": "again",
    r"in vain": "without success, or what happens then: on timeout",
    r"that is no (?!longer|more|worse|better)": "that is not a",
}
OWN_WORDS = {
    r"told": "reported, shown, known, notified",
    r"asked": "requested, requested_at",
    r"wanted": "required, demand",
    r"held": "kept, known; of a lock: the caller holds it",
    r"besides": "as well, apart from",
    r"what is there": "what exists, what it contains",
    r"of theirs": "of their own",
    r"reckoned": "calculated, expected",
    r"as ever": "as before, still",
    r"embedded exchange": "simulated exchange",
    r"(?:turn of (?:the|a) minute|minute's turn)": "the new minute",
}
"""Of the library, and of the names of tests and of their modules: a noun says better what each thing is."""
NAMED_FOR_GOOD = "test_regressions.py"
"""Whose tests others refer to by their names."""
WRITTEN = (".py", ".md", ".toml", ".yml", ".yaml", ".cfg")
NOT_OURS = {".venv", ".git", "recordings", "build", "dist", "__pycache__", ".hypothesis"}


def ours() -> Iterator[Path]:
    """Yield the files of the project that contain prose."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        made = any(part in NOT_OURS or part.endswith(("_cache", ".egg-info")) for part in parts)
        if path.suffix in WRITTEN and not made and path != Path(__file__):
            yield path


def found(text: str, pattern: str) -> list[int]:
    """Return the lines that contain the words, even where a line break separates them."""
    loose = pattern.replace(" ", r"\s+(?:#\s+)?")
    return [text.count("\n", 0, match.start()) + 1 for match in re.finditer(rf"\b(?:{loose})\b", text, re.IGNORECASE)]


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("what can\n    # not be", r"can not"),
        ("Begin anew.", r"anew"),
        ("waited in\nvain", r"in vain"),
        ("a price that is no decimal", r"that is no (?!longer|more|worse|better)"),
    ],
)
def test_a_phrase_is_found_across_lines(text: str, pattern: str) -> None:
    assert pattern in BANNED
    assert found(f"first\n{text}", pattern) == [2]
    assert found("what cannot begin again that is no longer here", pattern) == []


@pytest.mark.parametrize("pattern", OWN_WORDS)
def test_the_library_says_it_in_the_words_of_the_field(pattern: str) -> None:
    library = [path for path in ours() if path.relative_to(ROOT).parts[0] in {"ats_sync", "compat", "README.md"}]
    places = [
        f"{path.relative_to(ROOT)}:{line}" for path in library for line in found(path.read_text("utf-8"), pattern)
    ]
    assert len(library) > 200
    assert places == [], f"write instead: {OWN_WORDS[pattern]}"


@pytest.mark.parametrize("pattern", OWN_WORDS)
def test_tests_and_their_modules_are_named_in_the_words_of_the_field(pattern: str) -> None:
    modules = [path for path in ours() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == "tests"]
    names = [path.stem for path in modules]
    for path in modules:
        if path.name != NAMED_FOR_GOOD:
            names += re.findall(r"^\s*def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    assert len(names) > 2_000
    assert [name for name in names if found(name.replace("_", " "), f"(?:un)?{pattern}")] == []


@pytest.mark.parametrize("pattern", BANNED)
def test_nobody_writes(pattern: str) -> None:
    places = [f"{path.relative_to(ROOT)}:{line}" for path in ours() for line in found(path.read_text("utf-8"), pattern)]
    assert places == [], f"write instead: {BANNED[pattern]}"
