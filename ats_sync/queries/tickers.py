"""24-hour tickers, of one symbol or of all."""

from __future__ import annotations

from collections.abc import Callable

from ..clock import Reading
from ..errors import InvalidSymbol, MalformedAnswer
from ..feeds import Key, Kind
from ..reads import Query, Reads
from ..store.link import AHEAD
from ..store.series import SeriesState
from ..store.tickers import TickerBoard
from ..venue import endpoints
from ..venue.payload import DecodeError
from ..venue.tickers import TickerRow, as_rest_ticker


def _all_tickers(series: TickerBoard, reads: Reads) -> dict[str, TickerRow]:
    """Return the answer for all symbols, which serves everybody who waits for any of them and completes the stream."""
    if reads.clock.proven():
        series.forget_ahead(int((reads.clock.exchange() + AHEAD) * 1000))
    return reads.fetch(series.key, endpoints.ticker_24h())


class DayTicker(Query[TickerRow]):
    """The 24-hour ticker of a symbol, as REST writes it; the caller's own."""

    __slots__ = ("symbol",)

    def __init__(self, symbol: str, max_age: float | None) -> None:
        super().__init__(Key(Kind.TICKERS), 0, max_age)
        self.symbol = symbol

    def look(
        self, series: TickerBoard, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], TickerRow | None]]:
        reads.check_delisted(self.symbol)
        state, row = series.look(self.symbol)
        return state, lambda: as_rest_ticker(row) if row is not None else None

    def state(self, series: TickerBoard, reads: Reads) -> SeriesState:
        return series.look(self.symbol)[0]

    def fetch(self, series: TickerBoard, reads: Reads) -> TickerRow:
        reads.check_listed(self.symbol)
        if reads.streams:
            rows = _all_tickers(series, reads)
        else:
            rows = reads.fetch(Key(Kind.ANSWER, self.symbol), endpoints.ticker_24h(self.symbol))
        if self.symbol not in rows:
            raise InvalidSymbol(f"the exchange has no 24-hour ticker of {self.symbol}; does it trade?")
        return _written(rows[self.symbol])

    def known(self, series: TickerBoard) -> TickerRow | None:
        row = series.look(self.symbol)[1]
        try:
            return as_rest_ticker(row) if row is not None else None
        except DecodeError:
            return None

    def shown(self) -> Key:
        return Key(Kind.TICKERS, self.symbol)


class DayTickers(Query[list[TickerRow]]):
    """The 24-hour tickers of all symbols, as REST writes them and in its order; the caller's own."""

    __slots__ = ()

    def __init__(self, max_age: float | None) -> None:
        super().__init__(Key(Kind.TICKERS), 0, max_age)

    def look(
        self, series: TickerBoard, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], list[TickerRow] | None]]:
        state, rows = series.look_at_all()
        return state, lambda: [as_rest_ticker(row) for row in rows] or None

    def state(self, series: TickerBoard, reads: Reads) -> SeriesState:
        return series.look_at_all()[0]

    def fetch(self, series: TickerBoard, reads: Reads) -> list[TickerRow]:
        return [_written(row) for row in _all_tickers(series, reads).values()]

    def known(self, series: TickerBoard) -> list[TickerRow] | None:
        try:
            return [as_rest_ticker(row) for row in series.look_at_all()[1]] or None
        except DecodeError:
            return None


def _written(row: TickerRow) -> TickerRow:
    try:
        return as_rest_ticker(row)
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable 24-hour ticker: {error}", status=200) from None
