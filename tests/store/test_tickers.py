from __future__ import annotations

import pytest

from ats_sync.store.link import Link
from ats_sync.store.series import Asked
from ats_sync.store.tickers import MOST_PENDING, QuoteBoard, TickerBoard
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.samples import MIDNIGHT, frame

LINK = Link(1, "market", 0.0)


def test_tickers_are_taken_once_in_order_of_their_time() -> None:
    board = TickerBoard()
    board.apply(samples.tickers_frame({"A": 7}, event=MIDNIGHT + 2), LINK)
    board.replace({"A": 5, "B": 1}, Asked(MIDNIGHT + 1))
    assert board.take(None) == [(MIDNIGHT + 1, {"A": 5, "B": 1}), (MIDNIGHT + 2, {"A": 7})]
    assert board.take(None) == []
    assert board.event == MIDNIGHT + 2
    assert board.listed == {"A", "B"}


def test_tickers_nobody_takes_do_not_grow() -> None:
    board = TickerBoard()
    for second in range(100):
        board.apply(samples.tickers_frame({"A": second}, event=MIDNIGHT + second), LINK)
        board.replace({"A": second}, Asked(MIDNIGHT + second))
    assert len(board.take(None)) <= 2 * MOST_PENDING


def test_unusable_tickers_are_no_evidence() -> None:
    board = TickerBoard()
    board.apply(frame("!ticker@arr", {"E": MIDNIGHT, "s": "A"}), LINK)
    board.apply(frame("!ticker@arr", [samples.ticker_data("A", 5), {"s": "B", "L": "x"}, None]), LINK)
    assert board.take(None) == [(MIDNIGHT, {"A": 5})]
    with pytest.raises(DecodeError):
        board.apply(frame("!ticker@arr", []), LINK)


def test_the_newest_quotes_of_each_symbol_are_kept() -> None:
    board = QuoteBoard()
    board.apply(samples.quotes_frame("A", 7, event=MIDNIGHT + 7), LINK)
    board.apply(samples.quotes_frame("A", 6, event=MIDNIGHT + 6), LINK)
    board.apply(samples.quotes_frame("币安人生USDT", 3), LINK)
    assert board.get("A") == (7, samples.quotes_frame("A", 7, event=MIDNIGHT + 7))
    newest = board.get("币安人生USDT")
    assert newest is not None
    assert newest[0] == 3
    assert board.get("B") is None
    assert board.event == MIDNIGHT + 7
