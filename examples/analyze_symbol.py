"""Analyse one symbol with the old functions: code written for ``sources.binance``, with only its import changed.

    python examples/analyze_symbol.py ETHUSDT
    python examples/analyze_symbol.py --simulate

The two lines of ``main()`` that start the shared manager turn ten requests per symbol into none.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from statistics import fmean
from typing import Any

from ats_sync import get_data_manager, reset_data_manager
from ats_sync.simulator import SimulatedExchange


def analyze_symbol(symbol: str) -> dict[str, Any]:
    """Return what the first version of the scanner computed, computed the same way."""
    # Imported here only because of --simulate: the shim reads the environment when it is imported.
    from compat.binance import (
        get_agg_trades,
        get_funding_rate,
        get_klines,
        get_mark_price,
        get_open_interest_hist,
        get_orderbook_snapshot,
        get_spot_price,
    )

    k1h = get_klines(symbol, "1h", 300)
    k4h = get_klines(symbol, "4h", 200)
    k15m = get_klines(symbol, "15m", 200)
    btc = get_klines("BTCUSDT", "1h", 48)
    oi = get_open_interest_hist(symbol, "1h", 300)
    book = get_orderbook_snapshot(symbol, limit=20)
    trades = get_agg_trades(symbol, limit=500)
    mark, funding = get_mark_price(symbol), get_funding_rate(symbol)
    try:
        spot = get_spot_price(symbol)
    except Exception:  # noqa: BLE001 -- the old habit: a symbol without a spot pair goes on without
        spot = 0.0

    def trend(rows: list[list[Any]]) -> float:
        closes = [float(row[4]) for row in rows[-20:]]
        return closes[-1] / fmean(closes) - 1

    bids, asks = (sum(float(price) * float(qty) for price, qty in book[side]) for side in ("bids", "asks"))
    bought = sum(float(each["q"]) for each in trades if not each["m"])
    return {
        "close": float(k1h[-1][4]),
        "trend 1h": trend(k1h),
        "trend 4h": trend(k4h),
        "trend 15m": trend(k15m),
        "against BTC": trend(k1h) - trend(btc),
        "OI, 24 h": float(oi[-1]["sumOpenInterest"]) / float(oi[-24]["sumOpenInterest"]) - 1,
        "book": (bids - asks) / (bids + asks),
        "bought": bought / sum(float(each["q"]) for each in trades),
        "basis": mark / spot - 1 if spot else None,
        "funding": funding,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Analyse one symbol with the old functions.")
    parser.add_argument("symbol", nargs="?", default="ETHUSDT")
    parser.add_argument("--simulate", action="store_true", help="run on the simulated exchange")
    options = parser.parse_args()

    with ExitStack() as stack:
        if options.simulate:
            # The old module, and therefore the shim, finds its exchange in the environment.
            os.environ.update(stack.enter_context(SimulatedExchange(symbols=12)).environment())
        stack.callback(reset_data_manager)
        manager = get_data_manager()
        manager.initialize([options.symbol, "BTCUSDT"], ["1h", "4h", "15m"])

        for name, value in analyze_symbol(options.symbol).items():
            print(f"{name:>12}  {'-' if value is None else format(value, '+.5g')}")
        causes = manager.get_stats()["rest_calls_by_cause"]
        print(f"\nrequests that the analysis caused: {causes['read']} (trades that are not warm yet are requested)")


if __name__ == "__main__":
    main()
