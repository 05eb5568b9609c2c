"""The data table: one row per kind of data, policy only.

A new kind is a new row here, a decoder in ``venue/`` and a class in ``store/``. ``Key`` names one series of a kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from .venue import endpoints
from .venue.endpoints import Host, Route


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
    GLOBAL_ACCOUNTS = "globalLongShortAccountRatio"
    TOP_ACCOUNTS = "topLongShortAccountRatio"
    TOP_POSITIONS = "topLongShortPositionRatio"
    TAKER_VOLUMES = "takerlongshortRatio"
    BASIS = "basis"
    SPOT = "spot"
    LISTINGS = "listings"
    CONTRACTS = "contracts"
    """Listings and status changes as they happen."""
    CLOCK = "clock"
    TICKERS = "tickers"
    """Last trade ids of all symbols: evidence against dead streams."""
    QUOTES = "quotes"
    """Best quotes of all symbols: what is read of books that are not followed, and evidence against dead streams."""
    SPOT_KLINES = "spot klines"
    ANSWER = "answer"
    """Anything else REST answers; never followed."""

    __hash__ = str.__hash__  # the one of Enum is written in Python, and keys are looked up in every read


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


PRIORITY = {
    Cause.PROBE: 0,
    Cause.READ: 1,
    Cause.REPAIR: 2,
    Cause.POLL: 3,
    Cause.WARM_UP: 4,
    Cause.AUDIT: 5,
}
"""Smaller goes first."""


class Scope(Enum):
    """Which series of a kind a watched symbol has."""

    EVERYTHING = "one series for all symbols"
    SYMBOL = "one for each symbol"
    INTERVALS = "one for each symbol and interval"
    PERIODS = "one for each symbol and period of open interest"
    ON_DEMAND = "those that somebody reads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """How a kind is streamed. Times are seconds."""

    name: Callable[[Key], str]
    route: Route
    timeout: float | None = None
    """How long without a sign of life on its connection a stream still counts as alive."""
    max_age: float | None = None
    """Largest age of a value that counts as fresh whatever its connection does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """How a kind is polled by REST. Times are seconds."""

    every: float
    max_age: float | None = None
    """Largest age of a value that counts as fresh."""
    beside_stream: bool = True
    """Whether it is polled also while streams are enabled."""
    cause: Cause = Cause.POLL
    shares_limit: bool = False
    """Whether its requests count in the one limit of ``/futures/data``."""
    retention: float = 0.0
    """How long a value is kept at all, so that an error can show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Policy of one kind. Times are seconds."""

    kind: Kind
    scope: Scope
    stream: Stream | None = None
    poll: Poll | None = None
    warm_up_order: int = 9
    """Smaller is fetched first."""
    gates_start: bool = False
    """Whether ``start()`` waits for it."""
    audit_every: float | None = None
    """How often what is in memory is compared with REST."""
    spot: bool = False
    """Whether it belongs to the spot pair of the symbol's name, which may outlive the contract."""
    final_within: int = 0
    """Of candles: how long (ms) after its close one that had trades may lack its final event."""
    notifies: bool = False
    """Of candles: whether users are notified when one has closed."""
    derivable: bool = False
    """Of candles: whether larger ones may be derived from smaller ones."""
    refreshed: bool = False
    """Whether a series may need a new answer though nothing is missing."""
    second_try: float | None = None
    """The pause before the second request, where it is shorter than usual."""
    sets_clock: bool = False
    """Whether it is the exchange's time, which is requested before everything else."""
    lists_contracts: bool = False
    """Whether its answers say which contracts the exchange has, and with what limits."""
    shows_contracts: bool = False
    """Whether its answers show contracts that trade, so that the listings may turn out to be old."""
    announces_contracts: bool = False
    """Whether its stream says how the listings change: what it left out only they show."""
    shown: bool = True
    """Whether a status shows it."""
    write_order: int | None = None
    """Smaller is written down sooner for the next start: what is cheap to write and dear to lack. None: never.
    (Whether there is anything to write a series says itself.)"""
    copied: bool = True
    """Whether other processes are given copies of it."""
    pulled: Callable[[Key], tuple[Key, ...]] = lambda key: (key,)
    """Returns what such a process pulls for a read of a series: that, and what else the read looks at."""

    shared: bool = field(init=False)
    """Whether one stream or one request serves every symbol."""
    own_stream: bool = field(init=False)
    """Whether each of its series has a stream to itself."""
    stream_timeout: float = field(init=False)
    """As ``stream.timeout``, 0 where there is none."""

    def __post_init__(self) -> None:
        stream = self.stream
        object.__setattr__(self, "shared", self.scope is Scope.EVERYTHING)
        object.__setattr__(self, "own_stream", stream is not None and not self.shared)
        object.__setattr__(self, "stream_timeout", (stream.timeout or 0.0) if stream is not None else 0.0)

    @property
    def host(self) -> Host:
        """The host that serves it by REST."""
        return Host.SPOT if self.spot else Host.FUTURES

    @property
    def shares_limit(self) -> bool:
        """Whether its polls count in the limit that some kinds share."""
        return self.poll is not None and self.poll.shares_limit

    @property
    def stream_only(self) -> bool:
        """Whether no request serves it."""
        return self.shared and self.poll is None

    @property
    def closes(self) -> bool:
        """Whether it consists of candles."""
        return self.final_within > 0

    def polled(self, *, streams: bool) -> bool:
        """Return whether it is polled, with streams enabled or not."""
        return self.poll is not None and (self.poll.beside_stream or not streams)

    def max_age(self, *, streams: bool) -> float | None:
        """Return the largest age of a value that counts as fresh by itself, None where age proves nothing."""
        if self.stream is not None and self.ages_by_event(streams=streams):
            return self.stream.max_age
        return self.poll.max_age if self.poll is not None else None

    def ages_by_event(self, *, streams: bool) -> bool:
        """Return whether a value is as old as its event, and not as the answer that brought it."""
        return self.stream is not None and (streams or self.poll is None)


def _fixed(name: str) -> Callable[[Key], str]:
    return lambda key: name


RATIOS = (Kind.GLOBAL_ACCOUNTS, Kind.TOP_ACCOUNTS, Kind.TOP_POSITIONS, Kind.TAKER_VOLUMES, Kind.BASIS)
"""The series that share their requests with open interest; each bears the name of its path."""
CANDLES_AUDITED_EVERY = 300.0
"""How often (seconds) each series of candles is compared with REST, where the requests that audits may use allow it."""
FEEDS: dict[Kind, Feed] = {
    feed.kind: feed
    for feed in (
        Feed(
            kind=Kind.KLINES,
            scope=Scope.INTERVALS,
            stream=Stream(
                name=lambda key: endpoints.kline_stream(key.symbol, key.interval), route=Route.MARKET, timeout=3.0
            ),
            warm_up_order=0,
            gates_start=True,
            audit_every=CANDLES_AUDITED_EVERY,
            final_within=3500,
            notifies=True,
            derivable=True,
            write_order=1,
        ),
        Feed(
            kind=Kind.SPOT_KLINES,
            scope=Scope.ON_DEMAND,
            stream=Stream(
                name=lambda key: endpoints.SPOT_PREFIX + endpoints.kline_stream(key.symbol, key.interval),
                route=Route.SPOT,
                timeout=3.0,
            ),
            warm_up_order=1,
            audit_every=CANDLES_AUDITED_EVERY,
            spot=True,
            final_within=5500,  # its events come only every 2 s
        ),
        Feed(
            kind=Kind.BOOK,
            scope=Scope.SYMBOL,
            stream=Stream(
                name=lambda key: endpoints.book_stream(key.symbol), route=Route.PUBLIC, timeout=2.0, max_age=1.0
            ),
            warm_up_order=1,
            gates_start=True,
            write_order=1,
        ),
        Feed(
            kind=Kind.DEPTH,
            scope=Scope.ON_DEMAND,
            stream=Stream(
                name=lambda key: endpoints.diff_depth_stream(key.symbol), route=Route.PUBLIC, timeout=2.0, max_age=1.0
            ),
            warm_up_order=4,
            audit_every=600.0,
            refreshed=True,
            second_try=0.3,
            write_order=1,
            copied=False,
        ),
        Feed(
            kind=Kind.MARK,
            scope=Scope.EVERYTHING,
            stream=Stream(name=_fixed(endpoints.MARK_PRICES_STREAM), route=Route.MARKET, max_age=5.0),
            poll=Poll(every=0.8 * 3600, max_age=3600.0, beside_stream=False),
            warm_up_order=0,
            gates_start=True,
        ),
        Feed(
            kind=Kind.TRADES,
            scope=Scope.SYMBOL,
            stream=Stream(name=lambda key: endpoints.agg_trade_stream(key.symbol), route=Route.MARKET, timeout=3.0),
            poll=Poll(every=240.0, max_age=300.0, beside_stream=False),
            warm_up_order=3,
            write_order=2,
        ),
        Feed(
            kind=Kind.LIQUIDATIONS,
            scope=Scope.EVERYTHING,
            stream=Stream(name=_fixed(endpoints.LIQUIDATIONS_STREAM), route=Route.MARKET),
        ),
        Feed(
            kind=Kind.OPEN_INTEREST,
            scope=Scope.PERIODS,
            poll=Poll(every=240.0, max_age=300.0, shares_limit=True),
            warm_up_order=2,
            gates_start=True,
            write_order=1,
        ),
        *(
            Feed(
                kind=kind,
                scope=Scope.ON_DEMAND,
                poll=Poll(every=240.0, max_age=300.0, shares_limit=True),
                warm_up_order=6,
                write_order=1,
            )
            for kind in RATIOS
        ),
        Feed(
            kind=Kind.SPOT,
            scope=Scope.EVERYTHING,
            poll=Poll(every=48.0, max_age=60.0, retention=86400.0),
            warm_up_order=0,
            gates_start=True,
            spot=True,
        ),
        Feed(
            kind=Kind.TICKERS,
            scope=Scope.EVERYTHING,
            stream=Stream(name=_fixed(endpoints.TICKERS_STREAM), route=Route.MARKET, max_age=5.0),
            poll=Poll(every=120.0, cause=Cause.AUDIT),
            warm_up_order=8,
            shows_contracts=True,
            pulled=lambda key: (Key(key.kind), key) if key.symbol else (key,),
        ),
        Feed(
            kind=Kind.QUOTES,
            scope=Scope.EVERYTHING,
            stream=Stream(
                name=_fixed(endpoints.BOOK_TICKERS_STREAM),
                route=Route.PUBLIC,
                timeout=11.0,  # it is pushed every 5 s
                max_age=5.0,
            ),
            pulled=lambda key: (key, Key(Kind.BOOK, key.symbol)),
        ),
        Feed(
            kind=Kind.CONTRACTS,
            scope=Scope.EVERYTHING,
            stream=Stream(name=_fixed(endpoints.CONTRACTS_STREAM), route=Route.MARKET),
            announces_contracts=True,
        ),
        Feed(
            kind=Kind.LISTINGS,
            scope=Scope.EVERYTHING,
            poll=Poll(every=3000.0, max_age=3600.0, retention=86400.0, cause=Cause.PROBE),
            warm_up_order=0,
            lists_contracts=True,
            shown=False,
            write_order=0,
            pulled=lambda key: (Key(key.kind),),
        ),
        Feed(
            kind=Kind.CLOCK,
            scope=Scope.EVERYTHING,
            poll=Poll(every=600.0, cause=Cause.PROBE),
            warm_up_order=0,
            sets_clock=True,
            shown=False,
            copied=False,
        ),
    )
}
"""Every kind that is followed."""
CLOCK, LISTINGS, TICKERS = Key(Kind.CLOCK), Key(Kind.LISTINGS), Key(Kind.TICKERS)
SHARED = (Key(Kind.MARK), Key(Kind.SPOT), Key(Kind.LIQUIDATIONS), LISTINGS, CLOCK)
"""What is followed once for all symbols."""
ACTIVITY = (TICKERS, Key(Kind.QUOTES), Key(Kind.CONTRACTS))
"""What is followed as well where there are streams: it shows which streams are dead, and changes of the listings at
once."""


def stream_of(key: Key) -> str | None:
    """Return the name of the stream that feeds a series, None for what is polled; those of the spot host bear a
    prefix."""
    stream = FEEDS[key.kind].stream
    return stream.name(key) if stream is not None else None


def route_of(key: Key) -> Route:
    """Return the route on which its stream is served."""
    stream = FEEDS[key.kind].stream
    return stream.route if stream is not None else Route.MARKET
