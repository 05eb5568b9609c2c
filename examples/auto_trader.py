"""React to closed candles: a crossover of two averages, paper trading only. It places no orders.

python examples/auto_trader.py BTCUSDT --interval 5m
python examples/auto_trader.py --simulate --candles 2
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from datetime import datetime, timezone
from statistics import fmean

from ats_sync import Config, DataError, DataManager
from ats_sync.simulator import SimulatedExchange, before_turn

FAST, SLOW = 10, 30


class PaperTrader:
    """Is long while the fast average of the closes is above the slow one, otherwise flat."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.entry: float | None = None
        self.profit = 0.0

    def on_closed(self, closes: list[float], price: float) -> str:
        """Decide from the closes of final candles; ``price`` is what an order would get now."""
        long = fmean(closes[-FAST:]) > fmean(closes[-SLOW:])
        if long and self.entry is None:
            self.entry = price
            return f"would buy at {price:g}"
        if not long and self.entry is not None:
            self.profit += price / self.entry - 1
            self.entry = None
            return f"would sell at {price:g}; so far {self.profit:+.3%}"
        return "long, stays long" if long else "flat, stays flat"


def main() -> None:
    parser = argparse.ArgumentParser(description="Trade on closed candles, on paper.")
    parser.add_argument("symbol", nargs="?", default="BTCUSDT")
    parser.add_argument("--interval", default="1m")
    parser.add_argument("--candles", type=int, default=0, help="stop after this many (0: run until Ctrl-C)")
    parser.add_argument(
        "--simulate", action="store_true", help="run on the simulated exchange, just before a candle closes"
    )
    options = parser.parse_args()

    with ExitStack() as stack:
        config = Config.from_env()
        if options.simulate:
            start = before_turn(options.interval, seconds=4)
            config = stack.enter_context(SimulatedExchange(symbols=12, start=start)).config()
        dm = DataManager([options.symbol], [options.interval], config=config)
        stack.callback(dm.close)
        dm.start()

        trader = PaperTrader(options.symbol)
        print(f"waiting for {options.symbol}'s {options.interval} candles to close")
        # The candle of a quiet symbol is final up to 7 s after its close.
        for seen, turn in enumerate(dm.turns(options.interval, grace=10.0), start=1):
            closed = datetime.fromtimestamp(turn.close_time / 1000, timezone.utc)
            try:
                row = turn.closed[dm.symbols[0]]
                closes = [each[4] for each in dm.get_klines(options.symbol, options.interval, limit=SLOW + 1)]
                price = dm.get_orderbook(options.symbol, limit=5)["asks"][0][0]
            except KeyError:
                print(f"{closed:%H:%M:%S}  no decision: the candle is late")
            except DataError as error:
                # No decision is better than one based on old data.
                print(f"{closed:%H:%M:%S}  no decision: {error}")
            else:
                print(f"{closed:%H:%M:%S}  closed at {row[4]:g}: {trader.on_closed(closes[:-1], price)}")
            if seen == options.candles:
                break


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("ended")
