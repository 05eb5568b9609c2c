"""The truth of a small exchange about one kline series: what its stream and its REST would have said at any time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ats_sync.store.kline_sequencer import FINAL_IN_REST_AFTER
from ats_sync.store.klines import KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.series import Origin
from ats_sync.venue.intervals import next_open

from ..venue import samples
from ..venue.samples import DAY, MIDNIGHT

Row = list[Any]
PRICES = ("7.6110", "7.6120", "7.5990", "7.6000", "0.10", "100")


class Truth:
    """Candles from ``start`` on; ``trades[i]`` is how many trades candle ``i`` has in the end (0: a quiet one).

    The trades are numbered from ``first_trade`` on; where that is None, no candle's first trade follows another's last.
    """

    def __init__(self, interval: str, start: int, trades: Sequence[int], *, first_trade: int | None = None) -> None:
        self.interval = interval
        self.trades = list(trades)
        self.first_trade = first_trade
        self.opens = [start]
        for _ in trades:
            self.opens.append(next_open(interval, self.opens[-1]))
        self.end = self.opens.pop()
        self._rows: dict[tuple[int, int], Row] = {}

    def __len__(self) -> int:
        return len(self.trades)

    def close_time(self, i: int) -> int:
        return (self.opens[i + 1] if i + 1 < len(self) else self.end) - 1

    def row(self, i: int, trades: int | None = None) -> Row:
        """Return candle ``i`` after this many trades (None: at its end)."""
        n = self.trades[i] if trades is None else trades
        row = self._rows.get((i, n))
        if row is None:
            length = self.close_time(i) + 1 - self.opens[i]
            price = PRICES[(i + n) % len(PRICES)] if n else self._last_price(i - 1)
            row = self._rows[i, n] = samples.row(self.opens[i], length=length, trades=n, price=price, volume=f"{n}.5")
        return row[:]

    def _last_price(self, i: int) -> str:
        while i >= 0 and not self.trades[i]:
            i -= 1
        return str(self.row(i)[4]) if i >= 0 else "7.6110"

    def told_at(self, i: int, trades: int) -> int:
        """Return when the event of the ``trades``-th trade is sent; these times are spread evenly over the candle."""
        length = self.close_time(i) + 1 - self.opens[i]
        return self.opens[i] + length * trades // (self.trades[i] + 1)

    def frame(self, i: int, trades: int | None = None, *, final: bool = False, symbol: str = "BTCUSDT") -> bytes:
        """Return the stream's event about candle ``i`` after this many trades."""
        n = self.trades[i] if trades is None else trades
        event = self.close_time(i) + 204 if final else self.told_at(i, n)
        data = samples.kline_data(self.row(i, n), symbol=symbol, interval=self.interval, event=event, final=final)
        first = 1_000 * (i + 1) if self.first_trade is None else self.first_trade + sum(self.trades[:i])
        data["k"] |= {"f": first, "L": first + n - 1}
        return samples.frame(f"{symbol.lower()}@kline_{self.interval}", data)

    def rest(self, now: int, limit: int = 1500) -> list[Row]:
        """Return what REST answers at ``now``."""
        rows = []
        for i, opened in enumerate(self.opens):
            if opened > now:
                break
            n = self.trades[i]
            while n and self.told_at(i, n) > now:
                n -= 1
            rows.append(self.row(i, n))
        return rows[-limit:]

    def texts(self, now: int, limit: int = 1500) -> list[bytes]:
        return [samples.row_text(row) for row in self.rest(now, limit)]

    def finals(self, start: int = 0, end: int | None = None) -> list[Row]:
        return [self.row(i) for i in range(start, len(self) if end is None else end)]


LINK = Link(1, "market", 0.0)
STARTS = {
    "1m": MIDNIGHT,
    "1h": MIDNIGHT,
    "3d": MIDNIGHT + DAY,  # not where the epoch's own count of three days would begin one
    "1w": MIDNIGHT - 5 * DAY,  # Monday 2026-11-16
    "1M": 1_790_812_800_000,  # 2026-10-01
}


def series_of(truth: Truth, depth: int = 500) -> KlineSeries:
    return KlineSeries("BTCUSDT", truth.interval, depth)


def warmed(truth: Truth, upto: int, *, depth: int = 500, limit: int = 499) -> KlineSeries:
    """Return a series with the answer that was requested once candle ``upto`` was open and all before it were final in
    REST."""
    series = series_of(truth, depth)
    series.replace(truth.texts(asked(truth, upto), limit), Origin(asked(truth, upto), limit))
    return series


def asked(truth: Truth, upto: int) -> int:
    return truth.opens[upto] + FINAL_IN_REST_AFTER + 1_000


def state(series: KlineSeries, now: int) -> Any:
    """Return everything that a reader can see of a series."""
    standing = series.state(now)
    return (
        standing._replace(link=None),
        series.following(),
        series.rows(10_000, now, exact=True),
        series.rows(10_000, now, exact=False),
        series.rows(10_000, None, exact=True),
        series.closed_rows()[-1:],
        series.closed_rows(),
    )
