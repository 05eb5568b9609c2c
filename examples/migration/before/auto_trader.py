"""Decide on every closed candle: a breakout, with a stop below the largest bid. Paper trading, it places no orders.

python auto_trader.py BTCUSDT --interval 1m --candles 3
"""

from __future__ import annotations

import argparse
import time

from ats_core.sources.binance import get_klines, get_orderbook_snapshot

LOOK_BACK = 20


def decide(symbol: str, rows: list[list[object]]) -> str:
    """Return the decision from closed candles, the newest last."""
    highs = [float(str(row[2])) for row in rows[-LOOK_BACK - 1 : -1]]
    close = float(str(rows[-1][4]))
    if close <= max(highs):
        return f"{close:g}: no breakout"
    bids = [(float(price), float(qty)) for price, qty in get_orderbook_snapshot(symbol, limit=100)["bids"]]
    below = [level for level in bids if level[0] < 0.998 * close] or bids
    stop = max(below, key=lambda level: level[0] * level[1])[0]
    return f"{close:g}: would buy, stop at {stop:g}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("symbol", nargs="?", default="BTCUSDT")
    parser.add_argument("--interval", default="1m")
    parser.add_argument("--candles", type=int, default=3, help="stop after this many")
    options = parser.parse_args()
    last, decided = 0, 0
    while decided < options.candles:
        rows = get_klines(options.symbol, options.interval, LOOK_BACK + 2)
        closed = rows[:-1]  # the last row is the open candle
        if last and closed[-1][0] > last:
            print(decide(options.symbol, closed), flush=True)
            decided += 1
        last = closed[-1][0]
        time.sleep(0.5)


if __name__ == "__main__":
    main()
