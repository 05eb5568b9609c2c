"""Analyse symbols one after the other, repeatedly.

python scanner.py BTCUSDT ETHUSDT --scans 3 --pause 5
"""

from __future__ import annotations

import argparse
import math
import time

from compat.binance import (
    get_funding_rate,
    get_klines,
    get_mark_price,
    get_open_interest_hist,
    get_orderbook_snapshot,
    get_spot_price,
)


def analyze_symbol(symbol: str) -> dict[str, float]:
    """Return momentum, open interest, book, basis and funding; nan for data that is not available."""
    closes = [float(row[4]) for row in get_klines(symbol, "1h", 300)]
    slow = [float(row[4]) for row in get_klines(symbol, "4h", 200)]
    interest = [float(row["sumOpenInterest"]) for row in get_open_interest_hist(symbol, "1h", 300)]
    book = get_orderbook_snapshot(symbol, limit=100)
    bids, asks = (sum(float(price) * float(qty) for price, qty in book[side]) for side in ("bids", "asks"))
    found = {
        "1h": closes[-1] / closes[-25] - 1,
        "4h": slow[-1] / slow[-25] - 1,
        "OI": interest[-1] / interest[-25] - 1,
        "book": (bids - asks) / (bids + asks),
        "funding": get_funding_rate(symbol),
    }
    try:
        found["basis"] = get_mark_price(symbol) / get_spot_price(symbol) - 1
    except Exception:  # noqa: BLE001 -- no spot pair of this name
        found["basis"] = math.nan
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("symbols", nargs="*", default=["BTCUSDT", "ETHUSDT", "SOLUSDT", "1000PEPEUSDT"])
    parser.add_argument("--scans", type=int, default=3)
    parser.add_argument("--pause", type=float, default=5.0)
    options = parser.parse_args()
    for number in range(options.scans):
        began = time.perf_counter()
        found = {symbol: analyze_symbol(symbol) for symbol in options.symbols}
        print(f"scan {number + 1}: {len(found)} symbols in {time.perf_counter() - began:.2f} s")
        for symbol, figures in found.items():
            print(f"  {symbol:<14}", "  ".join(f"{name} {value:+.4f}" for name, value in figures.items()))
        if number + 1 < options.scans:
            time.sleep(options.pause)


if __name__ == "__main__":
    main()
