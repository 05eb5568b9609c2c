"""The types of what reads return: plain dictionaries and lists at run time, named fields for a type checker.

Those of :class:`~ats_sync.DataManager` hold numbers. Those whose names begin with ``Rest`` are the exchange's own rows,
with decimals as str, from :class:`~ats_sync.RestShaped` and ``compat``. Times are Unix time in ms.
"""

from __future__ import annotations

from typing import Any, TypedDict

KlineRow = list[Any]
"""``[open_time, open, high, low, close, volume, close_time, quote_volume, trades, taker_buy_base, taker_buy_quote,
ignore]``: items 0, 6 and 8 int, the rest float, or str in the shape of REST."""


class OrderBook(TypedDict):
    """Levels are ``[price, quantity]``, best first."""

    bids: list[list[float]]
    asks: list[list[float]]
    timestamp: int
    lastUpdateId: int


class Quote(TypedDict):
    """Best bid and ask with their quantities. ``age``: how many seconds ago they surely were the best (``inf`` where it
    stands in an error); ``source``: ``"book"``, ``"bookTicker"`` or ``"rest"``."""

    bid: float
    bidQty: float
    ask: float
    askQty: float
    timestamp: int
    age: float
    source: str


class FundingRate(TypedDict):
    """``nextTime`` is None for a contract without funding (a quarterly)."""

    rate: float
    nextTime: int | None
    markPrice: float
    timestamp: int


class OpenInterest(TypedDict):
    """Open interest at the end of a period: in the base asset, and in the quote asset (``…Value``)."""

    timestamp: int
    sumOpenInterest: float
    sumOpenInterestValue: float


class Ratio(TypedDict, total=False):
    """A row of one series of ``/futures/data``, with the fields of its kind.

    The long/short ratios: ``longShortRatio``, and the shares of both sides (``…Account``, of positions too).
    ``takerlongshortRatio``: ``buySellRatio``, and the volumes in the base asset. ``basis``: in the quote asset, its
    rate, that rate in a year (None for a perpetual), and the prices.
    """

    timestamp: int
    longShortRatio: float
    longAccount: float
    shortAccount: float
    buySellRatio: float
    buyVol: float
    sellVol: float
    basis: float
    basisRate: float
    annualizedBasisRate: float | None
    futuresPrice: float
    indexPrice: float


class AggTrade(TypedDict):
    """One aggregated trade; ``isBuyerMaker``: the taker sold."""

    id: int
    price: float
    qty: float
    time: int
    isBuyerMaker: bool


class Ticker(TypedDict):
    """Statistics of the last 24 hours: prices and ``quoteVolume`` in the quote asset, ``volume`` and ``lastQty`` in the
    base asset, ``priceChangePercent`` in percent; ``count`` is that of the trades."""

    symbol: str
    priceChange: float
    priceChangePercent: float
    weightedAvgPrice: float
    lastPrice: float
    lastQty: float
    openPrice: float
    highPrice: float
    lowPrice: float
    volume: float
    quoteVolume: float
    openTime: int
    closeTime: int
    firstId: int
    lastId: int
    count: int


class ForcedOrder(TypedDict):
    """One liquidation order; ``side`` is "BUY" or "SELL"."""

    symbol: str
    side: str
    price: float
    averagePrice: float
    qty: float
    filledQty: float
    status: str
    time: int


class Statistics(TypedDict):
    """Counts since the manager was made, and what it has in memory now."""

    initialized: bool
    symbols_count: int
    klines_cached: int
    oi_cached: int
    trades_cached: int
    depth_cached: int
    funding_cached: int
    ws_updates: int
    """Frames of data, over all connections."""
    ws_reconnects: int
    ws_dropped: dict[str, int]
    """Frames that no series took, by reason."""
    rest_calls: int
    rest_calls_by_cause: dict[str, int]
    """By ``read``, ``warm-up``, ``poll``, ``repair``, ``audit``, ``probe``."""
    rest_threads: int
    weight_most_used: dict[str, int]
    """The most that one clock minute (or window) has cost, by bucket."""
    cache_hits: int
    cache_misses: int
    cache_hit_rate: str
    """Such as "99.5%"; "-" before the first read."""


class RestDepth(TypedDict):
    """The answer of ``/fapi/v1/depth``: levels are ``[price, quantity]``, best first."""

    lastUpdateId: int
    E: int
    T: int
    bids: list[list[str]]
    asks: list[list[str]]


class RestOpenInterest(TypedDict, total=False):
    """A row of ``/futures/data/openInterestHist``; not every answer has the supply."""

    symbol: str
    sumOpenInterest: str
    sumOpenInterestValue: str
    CMCCirculatingSupply: str
    timestamp: int


class RestRatio(TypedDict, total=False):
    """A row of one series of ``/futures/data``, with the fields of its kind; ``annualizedBasisRate`` is "" for a
    perpetual."""

    symbol: str
    longShortRatio: str
    longAccount: str
    shortAccount: str
    buySellRatio: str
    buyVol: str
    sellVol: str
    pair: str
    contractType: str
    basis: str
    basisRate: str
    annualizedBasisRate: str
    futuresPrice: str
    indexPrice: str
    timestamp: int


class RestFunding(TypedDict, total=False):
    """A row of ``/fapi/v1/fundingRate``; ``rateType`` since July 2026."""

    symbol: str
    fundingTime: int
    fundingRate: str
    markPrice: str
    rateType: str


class _AggTradeWithoutNormal(TypedDict):
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741
    T: int
    m: bool


class RestAggTrade(_AggTradeWithoutNormal, total=False):
    """A row of ``/fapi/v1/aggTrades``; ``nq`` where the exchange sent it."""

    nq: str


class RestPremiumIndex(TypedDict, total=False):
    """A row of ``/fapi/v1/premiumIndex``."""

    symbol: str
    markPrice: str
    indexPrice: str
    estimatedSettlePrice: str
    lastFundingRate: str
    interestRate: str
    nextFundingTime: int
    time: int


class RestForceOrder(TypedDict):
    """A row as the closed ``/fapi/v1/forceOrders`` had it."""

    symbol: str
    price: str
    origQty: str
    executedQty: str
    averagePrice: str
    status: str
    timeInForce: str
    type: str
    side: str
    time: int


class RestTicker24h(TypedDict, total=False):
    """A row of ``/fapi/v1/ticker/24hr``."""

    symbol: str
    priceChange: str
    priceChangePercent: str
    weightedAvgPrice: str
    lastPrice: str
    lastQty: str
    openPrice: str
    highPrice: str
    lowPrice: str
    volume: str
    quoteVolume: str
    openTime: int
    closeTime: int
    firstId: int
    lastId: int
    count: int
