"""Connections that answer pings and deliver nothing: which of them are to be given up.

Marks come every second whatever happens. Tickers and quotes come only while something trades: where the whole market
rests, the next connection is as silent as the one before, and each is given twice as long. That something has traded
meanwhile shows that the market does not rest, and that the connection is at fault.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ..store.link import Link
from ..store.market import MarketStore
from ..store.trades import TradeSeries
from ..venue.endpoints import BOOK_TICKERS_STREAM, MARK_PRICES_STREAM, TICKERS_STREAM
from .connection import Connection, Progress
from .moment import Moment

STEADY_STREAMS = {MARK_PRICES_STREAM: 4.0, TICKERS_STREAM: 4.0, BOOK_TICKERS_STREAM: 11.0}
"""Streams that come whatever is followed, and how long (seconds) nothing else may come."""
RESTING_STREAMS = frozenset({TICKERS_STREAM, BOOK_TICKERS_STREAM})
"""Those that rest while the whole market does."""
LONGEST = 180.0
"""No connection may be silent for longer than this (seconds)."""
LOOK_EVERY = 0.5
MAY_BE_KNOWN = 1500
"""What was traded within so many ms of the last frame may have been reported with it."""


@dataclass(slots=True)
class _Heard:
    frames: int
    since: float
    """When (steady) the silence began."""
    looked: float = -math.inf
    traded: float = math.inf
    """When (steady) it was known that something has traded since."""


class Silence:
    """How long each connection has been silent, and how many of a route in a row were given up for it."""

    def __init__(self, store: MarketStore) -> None:
        self._store = store
        self._heard: dict[Link, _Heard] = {}
        self._given_up: Counter[str] = Counter()

    def keep(self, links: Iterable[Link]) -> None:
        """Forget every link but these."""
        kept = set(links)
        self._heard = {link: heard for link, heard in self._heard.items() if link in kept}

    def heard(self, link: Link, at: Moment) -> bool:
        """Return whether frames have come on a link since this was last called."""
        heard = self._heard.setdefault(link, _Heard(link.frames, at.steady))
        if link.frames <= heard.frames:
            return False
        self._heard[link] = _Heard(link.frames, at.steady)
        del self._given_up[link.route]
        return True

    def judge(self, connection: Connection, link: Link, at: Moment) -> str:
        """Return why a connection is to be given up now, "" where it is not."""
        heard = self._heard[link]
        stream = next((name for name in STEADY_STREAMS if connection.streams.get(name) is Progress.ACKNOWLEDGED), "")
        if not stream:
            heard.since = at.steady  # nothing is sure to come
            return ""
        patience = STEADY_STREAMS[stream]
        silent = at.steady - heard.since
        if stream in RESTING_STREAMS and silent > patience / 2.0:
            self._look_at_trades(heard, at)
            if at.steady - heard.traded <= patience / 2.0:
                patience = min(LONGEST, patience * 2.0 ** self._given_up[link.route])
        if silent <= patience:
            return ""
        self._given_up[link.route] = min(self._given_up[link.route] + 1, 16)
        return "it answers pings and delivers nothing"

    def _look_at_trades(self, heard: _Heard, at: Moment) -> None:
        if heard.traded < math.inf or at.steady - heard.looked < LOOK_EVERY:
            return
        heard.looked = at.steady
        since = at.exchange - round((at.steady - heard.since) * 1000) + MAY_BE_KNOWN
        store = self._store
        if any(time > since for time in store.tickers.traded.values()) or any(
            ring.last_heard()[1] > since for ring in store.of(TradeSeries)
        ):
            heard.traded = at.steady
