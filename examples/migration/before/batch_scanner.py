"""Scan many symbols from coroutines, 20 calls at a time on threads.

python batch_scanner.py BTCUSDT ETHUSDT --scans 3 --pause 5
"""

from __future__ import annotations

import argparse
import asyncio
import time

from ats_core.sources.binance import get_klines, get_mark_price, get_orderbook_snapshot
from ats_core.sources.binance_safe import batch_get_open_interest_hist

BATCH = 20


def momentum(symbol: str) -> float:
    """Return the last day's return, up to the mark price."""
    rows = get_klines(symbol, "1h", 25)
    return get_mark_price(symbol) / float(rows[0][4]) - 1


def spread(symbol: str) -> float:
    """Return the distance between the best bid and the best ask, relative to the bid."""
    book = get_orderbook_snapshot(symbol, limit=20)
    bid, ask = float(book["bids"][0][0]), float(book["asks"][0][0])
    return (ask - bid) / bid


async def scan(symbols: list[str]) -> list[tuple[str, float, float, float]]:
    """Return symbol, momentum, spread and change of the open interest of each symbol."""
    loop = asyncio.get_running_loop()
    interest = await batch_get_open_interest_hist(symbols, "1h", 25)
    found = []
    for first in range(0, len(symbols), BATCH):
        batch = symbols[first : first + BATCH]
        moves = await asyncio.gather(*(loop.run_in_executor(None, momentum, symbol) for symbol in batch))
        spreads = await asyncio.gather(*(loop.run_in_executor(None, spread, symbol) for symbol in batch))
        for symbol, move, width in zip(batch, moves, spreads, strict=True):
            rows = interest[symbol]
            change = float(rows[-1]["sumOpenInterest"]) / float(rows[0]["sumOpenInterest"]) - 1 if rows else 0.0
            found.append((symbol, move, width, change))
    return found


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("symbols", nargs="*", default=["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"])
    parser.add_argument("--scans", type=int, default=3)
    parser.add_argument("--pause", type=float, default=5.0)
    options = parser.parse_args()
    for number in range(options.scans):
        began = time.perf_counter()
        found = await scan(options.symbols)
        print(f"scan {number + 1}: {len(found)} symbols in {time.perf_counter() - began:.2f} s")
        for symbol, move, width, change in sorted(found, key=lambda each: abs(each[1]), reverse=True)[:5]:
            print(f"  {symbol:<14} momentum {move:+.4f}  spread {width:.6f}  OI {change:+.4f}")
        if number + 1 < options.scans:
            await asyncio.sleep(options.pause)


if __name__ == "__main__":
    asyncio.run(main())
