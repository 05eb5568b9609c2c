"""What has one newest value: mark prices, spot prices, the rules of a contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from ..clock import Reading
from ..errors import DataUnavailableError, InvalidSymbol, NoSpotPair
from ..feeds import Key, Kind
from ..reads import LISTINGS_RECENT, Query, Reads
from ..store.link import AHEAD
from ..store.listings import ListingBoard
from ..store.series import SeriesState
from ..store.values import MarkBoard, SpotBoard
from ..venue import endpoints
from ..venue.contracts import SymbolInfo
from ..venue.endpoints import Request
from ..venue.payload import DecodeError
from ..venue.values import Mark

T = TypeVar("T")


class MarkPrice(Query[Mark]):
    """Mark price and funding of a symbol."""

    __slots__ = ("symbol",)

    def __init__(self, symbol: str, max_age: float | None) -> None:
        super().__init__(Key(Kind.MARK), 0, max_age)
        self.symbol = symbol

    def look(self, series: MarkBoard, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], Mark | None]]:
        reads.check_delisted(self.symbol)
        state, mark = series.look(self.symbol)
        return state, lambda: mark

    def state(self, series: MarkBoard, reads: Reads) -> SeriesState:
        return series.look(self.symbol)[0]

    def fetch(self, series: MarkBoard, reads: Reads) -> Mark:
        clock = reads.clock
        mark = series.get(self.symbol)
        if mark is not None and clock.proven() and mark.time > (until := int((clock.exchange() + AHEAD) * 1000)):
            series.forget_ahead(until)
        reads.check_listed(self.symbol)
        # One answer for all symbols serves everybody who waits for any of them.
        for found in reads.fetch(self.key, endpoints.premium_index()):
            if found.symbol == self.symbol:
                return found
        raise InvalidSymbol(f"the exchange has no mark price of {self.symbol}; is it a USDⓈ-M perpetual that trades?")

    def known(self, series: MarkBoard) -> Mark | None:
        return series.get(self.symbol)

    def shown(self) -> Key:
        return Key(Kind.MARK, self.symbol)


class Rules(Query[SymbolInfo]):
    """The trading rules of a contract."""

    __slots__ = ("symbol",)

    def __init__(self, symbol: str, max_age: float | None) -> None:
        super().__init__(Key(Kind.LISTINGS), 0, max_age)
        self.symbol = symbol

    def look(
        self, series: ListingBoard, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], SymbolInfo | None]]:
        return series.state(0), lambda: self.known(series)

    def fetch(self, series: ListingBoard, reads: Reads) -> SymbolInfo:
        info = series.get()
        recent = info is not None and reads.clock.exchange() - info.as_of / 1000.0 < LISTINGS_RECENT
        if info is None or not recent or self.max_age == 0:
            listed = reads.fetch(self.key, endpoints.exchange_info())
        else:
            listed = info.value  # A misspelt symbol costs no request each time.
        if self.symbol in listed.rules:
            return listed.rules[self.symbol]
        if self.symbol in listed.listed:
            raise DataUnavailableError(f"the exchange states no readable trading rules of {self.symbol}")
        raise InvalidSymbol(f"the exchange lists no contract {self.symbol}; check the spelling")

    def known(self, series: ListingBoard) -> SymbolInfo | None:
        info = series.get()
        return info.value.rules.get(self.symbol) if info is not None else None

    def shown(self) -> Key:
        return Key(Kind.LISTINGS, self.symbol)


class SpotPrices(Query[Mapping[str, str]]):
    """All spot prices. Shared: not to be changed."""

    __slots__ = ()

    def __init__(self, max_age: float | None) -> None:
        super().__init__(Key(Kind.SPOT), 0, max_age)

    def look(
        self, series: SpotBoard, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], Mapping[str, str] | None]]:
        prices = series.get()
        return series.state(0), lambda: prices.value if prices is not None else None

    def fetch(self, series: SpotBoard, reads: Reads) -> Mapping[str, str]:
        request: Request[dict[str, str]] = endpoints.spot_price()
        return reads.fetch(self.key, request)

    def known(self, series: SpotBoard) -> Mapping[str, str] | None:
        prices = series.get()
        return prices.value if prices is not None else None


def spot_price(reads: Reads, symbol: str, max_age: float | None, shape: Callable[[str], T]) -> T:
    """Return the shaped spot price of the pair of the same name, also where the perpetual has left the exchange.

    Raises :class:`~ats_sync.errors.NoSpotPair`.
    """
    if max_age is None and (close := _spot_close(reads, symbol)):
        return shape(close)
    price = reads.read(SpotPrices(max_age), lambda prices: shape(prices[symbol]) if symbol in prices else None)
    if price is None:
        if symbol not in reads.store.delisted:
            reads.check_listed(symbol)
        raise NoSpotPair(f"{symbol} has no spot market of the same name; there is no spot price to read")
    return price


def _spot_close(reads: Reads, symbol: str) -> str:
    """Return the close of a living spot candle, fresher than the poll; "" where none is followed."""
    for series in reads.store.spot_candles(symbol):
        time = reads.clock.reading()
        state = series.state(int(time.exchange * 1000))
        if state.doubt or reads.stream_doubt(state, time, series.feed.stream_timeout):
            continue
        try:
            close: str = series.rows(1, int(time.exchange * 1000), exact=True)[-1][4]
        except DecodeError:
            continue
        reads.counters.hit(Kind.SPOT)
        return close
    return ""


def check_spot_pair(reads: Reads, symbol: str) -> None:
    """Raise :class:`~ats_sync.errors.NoSpotPair` where the list of all spot prices is known and lacks the symbol."""
    prices = reads.store.spot.get()
    if prices is not None and symbol not in prices.value:
        raise NoSpotPair(f"{symbol} has no spot market of the same name")
