"""An order book kept in the simplest way, and what an exchange sends of it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from ats_sync.venue.books import Book, book_snapshot

from ..venue.samples import compact, frame

Levels = list[list[str]]
STREAM = "btcusdt@depth@100ms"
BEGAN = 1_795_219_200_000


def diff_data(first: int, last: int, previous: int, bids: Levels, asks: Levels, event: int) -> dict[str, Any]:
    return {
        "e": "depthUpdate", "E": event, "T": event - 4, "s": "BTCUSDT", "U": first, "u": last, "pu": previous,
        "b": bids, "a": asks, "st": 1, "ps": "BTCUSDT",
    }  # fmt: skip


def diff(last: int, previous: int, bids: Iterable[Any] = (), asks: Iterable[Any] = (), *, event: int = 0) -> bytes:
    """Return a depth event; by default its time follows from its id."""
    data = diff_data(previous + 1, last, previous, list(bids), list(asks), event or BEGAN + last)
    return frame(STREAM, data)


def snapshot(update_id: int, bids: Levels, asks: Levels, *, event: int = 0) -> Book:
    event = event or BEGAN + update_id
    body = {"lastUpdateId": update_id, "E": event, "T": event - 4, "bids": bids, "asks": asks}
    return book_snapshot(compact(body))


class Market:
    """A book that changes at random. Every state it ever had between two events is remembered by its update id."""

    def __init__(self, seed: int, levels: int) -> None:
        self.random = random.Random(seed)
        self.update_id = 1_000
        self.middle = 1_000  # prices in tenths; around 100, where texts and numbers differ in order
        self.bids: dict[Decimal, list[str]] = {}
        self.asks: dict[Decimal, list[str]] = {}
        self.history: dict[int, tuple[Levels, Levels]] = {}
        self._last_event = self.update_id
        self._changed: tuple[dict[Decimal, list[str]], dict[Decimal, list[str]]] = ({}, {})
        for away in range(1, levels + 1):
            self._set(self.bids, self.middle - away, 1 + away)
            self._set(self.asks, self.middle + away, 1 + away)
        self._changed = ({}, {})
        self._remember()

    def _set(self, side: dict[Decimal, list[str]], tenths: int, quantity: int) -> None:
        # One price has several texts: the exchange promises no number of decimals.
        text = str(Decimal(tenths) / 10)
        if self.random.random() < 0.2:
            text = format(Decimal(text), ".4f")
        level = [text, f"{quantity}.50" if quantity else self.random.choice(["0", "0.00"])]
        price = Decimal(text)
        if quantity:
            side[price] = level
        else:
            side.pop(price, None)
        self._changed[side is self.asks][price] = level

    def change(self, count: int) -> None:
        """Make this many changes, each with an id of its own; ids are shared with other books and leave gaps."""
        for _ in range(count):
            self.update_id += self.random.randint(1, 5)
            if self.random.random() < 0.2:
                self._move(self.random.choice((-2, -1, 1, 2)))
            side, sign = self.random.choice(((self.bids, -1), (self.asks, 1)))
            away = self.random.choice((1, 1, 2, 3, self.random.randint(1, 40)))
            quantity = 0 if self.random.random() < 0.3 and len(side) > 1 else self.random.randint(1, 99)
            self._set(side, self.middle + sign * away, quantity)

    def _move(self, tenths: int) -> None:
        self.middle += tenths
        for side, sign in ((self.bids, -1), (self.asks, 1)):
            crossed = [price for price in side if sign * (price * 10 - self.middle) <= 0]
            for price in crossed:
                self._set(side, int(price * 10), 0)
            if not side:
                self._set(side, self.middle + sign, 5)

    def event(self) -> tuple[int, bytes]:
        """Return the ``u`` of the event of all changes since the last one, and the event."""
        bids, asks = ([list(level) for level in side.values()] for side in self._changed)
        previous, self._last_event = self._last_event, self.update_id
        self._changed = ({}, {})
        self._remember()
        return self.update_id, diff(self.update_id, previous, bids, asks)

    def rest(self, limit: int) -> Book:
        """Return what REST answers now, even between two events."""
        self._remember()
        bids, asks = self.history[self.update_id]
        return snapshot(self.update_id, bids[:limit], asks[:limit])

    def _remember(self) -> None:
        bids = [tuple(self.bids[price]) for price in sorted(self.bids, reverse=True)]
        asks = [tuple(self.asks[price]) for price in sorted(self.asks)]
        self.history[self.update_id] = bids, asks
