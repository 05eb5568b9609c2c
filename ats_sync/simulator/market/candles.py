"""All candles of one symbol, before and after the market's beginning, at every interval."""

from __future__ import annotations

from bisect import bisect_left
from functools import reduce

from .history import Candle, History, flat, merged
from .intervals import DAY, HOUR, MINUTE, QUARTER, floor_open, next_open, opens_back, source_length

ENDLESS = 1 << 62


class Candles:
    """One-minute candles of what trades, and every interval summed from them and from the history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.current = flat(history.end, history.close)  # the minute of the last trade
        self._minutes: list[Candle] = []  # earlier minutes that traded
        self._hours: list[Candle] = []  # summed from them, for the coarser intervals
        self._halts: list[tuple[int, int]] = []  # spans for which the exchange has no candles
        self._summed = 0  # how many minutes are included in self._hours
        self._earlier: tuple[int, int, Candle | None] = (0, 0, None)  # the last day before the newest minute: from, to

    def add(self, at: int, price: int, qty: int, trades: int, taker_buys: bool) -> None:
        """Add one aggregated trade; ``at`` never goes back."""
        (opened, open_, high, low, _, volume, count, quote, bought, buy_quote, previous) = self.current
        if at >= opened + MINUTE:
            if count:
                self._minutes.append(self.current)
                previous = self.current[4]
            opened = at - at % MINUTE
            volume = count = quote = bought = buy_quote = 0
        if not count:
            open_ = high = low = price
        value = price * qty
        if taker_buys:
            bought += qty
            buy_quote += value
        self.current = (
            opened,
            open_,
            high if high > price else price,
            low if low < price else price,
            price,
            volume + qty,
            count + trades,
            quote + value,
            bought,
            buy_quote,
            previous,
        )

    def recompute(self) -> bool:
        """Take back nine tenths of the newest minute's trades; return False if it has too few."""
        opened, open_, high, low, close, volume, count, quote, bought, buy_quote, previous = self.current
        kept = count // 10
        if not kept:
            return False
        parts = (volume // 10, kept, quote // 10, bought // 10, buy_quote // 10)
        self.current = (opened, open_, high, low, close, *parts, previous)
        return True

    def rows(self, start: int, stop: int, length: int) -> list[Candle]:
        """Return the stored candles of ``[start, stop)``, each at most ``length`` ms long, oldest first.

        Before the market's beginning quiet spans are included as flat candles, after it they are left out.
        """
        found = self.history.rows(start, stop, length)
        if stop > self.history.end:
            stored = self._minutes
            if length >= HOUR:
                self._sum_hours()
                stored = self._hours
                first = bisect_left(stored, (start,))
                found += [hour for hour in stored[first:] if hour[0] < stop]
                stored = self._minutes[self._summed :]
            first = bisect_left(stored, (start,))
            last = bisect_left(stored, (stop,))
            found += stored[first:last]
            if self.current[6] and start <= self.current[0] < stop:
                found.append(self.current)
        return found

    def last_day(self, now: int) -> Candle:
        """Return one candle for the last 24 hours, to the minute."""
        minute = now - now % MINUTE
        start = minute - DAY
        stop = self.current[0] if self.current[6] else minute + MINUTE
        if self._earlier[:2] != (start, stop):
            quarter = min(-(-start // QUARTER) * QUARTER, stop)
            rows = self.rows(start, quarter, MINUTE) + self.rows(quarter, stop, QUARTER)
            self._earlier = (start, stop, reduce(merged, rows) if rows else None)
        earlier = self._earlier[2]
        if not self.current[6] or stop < start:
            return flat(start, self.close_before(start)) if earlier is None else earlier
        return self.current if earlier is None else merged(earlier, self.current)

    def close_before(self, at: int) -> int:
        """Return the last price traded before ``at``."""
        if at <= self.history.end:
            rows = self.history.rows(at - MINUTE, at, MINUTE)
            return rows[-1][4] if rows else self.history.close
        if self.current[6] and self.current[0] < at:
            return self.current[4]
        index = bisect_left(self._minutes, (at,))
        return self._minutes[index - 1][4] if index else self.history.close

    def series(self, interval: str, first: int, last: int, *, before: int | None = None) -> list[Candle]:
        """Return the candles that open at ``first`` … ``last`` (open times of ``interval``), flat where nothing traded.

        ``before``: include only what traded before that time, a whole minute.
        """
        found: list[Candle] = []
        opened = first
        ends = next_open(interval, opened)
        candle: Candle | None = None
        price: int | None = None
        for row in self._tiles(interval, first, next_open(interval, last), before):
            while row[0] >= ends:
                if candle is None:
                    price = self.close_before(opened) if price is None else price
                    candle = flat(opened, price)
                found.append(candle)
                price = candle[4]
                candle = None
                opened = ends
                ends = next_open(interval, opened)
            if candle is None:
                # A listing in mid-candle, or a quiet beginning: the candle is older than its first trade.
                candle = row if row[0] == opened else (opened, *row[1:])
            else:
                candle = merged(candle, row)
        while opened <= last:
            if candle is None:
                price = self.close_before(opened) if price is None else price
                candle = flat(opened, price)
            found.append(candle)
            price = candle[4]
            candle = None
            opened = next_open(interval, opened)
        return found

    def _tiles(self, interval: str, start: int, stop: int, before: int | None) -> list[Candle]:
        if before is None or before >= stop:
            return self.rows(start, stop, source_length(interval))
        return [row for row in self.rows(start, before, source_length(interval)) if row[0] < before]

    def traded(self, interval: str, first: int, last: int) -> list[Candle]:
        """Return the candles of :meth:`series` without the flat ones."""
        if first > last:
            return []
        return [candle for candle in self.series(interval, first, last) if candle[6]]

    def halt(self, start: int, stop: int = ENDLESS) -> None:
        """Hide the candles within ``[start, stop)`` at every interval, as if trading had been halted."""
        self._halts.append((start, stop))

    def resume(self, now: int) -> None:
        """End the halts that are still open."""
        self._halts = [(start, min(stop, now)) for start, stop in self._halts]

    def _halted(self, interval: str, opened: int) -> bool:
        return any(start <= opened and next_open(interval, opened) <= stop for start, stop in self._halts)

    def _shown(self, interval: str, first: int, last: int, limit: int, *, newest: bool) -> list[Candle]:
        """Return the newest, otherwise the oldest, ``limit`` candles from ``first`` to ``last`` outside of halts."""
        shown = [candle for candle in self.series(interval, first, last) if not self._halted(interval, candle[0])]
        return shown[-limit:] if newest else shown[:limit]

    def select(self, interval: str, now: int, start: int | None, end: int | None, limit: int) -> list[Candle]:
        """Return the candles of a REST request: the newest ``limit``, or from ``start`` on, oldest first."""
        first = floor_open(interval, self.history.begin)
        last = floor_open(interval, now if end is None else min(end, now))
        if limit < 1 or (end is not None and end < 0):
            return []
        if start is None:
            if self._halts:
                reach = limit - 1 + sum((min(b, now) - a) // source_length(interval) + 1 for a, b in self._halts)
                first = max(first, opens_back(interval, last, reach))
                return self._shown(interval, first, last, limit, newest=True)
            first = max(first, opens_back(interval, last, limit - 1))
        else:
            opened = floor_open(interval, max(start, 0))
            if opened < start:
                opened = next_open(interval, opened)
            first = max(first, opened)
            if first > last:
                return []
            if self._halts:
                return self._shown(interval, first, last, limit, newest=False)
            last = min(last, self._opens_on(interval, first, limit - 1))
        return self.series(interval, first, last) if first <= last else []

    @staticmethod
    def _opens_on(interval: str, opened: int, count: int) -> int:
        if interval == "1M":
            for _ in range(count):
                opened = next_open(interval, opened)
            return opened
        return opened + count * (next_open(interval, opened) - opened)

    def _sum_hours(self) -> None:
        """Extend the hours up to the last full one; the first may begin within its hour."""
        ending = self.current[0] - self.current[0] % HOUR
        minutes = self._minutes
        while self._summed < len(minutes) and minutes[self._summed][0] < ending:
            minute = minutes[self._summed]
            self._summed += 1
            if self._hours and self._hours[-1][0] // HOUR == minute[0] // HOUR:
                self._hours[-1] = merged(self._hours[-1], minute)
            else:
                self._hours.append(minute)
