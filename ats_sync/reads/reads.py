"""All reads of one market store, by what they read.

Each is answered from memory while that is fresh, else by REST, else by a loud error. They return what was read in the
form of the exchange, or in numbers where their name says so: that it is fresh needs no saying, and the age of what is
not stands in the error that carries it. :mod:`ats_sync.manager` and :mod:`ats_sync.rest_shaped` shape it for their
callers.
"""

from __future__ import annotations

from collections.abc import Callable

from ..clock import Clock
from ..config import Config
from ..feeds import Key
from ..runtime.counters import Counters
from ..runtime.requests import Requests
from ..store.market import MarketStore
from .answers import AnswerReads
from .books import BookReads
from .candles import CandleReads
from .routing import Routing
from .trades import TradeReads
from .values import ValueReads


class Reads:
    """Any thread may call any method of any part; arguments are checked already."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        requests: Requests,
        counters: Counters,
        *,
        streams: bool,
        wanted: Callable[[Key], None] = lambda key: None,
        patience: float | None = None,
    ) -> None:
        route = Routing(config, clock, store, requests, counters, streams=streams, wanted=wanted, patience=patience)
        self.candles = CandleReads(route)
        self.books = BookReads(route)
        self.trades = TradeReads(route)
        self.values = ValueReads(route)
        self.answers = AnswerReads(route)
        self.refresh_listings = route.refresh_listings
