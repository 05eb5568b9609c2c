"""The contract of :class:`~ats_sync.store.series.Series`, kept by every class of series."""

from __future__ import annotations

from . import exchanges
from .contract import SeriesContract


class TestCandles(SeriesContract):
    exchange = exchanges.Candles
    rows = True


class TestSpotCandles(SeriesContract):
    exchange = exchanges.SpotCandles
    rows = True


class TestTrades(SeriesContract):
    exchange = exchanges.Trades
    rows = True


class TestBook(SeriesContract):
    exchange = exchanges.Books


class TestDepth(SeriesContract):
    exchange = exchanges.Depths


class TestOpenInterest(SeriesContract):
    exchange = exchanges.OpenInterests
    rows = True


class TestRatios(SeriesContract):
    exchange = exchanges.Ratios
    rows = True


class TestMarks(SeriesContract):
    exchange = exchanges.Marks


class TestSpotPrices(SeriesContract):
    exchange = exchanges.SpotPrices


class TestTickers(SeriesContract):
    exchange = exchanges.Tickers


class TestQuotes(SeriesContract):
    exchange = exchanges.Quotes


class TestContracts(SeriesContract):
    exchange = exchanges.Contracts


class TestListings(SeriesContract):
    exchange = exchanges.Listings
    rows = True


class TestLiquidations(SeriesContract):
    exchange = exchanges.Liquidations


class TestClock(SeriesContract):
    exchange = exchanges.Clock
