"""First steps: follow two symbols, read the usual kinds of data, and see that the reads cause no requests.

python examples/quick_start.py                       # the real exchange, or the one that BINANCE_… variables name
python examples/quick_start.py --simulate            # the simulated exchange
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from ats_sync import Config, DataManager, NoSpotPair
from ats_sync.simulator import SimulatedExchange


def main() -> None:
    parser = argparse.ArgumentParser(description="Follow some symbols and read them.")
    parser.add_argument("symbols", nargs="*", default=["BTCUSDT", "ETHUSDT"])
    parser.add_argument("--simulate", action="store_true", help="run on the simulated exchange")
    options = parser.parse_args()

    with ExitStack() as stack:
        config = Config.from_env()
        if options.simulate:
            config = stack.enter_context(SimulatedExchange(symbols=12)).config()
        dm = stack.enter_context(DataManager(options.symbols, ["1h", "15m"], config=config))

        for symbol in options.symbols:
            candles = dm.get_klines(symbol, "1h", limit=300)
            book = dm.get_orderbook(symbol, limit=5)
            funding = dm.get_funding_rate(symbol)
            interest = dm.get_oi_history(symbol, "1h", limit=24)
            print(f"{symbol}: {len(candles)} candles, the open one is at {candles[-1][4]:g}")
            print(f"  best bid {book['bids'][0][0]:g}, best ask {book['asks'][0][0]:g}")
            try:
                spot = f"{dm.get_spot_price(symbol):g}"
            except NoSpotPair:
                spot = "none"
            print(f"  mark price {dm.get_mark_price(symbol):g}, spot price {spot}")
            print(f"  funding rate {funding['rate']:.4%}, open interest {interest[-1]['sumOpenInterest']:g}")

        print(f"\nrequests that these reads caused: {dm.get_stats()['rest_calls_by_cause']['read']}")
        print(dm.status())


if __name__ == "__main__":
    main()
