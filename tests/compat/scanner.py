"""The old scanner's calls, and a process that makes them.

    python -m tests.compat.scanner SYMBOLS THREADS

A line on stdin is a command, a line of JSON on stdout its answer: ``scan``, ``new`` (the calls for a symbol
listed recently), ``warm``, ``end``.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ats_sync import get_data_manager, reset_data_manager
from compat import binance, klines

Call = tuple[str, Callable[[str], Any]]

_EVERY_VERSION: tuple[Call, ...] = (
    ("klines 1h", lambda s: binance.get_klines(s, "1h", 300)),
    ("klines 4h", lambda s: binance.get_klines(s, "4h", 200)),
    ("klines 15m", lambda s: klines.klines_15m(s, 200)),
    ("open interest", lambda s: binance.get_open_interest_hist(s, "1h", 300)),
    ("spot klines", lambda s: binance.get_spot_klines(s, "1h", 300)),
    ("mark price", binance.get_mark_price),
    ("funding rate", binance.get_funding_rate),
    ("spot price", binance.get_spot_price),
    ("BTC", lambda _: binance.get_klines("BTCUSDT", "1h", 48)),
    ("ETH", lambda _: binance.get_klines("ETHUSDT", "1h", 48)),
)
_DEEP_BOOK: Call = ("book of 100", lambda s: binance.get_orderbook_snapshot(s, limit=100))
VERSIONS: tuple[tuple[Call, ...], ...] = (
    (
        *_EVERY_VERSION,
        ("open interest, shorter", lambda s: binance.get_open_interest_hist(s, "1h", 200)),
        ("book of 20", lambda s: binance.get_orderbook_snapshot(s, limit=20)),
        ("trades", lambda s: binance.get_agg_trades(s, limit=500)),
    ),
    (
        *_EVERY_VERSION,
        _DEEP_BOOK,
        ("listings", lambda _: binance._get("/fapi/v1/exchangeInfo", timeout=5.0, retries=1)),
    ),
    (*_EVERY_VERSION, _DEEP_BOOK),
)
"""The calls of the three versions of ``analyze_symbol``."""
ONCE_A_SCAN: tuple[Call, ...] = (
    ("BTC, longer", lambda _: binance.get_klines("BTCUSDT", "1h", 100)),
    ("ETH, longer", lambda _: binance.get_klines("ETHUSDT", "1h", 100)),
)
OF_A_NEW_SYMBOL: tuple[Call, ...] = (
    ("new: klines 1h", lambda s: binance.get_klines(s, "1h", 400)),
    ("new: klines 1m", lambda s: binance.get_klines(s, "1m", 1500)),
    ("new: klines 5m", lambda s: binance.get_klines(s, "5m", 1500)),
    ("new: klines 15m", lambda s: binance.get_klines(s, "15m", 1500)),
)


def analyze(symbol: str, calls: Iterable[Call]) -> dict[str, str]:
    """Make all calls for one symbol, as the old code did: each one follows even if the one before it failed.

    Return the errors, by call."""
    errors: dict[str, str] = {}
    for name, call in calls:
        try:
            if not call(symbol):
                errors[name] = f"{symbol}: empty"
        except Exception as error:  # noqa: BLE001 -- as the old code did
            errors[name] = f"{symbol}: {type(error).__name__}: {error}"
    return errors


def scan(symbols: Iterable[str], threads: int, versions: Sequence[tuple[Call, ...]] = VERSIONS) -> dict[str, Any]:
    """Scan once with a pool of threads, the versions alternating.

    Return the errors, and the requests by cause that the scan and the manager sent in the meantime."""
    manager = get_data_manager()
    before = Counter(manager.get_stats()["rest_calls_by_cause"])
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(analyze, symbols, itertools.cycle(versions)))
    errors = [f"{name}: {error}" for each in [*found, analyze("", ONCE_A_SCAN)] for name, error in each.items()]
    after = Counter(manager.get_stats()["rest_calls_by_cause"])
    return {"errors": errors, "requests": {cause: after[cause] - before[cause] for cause in after}}


def warm() -> dict[str, Any]:
    """Return whether everything that was read is now in memory and no request is waiting."""
    status = get_data_manager().status()
    lacking = [f"{feed.symbol} {feed.kind}" for feed in status.feeds if feed.state.value in ("warming up", "degraded")]
    return {"warm": not lacking and not status.waiting_requests, "lacking": lacking[:5]}


def serve(symbols: list[str], threads: int) -> None:
    answers: dict[str, Callable[[], Any]] = {
        "scan": lambda: scan(symbols, threads),
        "new": lambda: scan(["MONUSDT", "BTCUSDT"], threads, [OF_A_NEW_SYMBOL]),
        "warm": warm,
    }
    for line in sys.stdin:
        if line.strip() == "end":
            break
        sys.stdout.write(json.dumps(answers[line.strip()]()) + "\n")
        sys.stdout.flush()
    reset_data_manager()


if __name__ == "__main__":
    serve(sys.argv[1].split(","), int(sys.argv[2]))
