"""All that a cron job needs: three lines, no thread, no stream, and no request while a collector runs.

    ATS_SYNC_SHARED=unix:///run/ats/shared.sock python examples/shared/scan.py BTCUSDT ETHUSDT

Without arguments it scans the 200 most traded symbols of the exchange.
"""

from __future__ import annotations

import sys

from ats_sync import get_data_manager

dm = get_data_manager().autostart()
symbols = sys.argv[1:] or [row["symbol"] for row in dm.top(200)]
dm.prefetch(symbols, ["1h"])

for symbol in symbols:
    rows = dm.get_klines(symbol, "1h", 100)
    change = 100.0 * (rows[-1][4] / rows[0][1] - 1.0)
    print(f"{symbol:<14} {rows[-1][4]:>14}  {change:+6.2f} % in {len(rows)} hours")
print(f"requests: {dm.get_stats()['rest_calls']}")
