"""A user's typed program against the types that the library ships: ``mypy --strict`` as the user would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

ROOT = Path(__file__).parents[1]
PROGRAM = """
import numpy as np
from ats_sync import AggTrade, Config, DataManager, KlineRow, OrderBook, Quality, RateLimited, RestDepth, StaleDataError
from compat.binance import get_klines, get_orderbook_snapshot
from compat.unified_data_manager import UnifiedDataManager

def spread(book: OrderBook) -> float:
    return book["asks"][0][0] - book["bids"][0][0]

def bought(trades: list[AggTrade]) -> float:
    return sum(trade["qty"] for trade in trades if not trade["isBuyerMaker"])

def scan(dm: DataManager) -> dict[str, float]:
    rows: list[KlineRow] = dm.get_klines("BTCUSDT", "1h", limit=300)
    later: KlineRow | None = dm.wait_closed("BTCUSDT", "1h", after=rows[-2][0], timeout=5.0)
    quality: Quality = dm.quality("BTCUSDT")
    interest = [row["sumOpenInterest"] for row in dm.get_oi_history("BTCUSDT")]
    closes: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = dm.get_klines_array("BTCUSDT", "1h")["close"]
    next_funding: int | None = dm.get_funding_rate("BTCUSDT")["nextTime"]
    forced = sum(order["qty"] for order in dm.get_liquidations())
    reads: int = dm.get_stats()["rest_calls_by_cause"]["read"]
    return {
        "spread": spread(dm.get_orderbook("BTCUSDT", limit=20, max_age=1.0)),
        "bought": bought(dm.get_agg_trades("BTCUSDT")),
        "score": quality.score,
        "interest": interest[-1],
        "close": float(closes[-1]),
        "mark": dm.get_mark_price("BTCUSDT"),
        "rest": later[4] if later is not None and next_funding and forced and reads else 0.0,
    }

async def shim(unified: UnifiedDataManager) -> float:
    book: RestDepth = get_orderbook_snapshot("BTCUSDT", limit=20)
    rate = (await unified.get_funding_rate("BTCUSDT"))["rate"]
    return rate + float(book["bids"][0][0]) + float(get_klines("BTCUSDT", "1h")[-1][4])

with DataManager(["BTCUSDT"], ["1h"], config=Config(max_klines=300)) as manager:
    try:
        print(scan(manager), manager.status().state.value)
    except StaleDataError as error:
        print(error.age, error.bound, error.retryable)
    except RateLimited as error:
        print(error.retry_at)
"""
MISTAKES = {
    'manager.get_orderbook("BTCUSDT")["ask"]': "typeddict-item",
    'manager.get_funding_rate("BTCUSDT")["rate"].upper()': "attr-defined",
    'manager.get_agg_trades("BTCUSDT")[0]["quantity"]': "typeddict-item",
    'manager.get_klines("BTCUSDT", "1h", limit="300")': "arg-type",
    'get_orderbook_snapshot("BTCUSDT")["bids"][0][0] + 1.0': "operator",
}


def test_a_typed_program_passes_and_its_mistakes_do_not(tmp_path: Path) -> None:
    """One run of the type checker for both, since a run takes seconds."""
    (tmp_path / "program.py").write_text(PROGRAM, "utf-8")
    lines = list(MISTAKES)
    imports = "from ats_sync import DataManager\nfrom compat.binance import get_orderbook_snapshot\n"
    head = f"{imports}manager = DataManager()\n"
    (tmp_path / "mistakes.py").write_text(head + "\n".join(lines) + "\n", "utf-8")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary"),
            *("--hide-error-context", "--no-color-output", "--cache-dir", str(tmp_path / "cache")),
            *("program.py", "mistakes.py"),
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    errors = [line for line in run.stdout.splitlines() if ": error: " in line]
    assert [line for line in errors if line.startswith("program.py")] == [], run.stdout + run.stderr
    codes = {int(line.split(":")[1]): line.rpartition("[")[2].rstrip("]") for line in errors}
    first = head.count("\n") + 1
    assert codes == {first + at: MISTAKES[line] for at, line in enumerate(lines)}, run.stdout + run.stderr


@pytest.mark.parametrize("package", ["ats_sync", "compat"])
def test_the_packages_say_that_they_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()
