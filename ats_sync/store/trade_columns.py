"""Trades as columns of numbers, remembered for those who read the same symbol again."""

from __future__ import annotations

from array import array
from typing import TypeAlias

from ..venue.trades import TradeNumbers, trade_numbers, trades_of_text

Doubles: TypeAlias = "array[float]"
Wholes: TypeAlias = "array[int]"
SPARE = 128


class TradeColumns:
    """Trades with the ids ``first``, ``first + 1``, …; times in ms, ``makers`` 1 where the buyer was the maker."""

    __slots__ = ("first", "makers", "prices", "quantities", "times")

    def __init__(self, first: int, prices: Doubles, quantities: Doubles, times: Wholes, makers: Wholes) -> None:
        self.first = first
        self.prices = prices
        self.quantities = quantities
        self.times = times
        self.makers = makers

    @classmethod
    def of(cls, first: int, text: bytes, count: int, found: TradeNumbers | None = None) -> TradeColumns:
        """Return the columns of ``count`` trades in REST's form, whose ids follow each other from ``first`` on;
        ``found`` are their numbers, where they are known."""
        found = found or trade_numbers(text, count)
        if found is None:
            trades = trades_of_text(text)
            return cls(
                first,
                array("d", [float(trade.price) for trade in trades]),
                array("d", [float(trade.quantity) for trade in trades]),
                array("q", [trade.time for trade in trades]),
                array("b", [trade.buyer_is_maker for trade in trades]),
            )
        prices, quantities, times, makers = found
        return cls(first, array("d", prices), array("d", quantities), times, array("b", makers))

    def __len__(self) -> int:
        return len(self.times)

    @property
    def after(self) -> int:
        return self.first + len(self.times)

    def last(self, count: int) -> TradeColumns:
        """Return a copy of the last ``count``."""
        begin = max(0, len(self) - count)
        return TradeColumns(
            self.first + begin,
            self.prices[begin:],
            self.quantities[begin:],
            self.times[begin:],
            self.makers[begin:],
        )

    def joined(self, later: TradeColumns) -> TradeColumns:
        """Return these and ``later``, which follow them."""
        return TradeColumns(
            self.first,
            self.prices + later.prices,
            self.quantities + later.quantities,
            self.times + later.times,
            self.makers + later.makers,
        )
