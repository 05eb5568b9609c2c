"""A pure, seeded model of Binance USDⓈ-M futures and the corresponding spot prices.

Candles, trades, books, mark prices, open interest and forced orders all follow from one trade process per symbol,
so that REST answers and stream frames agree to the last digit. The model has no clock, thread or socket: exchange time
is the argument of the last :meth:`Market.advance`.
"""

from __future__ import annotations

from .intervals import UnknownInterval
from .market import Market
from .ratios import RATIOS
from .schedule import Frame
from .symbols import UnknownSymbol

__all__ = ["RATIOS", "Frame", "Market", "UnknownInterval", "UnknownSymbol"]
