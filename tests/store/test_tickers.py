from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ats_sync.store import tickers
from ats_sync.store.link import Link
from ats_sync.store.order import LAGS_AT_MOST
from ats_sync.store.series import Change, Origin, StoreEvent
from ats_sync.store.tickers import MOST_PENDING, MOST_SIGHTINGS, QuoteBoard, TickerBoard
from ats_sync.venue.payload import DecodeError
from ats_sync.venue.tickers import TickerRow, last_trade

from ..venue import samples
from ..venue.samples import DAY, MIDNIGHT, frame

LINK = Link(1, "market", 0.0)
SECOND = 1_000


def answer(*, close: str = "7.6110", **last_trades: int) -> dict[str, TickerRow]:
    return {symbol: samples.rest_ticker(symbol, last) | {"lastPrice": close} for symbol, last in last_trades.items()}


def tick(board: TickerBoard, second: float, link: Link = LINK, **last_trades: int) -> StoreEvent | None:
    return board.apply(samples.tickers_frame(last_trades, event=MIDNIGHT + int(second * SECOND)), link)


def as_of(board: TickerBoard, symbol: str) -> float:
    """Seconds."""
    return (board.look(symbol)[0].event - MIDNIGHT) / SECOND if board.look(symbol)[1] is not None else -1


def completed(*, until: int = 12) -> TickerBoard:
    """Return a board with frames of A since second 0, and an answer that surely shows what rested before them."""
    board = TickerBoard()
    for second in range(until + 1):
        tick(board, second, A=100 + second)
        board.take(MIDNIGHT + DAY)
    board.replace(answer(A=100, B=7), Origin(MIDNIGHT + 10 * SECOND))
    return board


def test_a_resting_ticker_is_as_new_as_the_stream_once_rest_has_shown_it() -> None:
    board = TickerBoard()
    assert as_of(board, "B") == -1
    assert tick(board, 0, A=100) == StoreEvent(Change.GAP, board.key)
    assert tick(board, 1, A=101) is None
    board.replace(answer(A=100, B=7), Origin(MIDNIGHT + 9 * SECOND))
    for second in range(2, 12):
        tick(board, second, A=100 + second)
        board.take(MIDNIGHT + DAY)
    assert (as_of(board, "A"), as_of(board, "B")) == (11, 9), "a replica may have been behind the first frame"
    assert board.unsettled(MIDNIGHT + 11 * SECOND)
    assert board.answerable_from(MIDNIGHT) == MIDNIGHT + 10 * SECOND
    board.replace(answer(A=100, B=7), Origin(MIDNIGHT + 10 * SECOND))
    assert (as_of(board, "A"), as_of(board, "B")) == (11, 11)
    assert not board.unsettled(MIDNIGHT + 11 * SECOND)
    assert board.look("A")[1] == samples.ticker_data("A", 111, event=MIDNIGHT + 11 * SECOND)
    state, rows = board.look_at_all()
    assert (state.event, len(rows)) == (MIDNIGHT + 11 * SECOND, 2)


def break_by_a_new_connection(board: TickerBoard) -> None:
    LATER.up, LINK.up = True, False
    try:
        tick(board, 13, LATER, A=200)
    finally:
        LINK.up = True


def break_by_too_many_unread(board: TickerBoard) -> None:
    for second in range(13, 14 + MOST_PENDING):
        tick(board, second, A=200 + second)


def break_by_an_unusable_frame(board: TickerBoard) -> None:
    board.apply(frame("!ticker@arr", {"E": MIDNIGHT + 13 * SECOND, "s": "A"}), LINK)


LATER = Link(2, "market", 0.0)
BREAKS = [
    break_by_a_new_connection,
    break_by_too_many_unread,
    break_by_an_unusable_frame,
    lambda board: tick(board, 15.1, A=200),
]


@pytest.mark.parametrize("interrupt", BREAKS)
def test_where_a_frame_is_missing_a_resting_ticker_is_as_old_as_its_answer(interrupt: Any) -> None:
    board = completed()
    assert as_of(board, "B") == 12
    interrupt(board)
    assert as_of(board, "B") == 10
    board.replace(answer(A=400, B=7), Origin(MIDNIGHT + 40 * SECOND))
    tick(board, 24, LATER, A=401)
    assert as_of(board, "B") == 40


def test_a_connection_that_takes_over_while_the_other_delivers_leaves_no_gap() -> None:
    board = completed()
    assert tick(board, 13, LATER, A=113) is None
    tick(board, 13, A=113)
    tick(board, 14, LATER, A=114)
    assert as_of(board, "B") == 14


def test_a_time_in_the_future_is_forgotten_and_rest_completes_the_stream_again() -> None:
    board = completed()
    tick(board, 10_000, A=900)
    board.forget_ahead(MIDNIGHT + 15 * SECOND)
    assert (as_of(board, "A"), as_of(board, "B")) == (-1, 10)
    tick(board, 16, A=116)
    assert (as_of(board, "A"), as_of(board, "B")) == (16, 10)
    for second in range(17, 32):
        tick(board, second, A=100 + second)
        board.take(MIDNIGHT + DAY)
    board.replace(answer(A=130, B=7), Origin(MIDNIGHT + 30 * SECOND))
    assert (as_of(board, "A"), as_of(board, "B")) == (31, 31)


def test_the_later_trade_wins_and_so_does_the_later_window() -> None:
    steps: list[Callable[[TickerBoard], object]] = [
        lambda board: tick(board, 0, A=5),
        lambda board: tick(board, 1, A=6),
        lambda board: tick(board, 2, A=6),
        lambda board: board.replace(answer(A=4), Origin(MIDNIGHT + 3 * SECOND)),
    ]
    for order in itertools.permutations(steps):
        board = TickerBoard()
        for step in (*order, order[0]):
            step(board)
        assert board.look("A")[1] == samples.ticker_data("A", 6, event=MIDNIGHT + 2 * SECOND)


def test_trades_of_a_new_count_begin_a_new_ticker() -> None:
    board = completed()
    tick(board, 14, A=1)
    row = board.look("A")[1]
    assert row is not None
    assert row["L"] == 1


def test_what_the_newest_answer_lacks_is_removed() -> None:
    board = completed()
    board.replace(answer(A=140), Origin(MIDNIGHT + 40 * SECOND))
    assert board.look("B")[1] is None
    board.forget("A")
    assert board.look("A")[1] is None


def test_readers_see_what_another_thread_is_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    board, decoding, go_on = completed(), threading.Event(), threading.Event()
    real = tickers.stream_tickers

    def slow(frame: bytes) -> Any:
        decoding.set()
        assert go_on.wait(5)
        return real(frame)

    board.take(MIDNIGHT + DAY)
    monkeypatch.setattr(tickers, "stream_tickers", slow)
    tick(board, 13, A=113)
    other = threading.Thread(target=board.take, args=(None,))
    other.start()
    assert decoding.wait(5)
    timer = threading.Timer(0.05, go_on.set)
    timer.start()
    assert board.look("A")[1] == samples.ticker_data("A", 113, event=MIDNIGHT + 13 * SECOND)
    other.join()
    timer.join()


def test_a_glance_does_not_decode_the_newest_frame() -> None:
    def glance() -> list[tuple[float, int] | None]:
        found = board.look_at(["A", "B", "C"])
        return [None if one is None else ((one[0] - MIDNIGHT) / SECOND, last_trade(one[1])) for one in found]

    board = completed()
    assert glance() == [(12, 112), (12, 7), None]
    tick(board, 13, A=113)
    assert glance() == [(12, 112), (12, 7), None], "it is as old as what it shows"
    tick(board, 14, B=8)
    assert glance() == [(14, 113), (14, 8), None], "nobody else has decoded for a while"
    assert as_of(board, "B") == 14
    tick(board, 20, A=120)
    board.take(MIDNIGHT + DAY)
    assert glance() == [(20, 120), (14, 8), None], "a frame is missing, so what rests is not known to be the newest"


def test_tickers_are_taken_once_in_the_order_of_their_times() -> None:
    board = TickerBoard()
    board.apply(samples.tickers_frame({"A": 7}, event=MIDNIGHT + 2), LINK)
    board.replace(answer(A=5, B=1), Origin(MIDNIGHT + 1 + LAGS_AT_MOST))
    assert board.take(MIDNIGHT + DAY) == [(MIDNIGHT + 1, {"A": 5, "B": 1}, False), (MIDNIGHT + 2, {"A": 7}, True)]
    assert board.take(MIDNIGHT + DAY) == []
    assert board.event == MIDNIGHT + 2
    assert board.listed == {"A", "B"}


def test_tickers_nobody_takes_do_not_grow() -> None:
    board = TickerBoard()
    for second in range(100):
        board.apply(samples.tickers_frame({"A": second}, event=MIDNIGHT + second), LINK)
        board.replace(answer(A=second), Origin(MIDNIGHT + second))
    assert len(board.take(MIDNIGHT + DAY)) <= MOST_SIGHTINGS


def test_unusable_tickers_are_not_evidence() -> None:
    board = TickerBoard()
    board.apply(frame("!ticker@arr", {"E": MIDNIGHT, "s": "A"}), LINK)
    board.apply(frame("!ticker@arr", [samples.ticker_data("A", 5), {"s": "B", "L": "x"}, None]), LINK)
    assert board.take(MIDNIGHT + DAY) == [(MIDNIGHT, {"A": 5}, True)]
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


def test_a_late_array_makes_nothing_look_like_a_new_trade() -> None:
    board = TickerBoard()
    for second, last in ((0, 5), (1, 6), (0, 5), (2, 6)):
        board.apply(samples.tickers_frame({"A": last}, event=MIDNIGHT + 1_000 * second), LINK)
        board.take(MIDNIGHT + DAY)
    assert board.traded["A"] == MIDNIGHT
    assert board.seen["A"] == MIDNIGHT + 2_000
