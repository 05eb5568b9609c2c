from __future__ import annotations

from pathlib import Path

import pytest

from .house import HERE, branches_on_kind, counted, library, table


@pytest.mark.parametrize(
    ("line", "branches"),
    [
        ("if key.kind is Kind.KLINES: pass", 1),
        ("if kind in (Kind.MARK, Kind.SPOT): pass", 1),
        ("if key == CLOCK: pass", 1),
        ("if kind in RATIOS: pass", 1),
        ("kind = Kind.DEPTH if deep else Kind.BOOK", 1),
        ("match kind:\n    case Kind.MARK: pass", 1),
        ("found = isinstance(series, KlineSeries)", 1),
        ("do = {Kind.MARK: one, Kind.SPOT: two}", 1),
        ("do = {CLOCK: one, LISTINGS: two}", 1),
        ("key = Key(Kind.MARK, symbol)", 0),
        ("if key.feed.polled: pass", 0),
        ("found = isinstance(series, Series2)", 0),
        ("if LIMIT > 3: pass", 0),
    ],
)
def test_a_branch_on_kind_is_found_in_every_form(line: str, branches: int) -> None:
    sources = {
        "ats_sync.feeds": "CLOCK = Key(Kind.CLOCK)\nLISTINGS = Key(Kind.LISTINGS)",
        "ats_sync.periods": "RATIOS = (Kind.A, Kind.B)\nLIMIT = 5",
        "ats_sync.engine": line,
    }
    assert len(branches_on_kind(sources)) == branches


def test_the_registry_itself_does_not_count() -> None:
    assert branches_on_kind({"ats_sync.feeds": "FEEDS = {Kind.A: 1, Kind.B: 2}\nx = kind is Kind.A"}) == []


def test_a_checkout_is_counted_without_what_stands_beside_the_library(tmp_path: Path) -> None:
    for name, text in {
        "ats_sync/__init__.py": "",
        "ats_sync/store/klines.py": "x = 1\n" * 401,
        "ats_sync/store/market.py": "y = kind is Kind.A\n",
        "ats_sync/cli/demo.py": "z = kind is Kind.A\n",
        "ats_sync/simulator/market.py": "a = kind is Kind.A\n",
        "tests/test_klines.py": "\n" * 1_000,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert list(counted(tmp_path).values()) == [4, 403, 3, 402, 1, 2]


def test_the_library_of_this_checkout_is_found() -> None:
    names = {path.relative_to(HERE).as_posix() for path in library(HERE)}
    assert "ats_sync/manager.py" in names
    assert not any(name.startswith("ats_sync/simulator/") for name in names)
    assert len(names) > 100


def test_the_table_shows_the_ratio_to_the_earlier_figure() -> None:
    before = {"lines": 12_793.0, "branches": 97.0, "gone": 1.0, "p50, µs": 0.0}
    now = {"lines": 25_586.0, "branches": 9.7, "p50, µs": 2.0, "new": 3.0}
    assert table(before, now).splitlines()[2:] == [
        "| lines | 12,793 | 25,586 | 2.00 |",
        "| branches | 97 | 9.7 | 0.10 |",
        "| gone | 1 | – | – |",
        "| p50, µs | 0 | 2 | – |",
        "| new | – | 3 | – |",
    ]
