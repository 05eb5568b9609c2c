"""Scan many symbols repeatedly from a pool of 20 threads, from memory.

python examples/batch_scan.py BTCUSDT ETHUSDT SOLUSDT
python examples/batch_scan.py --simulate --scans 3
"""

from __future__ import annotations

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from ats_sync import Config, DataError, DataManager
from ats_sync.simulator import SimulatedExchange

PAUSE = 2.0
"""Seconds between two scans."""


def look_at(dm: DataManager, symbol: str) -> tuple[str, float, float]:
    """Return the symbol, its momentum over a day of hourly candles, and which way its book leans (-1 to 1)."""
    candles = dm.get_klines(symbol, "1h", limit=25)
    book = dm.get_orderbook(symbol, limit=20)
    bids, asks = (sum(price * quantity for price, quantity in book[side]) for side in ("bids", "asks"))
    return symbol, candles[-1][4] / candles[0][4] - 1, (bids - asks) / (bids + asks)


def main() -> None:
    parser = argparse.ArgumentParser(description="Scan symbols with a pool of threads.")
    parser.add_argument("symbols", nargs="*", default=["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"])
    parser.add_argument("--scans", type=int, default=5)
    parser.add_argument("--simulate", action="store_true", help="run on the simulated exchange, all its 30 symbols")
    options = parser.parse_args()

    with ExitStack() as stack:
        config, symbols = Config.from_env(), options.symbols
        if options.simulate:
            exchange = stack.enter_context(SimulatedExchange(symbols=30))
            config, symbols = exchange.config(), exchange.symbols
        dm = stack.enter_context(DataManager(symbols, ["1h"], config=config))
        pool = stack.enter_context(ThreadPoolExecutor(20))

        for number in range(options.scans):
            before = dm.get_stats()["rest_calls_by_cause"]["read"]
            began = time.perf_counter()
            results = []
            for future in [pool.submit(look_at, dm, symbol) for symbol in symbols]:
                try:
                    results.append(future.result())
                except DataError as error:  # not fresh, and REST failed as well: never a stale value
                    print(f"  left out: {error}")
            took = time.perf_counter() - began
            caused = dm.get_stats()["rest_calls_by_cause"]["read"] - before
            print(f"scan {number + 1}: {len(results)} symbols in {1000 * took:.0f} ms, requests caused: {caused}")
            for symbol, momentum, lean in sorted(results, key=lambda each: abs(each[1]), reverse=True)[:5]:
                print(f"  {symbol:<14} {momentum:+7.2%}  book {lean:+.2f}")
            if number + 1 < options.scans:
                threading.Event().wait(PAUSE)


if __name__ == "__main__":
    main()
