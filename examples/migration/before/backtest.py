"""Fetch months of hourly candles page by page, and try a crossover of two averages on them.

python backtest.py BTCUSDT --days 90
"""

from __future__ import annotations

import argparse
import time
from statistics import fmean

from ats_core.sources.binance import get_klines

HOUR = 3_600_000
FAST, SLOW = 12, 48


def history(symbol: str, start: int, end: int) -> list[list[object]]:
    """Return every candle that opened from ``start`` to before ``end`` (ms)."""
    rows: list[list[object]] = []
    while start < end:
        page = get_klines(symbol, "1h", limit=1500, start_time=start, end_time=end - 1)
        if not page:
            break
        rows += page
        start = page[-1][0] + HOUR
    return rows


def profit(closes: list[float]) -> float:
    """Return the profit of being long while the fast average is above the slow one."""
    gained = 1.0
    for at in range(SLOW, len(closes) - 1):
        if fmean(closes[at - FAST : at]) > fmean(closes[at - SLOW : at]):
            gained *= closes[at + 1] / closes[at]
    return gained - 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("symbol", nargs="?", default="BTCUSDT")
    parser.add_argument("--days", type=int, default=90)
    options = parser.parse_args()
    end = int(time.time() * 1000) // HOUR * HOUR
    rows = history(options.symbol, end - options.days * 24 * HOUR, end)
    closes = [float(str(row[4])) for row in rows]
    print(f"{options.symbol}: {len(rows)} candles, {profit(closes):+.2%} against {closes[-1] / closes[0] - 1:+.2%}")


if __name__ == "__main__":
    main()
