from __future__ import annotations

from typing import Any

import pytest

from ats_sync.errors import DataUnavailableError, InvalidArgument, InvalidSymbol, RequestTimeout, StaleDataError
from ats_sync.feeds import Key, Kind
from ats_sync.queries.tickers import DayTicker, DayTickers
from ats_sync.shapes import check_ranking, shape_ticker, shape_top
from ats_sync.venue.endpoints import Request

from ..desk import SYMBOL, Desk
from ..venue import samples
from ..venue.samples import MIDNIGHT

QUIET = "ETHUSDT"
ROWS = {symbol: samples.rest_ticker(symbol, 7) for symbol in (SYMBOL, QUIET)}


def streamed(seconds: int = 12) -> Desk:
    """Return a desk that has seen frames of one symbol since midnight, and an answer that shows the quiet one, too."""
    desk = Desk()
    for second in range(seconds + 1):
        desk.deliver(samples.tickers_frame({SYMBOL: 100 + second}, event=MIDNIGHT + second * 1000))
        desk.store.tickers.take(MIDNIGHT + second * 1000)
        if second == 10:
            desk.merge(Key(Kind.TICKERS), list(ROWS.values()))
        if second < seconds:
            desk.later(1.0)
    return desk


def sent(desk: Desk) -> list[Request[Any]]:
    return [fetch.request for fetch in desk.asked]


def test_a_ticker_that_rests_is_fresh_for_as_long_as_the_stream_lives() -> None:
    desk = streamed()
    assert desk.read(DayTicker(QUIET, None)) == ROWS[QUIET]
    assert desk.read(DayTicker(SYMBOL, None))["lastId"] == 112
    assert [row["symbol"] for row in desk.read(DayTickers(None))] == [SYMBOL, QUIET]
    desk.later(4.9)
    assert desk.read(DayTicker(QUIET, None)) == ROWS[QUIET]
    assert desk.asked == []
    desk.later(0.2)
    desk.answers = [ROWS, RequestTimeout("x"), RequestTimeout("x")]
    assert desk.read(DayTicker(QUIET, None)) == ROWS[QUIET]
    with pytest.raises(StaleDataError, match=QUIET) as caught:
        desk.read(DayTicker(QUIET, None))
    assert caught.value.data == ROWS[QUIET]
    assert caught.value.age == pytest.approx(5.1)
    with pytest.raises(StaleDataError):
        desk.read(DayTickers(None))


def test_what_is_read_belongs_to_the_caller() -> None:
    desk = streamed()
    for query in (DayTicker(QUIET, None), DayTicker(SYMBOL, None)):
        row = desk.read(query)
        before = dict(row)
        row.clear()
        assert desk.read(query) == before
    desk.read(DayTickers(None))[0].clear()
    assert len(desk.read(DayTickers(None))[0]) == 16


def test_before_the_stream_is_complete_an_answer_serves_for_as_long_as_it_is_young() -> None:
    desk = Desk()
    desk.answers = [ROWS]
    desk.read(DayTicker(QUIET, None))
    desk.merge(Key(Kind.TICKERS), list(ROWS.values()))
    desk.deliver(samples.tickers_frame({SYMBOL: 8}))
    desk.later(4.9)
    assert desk.read(DayTicker(QUIET, None)) == ROWS[QUIET]
    desk.deliver(samples.tickers_frame({SYMBOL: 9}, event=MIDNIGHT + 4_900))
    desk.later(0.2)
    desk.answers = [ROWS]
    desk.read(DayTicker(QUIET, None))
    assert [request.weight for request in sent(desk)] == [40, 40]


def test_a_tighter_age_is_kept() -> None:
    desk = streamed()
    desk.later(2.0)
    desk.answers = [ROWS, ROWS]
    assert desk.read(DayTicker(QUIET, 2.5)) == ROWS[QUIET]
    assert desk.asked == []
    desk.read(DayTicker(QUIET, 1.5))
    desk.read(DayTicker(QUIET, 0))
    assert len(desk.asked) == 2


def test_without_streams_one_symbol_is_requested_by_itself() -> None:
    desk = Desk(streams=False)
    desk.answers = [{SYMBOL: ROWS[SYMBOL]}, ROWS]
    assert desk.read(DayTicker(SYMBOL, None)) == ROWS[SYMBOL]
    assert desk.read(DayTickers(None)) == list(ROWS.values())
    assert [request.weight for request in sent(desk)] == [1, 40]


def test_a_symbol_without_a_ticker_is_unknown_and_a_bad_ticker_an_error() -> None:
    desk = streamed()
    desk.answers = [ROWS, {"XRPUSDT": {"symbol": "XRPUSDT", "lastId": 5}}]
    with pytest.raises(InvalidSymbol, match="XRPUSDT"):
        desk.read(DayTicker("XRPUSDT", None))
    with pytest.raises(DataUnavailableError, match="priceChange"):
        desk.read(DayTicker("XRPUSDT", None))


def test_a_streamed_ticker_that_cannot_be_read_is_requested() -> None:
    desk = streamed(11)
    bad = samples.ticker_data(SYMBOL, 200, event=MIDNIGHT + 11_500) | {"c": None}
    desk.deliver(samples.frame("!ticker@arr", [bad]))
    desk.answers = [ROWS]
    assert desk.read(DayTicker(SYMBOL, None)) == ROWS[SYMBOL]


def test_rankings() -> None:
    rows = [
        samples.rest_ticker(symbol, last) | {"quoteVolume": volume, "priceChangePercent": change}
        for symbol, last, volume, change in (("A", 3, "9.5", "-1"), ("C", 5, "10", "2"), ("B", 4, "10", "-3"))
    ]
    assert [row["symbol"] for row in shape_top(rows, 2, "quote_volume")] == ["B", "C"]
    assert [row["symbol"] for row in shape_top(rows, 9, "price_change_percent")] == ["C", "A", "B"]
    assert [row["symbol"] for row in shape_top(rows, 1, "count")] == ["C"]
    assert shape_ticker(rows[0])["priceChangePercent"] == -1.0
    for bad in ("volume", "", None, 5, ["count"]):
        with pytest.raises(InvalidArgument, match="quote_volume"):
            check_ranking(bad)
