"""The migration guide's programs: only imports differ, and the migrated ones run."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from ..cli.command import run
from .running import EXAMPLES, output

GUIDE = EXAMPLES / "migration"
PROGRAMS = sorted(path.name for path in (GUIDE / "before").glob("*.py"))


def test_there_is_a_pair_for_each_kind_of_program() -> None:
    assert PROGRAMS == ["auto_trader.py", "backtest.py", "batch_scanner.py", "scanner.py"]
    assert sorted(path.name for path in (GUIDE / "after").glob("*.py")) == PROGRAMS


@pytest.mark.parametrize("name", PROGRAMS)
def test_only_imports_differ(name: str) -> None:
    before, after = ((GUIDE / part / name).read_text(encoding="utf-8").splitlines() for part in ("before", "after"))
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert changed
    for line in changed:
        module = "ats_core.sources" if line[0] == "-" else "compat"
        assert re.match(rf"[+-] from {module}\.binance(_safe)? import ", line)


def seen(out: str, path: str) -> int:
    """Return how many requests of a path the exchange saw."""
    found = re.search(rf"^ +(\d+)  {re.escape(path)}$", out, re.MULTILINE)
    return int(found[1]) if found else 0


def test_the_scanner() -> None:
    out = output("migration/on_simulator.py", "scanner", "--scans", "3", "--pause", "1")
    assert re.findall(r"^scan (\d): (\d) symbols", out, re.MULTILINE) == [("1", "4"), ("2", "4"), ("3", "4")]
    assert out.count("basis +nan") == 3, "1000PEPEUSDT has no spot pair"
    # The first scan requests each book and each of two intervals, and once more when its stream has begun.
    assert 4 <= seen(out, "/fapi/v1/depth") <= 12
    assert seen(out, "/futures/data/openInterestHist") <= 8


def test_the_batch_scanner() -> None:
    out = output("migration/on_simulator.py", "batch_scanner", "--scans", "2", "--pause", "1")
    assert re.findall(r"^scan (\d): (\d) symbols", out, re.MULTILINE) == [("1", "4"), ("2", "4")]
    assert seen(out, "/fapi/v1/premiumIndex") <= 4


def test_the_auto_trader() -> None:
    out = output("migration/on_simulator.py", "auto_trader", "--candles", "1")
    assert re.search(r"^[\d.]+: (no breakout|would buy, stop at [\d.]+)$", out, re.MULTILINE)


def test_the_backtest() -> None:
    out = output("migration/on_simulator.py", "backtest", "--days", "90")
    assert f"{90 * 24} candles" in out
    assert seen(out, "/fapi/v1/klines") == 2, "two pages"


def test_an_unknown_program_is_wrong_usage() -> None:
    code, out, err = run(str(GUIDE / "on_simulator.py"), "nonsense")
    assert (code, out) == (2, "")
    assert "auto_trader,backtest,batch_scanner,scanner" in err


def test_the_guide_names_only_what_exists() -> None:
    text = (GUIDE / "README.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:before|after)/\w+\.py|on_simulator\.py)`", text):
        assert (GUIDE / path).is_file(), path
    for name in PROGRAMS:
        assert Path(name).stem in text
