"""Words that a native engineer would smile at, and what to write instead."""

from __future__ import annotations

import os
import re
from functools import cache
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
MADE = ("_cache", ".egg-info")
"""Endings of folders that are not ours either."""


@cache
def ours() -> dict[Path, str]:
    """Return the text of each file of the project that contains prose."""
    texts = {}
    for folder, inner, names in os.walk(ROOT):
        # (What is left out here is not walked through: a virtual environment has more files than the project.)
        inner[:] = sorted(each for each in inner if each not in NOT_OURS and not each.endswith(MADE))
        for path in (Path(folder, name) for name in sorted(names)):
            if path.suffix in WRITTEN and path != Path(__file__):
                texts[path] = path.read_text("utf-8")
    return texts


def found(text: str, pattern: str) -> list[int]:
    """Return the lines that contain the words, even where a line break separates them."""
    first, *others = pattern.split(" ")
    if first.isalpha() and first not in text.lower():
        return []
    loose = r"\s+(?:#\s+)?".join((first, *others))
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
    ours_alone = {"ats_sync", "compat", "README.md"}
    library = {path: text for path, text in ours().items() if path.relative_to(ROOT).parts[0] in ours_alone}
    places = [f"{path.relative_to(ROOT)}:{line}" for path, text in library.items() for line in found(text, pattern)]
    assert len(library) > 200
    assert places == [], f"write instead: {OWN_WORDS[pattern]}"


@pytest.mark.parametrize("pattern", OWN_WORDS)
def test_tests_and_their_modules_are_named_in_the_words_of_the_field(pattern: str) -> None:
    names: list[str] = []
    for path, text in ours().items():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == "tests":
            names.append(path.stem)
            if path.name != NAMED_FOR_GOOD:
                names += re.findall(r"^\s*def (test_\w+)", text, re.MULTILINE)
    assert len(names) > 2_000
    assert [name for name in names if found(name.replace("_", " "), f"(?:un)?{pattern}")] == []


@pytest.mark.parametrize("pattern", BANNED)
def test_nobody_writes(pattern: str) -> None:
    places = [f"{path.relative_to(ROOT)}:{line}" for path, text in ours().items() for line in found(text, pattern)]
    assert places == [], f"write instead: {BANNED[pattern]}"
