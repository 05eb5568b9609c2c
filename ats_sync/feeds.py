"""The data table: one row a kind of data, policy only.

A new kind is a new row here plus its store class. ``Key`` names one series of a kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Kind(str, Enum):
    """A kind of data."""

    KLINES = "klines"
    BOOK = "orderbook"
    DEPTH = "depth"
    """The order book beyond the best 20 levels."""
    MARK = "mark"
    TRADES = "trades"
    LIQUIDATIONS = "liquidations"
    OPEN_INTEREST = "oi"
    SPOT = "spot"
    LISTINGS = "listings"
    CONTRACTS = "contracts"
    """Listings and status changes as they happen."""
    CLOCK = "clock"
    TICKERS = "tickers"
    """Last trade ids of all symbols: witnesses against dead streams."""
    QUOTES = "quotes"
    """Best quotes of all symbols: witnesses against dead book streams."""
    SPOT_KLINES = "spot klines"
    ANSWER = "answer"
    """Anything else REST answers; asked for and not followed."""


class Key(NamedTuple):
    """One series: ``symbol`` is "" for what comes for all symbols at once, ``interval`` "" where there is none."""

    kind: Kind
    symbol: str = ""
    interval: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.symbol, self.kind.value, self.interval) if part)


class Cause(str, Enum):
    """Why a request is sent; requests are counted by it."""

    READ = "read"
    WARM_UP = "warm-up"
    POLL = "poll"
    REPAIR = "repair"
    AUDIT = "audit"
    PROBE = "probe"


CANDLES = frozenset({Kind.KLINES, Kind.SPOT_KLINES})
STREAM_ONLY = frozenset({Kind.LIQUIDATIONS, Kind.QUOTES, Kind.CONTRACTS})
"""What comes by stream alone: no request serves it."""

PRIORITY = {
    Cause.PROBE: 0,
    Cause.READ: 1,
    Cause.REPAIR: 2,
    Cause.POLL: 3,
    Cause.WARM_UP: 4,
    Cause.AUDIT: 5,
}
"""Smaller goes first."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Policy of one kind. Times are seconds, ``None`` means "does not apply"."""

    kind: Kind
    one_for_all: bool
    """Whether one stream or one request serves every symbol."""
    streamed: bool
    silence: float | None
    """How long without a proof of life on its connection a stream still counts as alive."""
    bound: float | None
    """Largest age of a value that counts as fresh where being streamed is no proof (see ``quiet_is_fresh``)."""
    quiet_is_fresh: bool
    """Whether a living stream that sent nothing means that nothing changed."""
    bound_polled: float | None
    """Largest age of a value got by REST while the kind is not streamed."""
    poll: float | None
    """How often REST is asked."""
    poll_always: bool
    """Polled also while streams are enabled (the kind has none)."""
    kept: float
    """How long a polled value is kept at all, so that an error can show it."""
    warm_up_order: int
    """Smaller is fetched first."""
    awaited: bool
    """Whether ``start()`` waits for it."""
    what: str


FEEDS: dict[Kind, Feed] = {
    feed.kind: feed
    for feed in (
        Feed(
            Kind.KLINES, False, True, 3.0, None, True, None, None, False, 0.0, 0, True, "candles of any interval"
        ),
        Feed(
            Kind.SPOT_KLINES, False, True, 3.0, None, True, None, None, False, 0.0, 1, False,
            "spot candles, once they are asked for",
        ),
        Feed(Kind.BOOK, False, True, 2.0, 1.0, True, 1.0, None, False, 0.0, 1, True, "order book, 20 levels"),
        Feed(
            Kind.DEPTH, False, True, 2.0, 1.0, True, None, None, False, 0.0, 4, False,
            "order book, up to 1000 levels, once it is asked for",
        ),
        Feed(
            Kind.MARK, True, True, None, 5.0, False, 3600.0, 0.8 * 3600, False, 86400.0, 0, True,
            "mark price and funding rate",
        ),
        Feed(
            Kind.TRADES, False, True, 3.0, None, True, 300.0, 240.0, False, 3600.0, 3, False,
            "aggregated trades (buyers' and sellers', forced ones among them)",
        ),
        Feed(Kind.LIQUIDATIONS, True, True, None, None, True, None, None, False, 0.0, 9, False, "forced orders"),
        Feed(
            Kind.OPEN_INTEREST, False, False, None, None, False, 300.0, 240.0, True, 86400.0, 2, True,
            "open interest history",
        ),
        Feed(Kind.SPOT, True, False, None, None, False, 60.0, 48.0, True, 86400.0, 0, True, "spot price"),
        Feed(
            Kind.TICKERS, True, True, None, 5.0, False, None, 120.0, True, 0.0, 8, False,
            "last trade ids, to find dead streams by",
        ),
        Feed(Kind.QUOTES, True, True, None, None, True, None, None, False, 0.0, 9, False, "best quotes, likewise"),
        Feed(
            Kind.CONTRACTS, True, True, None, None, True, None, None, False, 0.0, 9, False,
            "listings, delistings and halts as they happen",
        ),
        Feed(
            Kind.LISTINGS, True, False, None, None, False, 3600.0, 3000.0, True, 86400.0, 0, False,
            "which symbols trade",
        ),
        Feed(Kind.CLOCK, True, False, None, None, False, None, 600.0, True, 0.0, 0, False, "the exchange's clock"),
    )
}  # fmt: skip
