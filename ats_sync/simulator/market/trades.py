"""Aggregated trades of one symbol: the recent ones, by id and by time."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from math import exp, log
from random import Random
from typing import NamedTuple

from .decimals import mix
from .symbols import SymbolSpec

# The number of trades made backwards from the market's beginning, and the most that are kept since.
OLDER = 1_600
KEPT = 20_000
RESTARTED_AT = 1_000
"""The first aggregated trade id of a restarted count."""

_FIELDS = 5


class AggTrade(NamedTuple):
    """Trades of one taker order at one price. ``maker_buys``: the buyer was the maker, the taker sold."""

    id: int
    price: int
    qty: int
    first: int
    last: int
    time: int
    maker_buys: bool


class AggTrades:
    """Consecutive aggregated trades; ids and the trade ids within them have no gap."""

    def __init__(self, next_id: int, next_trade: int) -> None:
        self.next_id = next_id
        self.next_trade = next_trade
        self.last_time = 0
        self._first_id = next_id
        self._fields = array("q")  # price, qty, first trade id, time, maker_buys

    def __len__(self) -> int:
        return self.next_id - self._first_id

    @property
    def first_id(self) -> int:
        """The oldest id that is remembered."""
        return self._first_id

    def add(self, price: int, qty: int, trades: int, at: int, maker_buys: bool) -> None:
        """Append a trade; it gets the next ids."""
        self._fields.extend((price, qty, self.next_trade, at, maker_buys))
        self.next_id += 1
        self.next_trade += trades
        self.last_time = at
        if len(self._fields) > 2 * KEPT * _FIELDS:
            del self._fields[: -KEPT * _FIELDS]
            self._first_id = self.next_id - KEPT

    def since(self, trade_id: int) -> list[AggTrade]:
        """Return the trades from that id on, which must be remembered."""
        return [self.get(each) for each in range(trade_id, self.next_id)]

    def restart_ids(self) -> int:
        """Restart from low numbers and keep only the newest trade; return by how much the next id has fallen."""
        newest, before = self._fields[-_FIELDS:], self.next_id
        trades = self.next_trade - newest[2] if newest else 0
        self._first_id = RESTARTED_AT
        self.next_id = RESTARTED_AT + bool(newest)
        self.next_trade = 2 * RESTARTED_AT + trades
        if newest:
            newest[2] = 2 * RESTARTED_AT
        self._fields = newest
        return before - self.next_id

    def prepend(self, older: array[int]) -> None:
        """Put records (price, qty, first trade id, time, maker_buys), oldest first, before the others."""
        self._fields = older + self._fields
        self._first_id -= len(older) // _FIELDS

    def get(self, trade_id: int) -> AggTrade:
        """Return the trade with that id, which must be remembered."""
        at = (trade_id - self._first_id) * _FIELDS
        fields = self._fields
        price, qty, first, time, maker_buys = fields[at : at + _FIELDS]
        following = at + _FIELDS
        last = fields[following + 2] if following < len(fields) else self.next_trade
        return AggTrade(trade_id, price, qty, first, last - 1, time, bool(maker_buys))

    def first_at(self, time: int) -> int:
        """Return the id of the first remembered trade at ``time`` or later."""
        fields = self._fields
        index = bisect_left(range(len(self)), time, key=lambda i: fields[i * _FIELDS + 3])
        return self._first_id + index


def make_back(
    spec: SymbolSpec, salt: int, *, price: int, before: int, until: int, begin: int, least: int, next_trade: int
) -> array[int]:
    """Make at least ``least`` trades backwards from ``before`` to ``until``; return them oldest first.

    None is older than ``begin``.
    The records are those of :meth:`AggTrades.prepend`; the newest ends with trade id ``next_trade - 1``. The nearer
    ones do not depend on the number of trades.
    """
    rng = Random(mix(salt, 3))
    random = rng.random
    gap = 1000 / effective_moments(spec.moments)
    step = spec.price * spec.daily_move * (gap / 86_400_000) ** 0.5
    at: float = before
    where: float = price
    side = False
    backwards: list[tuple[int, int, int, int, int]] = []
    while len(backwards) < OLDER * 4:
        at -= 1 + gap * -log(1 - random())
        if at < begin or (at < until and len(backwards) >= least):
            break
        where = min(max(where + (random() + random() - 1) * 2 * step, 2), spec.price * 4)
        side = random() < 0.5
        trades = 1 if random() < 0.6 else 1 + int(random() * 4)
        qty = trades + int(spec.mean_qty * trades * -log(1 - random()) * 0.8)
        next_trade -= trades
        backwards.append((round(where) + (0 if side else spec.spread), qty, next_trade, int(at), int(side)))
    records = array("q")
    for record in reversed(backwards):
        records.extend(record)
    return records


def effective_moments(moments: float) -> float:
    """Return the visible taker orders per second, with those of one tenth of a second counted as one."""
    return 10 * (1 - exp(-moments / 10)) if moments > 0 else 1e-9
