from __future__ import annotations

from ats_sync.feeds import Key, Kind
from ats_sync.store.book import BookSeries
from ats_sync.store.depth import DepthSeries
from ats_sync.store.depth_sequencer import DepthSequencer, Diff
from ats_sync.store.klines import KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.listings import ContractBoard
from ats_sync.store.order import MOST_LATE, REORDERED_WITHIN, is_new_count
from ats_sync.store.pending import ANSWERED_WITHIN
from ats_sync.store.series import Change, Origin
from ats_sync.store.tickers import QuoteBoard, TickerBoard
from ats_sync.venue.books import Book

from ..venue import samples
from ..venue.samples import HOUR, MIDNIGHT, MINUTE, compact, frame, kline_frame, row
from .candles import LINK, Truth, series_of

LATER = REORDERED_WITHIN + 1


def book_link(number: int) -> Link:
    return Link(number, "public", 0.0)


def rest_book(update_id: int, event: int) -> Book:
    return Book(update_id, event, event, [("50", "1")], [("51", "1")])


def book_frame(update_id: int, event: int) -> bytes:
    """Return a frame of a state that the engine reached at ``event``."""
    return samples.book_frame(update_id, event=event + 4)


def test_it_is_no_new_count_where_nothing_is_known() -> None:
    assert not is_new_count(MIDNIGHT, 0)
    assert not is_new_count(MIDNIGHT + REORDERED_WITHIN, MIDNIGHT)
    assert is_new_count(MIDNIGHT + LATER, MIDNIGHT)


def test_a_book_whose_update_ids_restart_is_replaced() -> None:
    series = BookSeries("BTCUSDT")
    series.apply(book_frame(9_000, MIDNIGHT), book_link(1))
    series.apply(book_frame(1_000, MIDNIGHT - 500), book_link(2))  # late
    assert series.update_id() == 9_000
    series.apply(book_frame(1_010, MIDNIGHT + LATER + 4), book_link(2))
    book = series.read()
    assert book is not None
    assert book.update_id == 1_010
    assert series.state(0).link is not None
    assert series.state(0).link.number == 2


def test_a_quiet_book_whose_update_ids_restart_is_replaced_by_the_first_frame() -> None:
    """It may be the only one for a long time; late frames show earlier changes."""
    series, link = BookSeries("BTCUSDT"), book_link(1)
    series.apply(book_frame(9_000, MIDNIGHT), link)
    series.apply(book_frame(8_990, MIDNIGHT - 100), link)
    series.apply(book_frame(9_000, MIDNIGHT), link)
    assert series.update_id() == 9_000
    series.apply(book_frame(1_000, MIDNIGHT + 100), link)
    assert series.update_id() == 1_000


def test_a_book_is_replaced_by_an_answer_of_a_later_change_whatever_its_update_id() -> None:
    series = BookSeries("BTCUSDT")
    series.apply(book_frame(9_000, MIDNIGHT), book_link(1))
    series.replace(rest_book(8_000, MIDNIGHT - 5_000), Origin(MIDNIGHT, 20))  # a replica that lags sets nothing back
    series.replace(rest_book(8_000, MIDNIGHT), Origin(MIDNIGHT, 20))  # of the same time: nothing says that it is newer
    assert series.update_id() == 9_000
    series.replace(rest_book(1_000, MIDNIGHT + 5), Origin(MIDNIGHT + 10, 20))
    assert (series.update_id(), series.shown_until(book_link(9))) == (1_000, MIDNIGHT + 5)
    series.replace(rest_book(900, MIDNIGHT + 5), Origin(MIDNIGHT + 20, 20))
    assert series.update_id() == 1_000


def test_no_book_of_an_old_count_comes_back_whatever_its_update_id() -> None:
    """An answer may take seconds, and a frame of another connection may be late."""
    for begins in ("frame", "answer"):
        series, old = BookSeries("BTCUSDT"), book_link(1)
        series.apply(book_frame(9_000, MIDNIGHT), old)
        if begins == "frame":
            series.apply(book_frame(1_000, MIDNIGHT + 500), book_link(2))
        else:
            series.replace(rest_book(1_000, MIDNIGHT + 500), Origin(MIDNIGHT + 500, 20))
        series.replace(rest_book(9_005, MIDNIGHT + 499), Origin(MIDNIGHT + 100, 20))
        series.apply(book_frame(9_006, MIDNIGHT + 499), old)
        assert series.update_id() == 1_000
        series.replace(rest_book(1_001, MIDNIGHT + 500), Origin(MIDNIGHT + 600, 20))
        assert series.update_id() == 1_001
        series.apply(book_frame(9_007, MIDNIGHT + 600 + MOST_LATE), old)
        assert series.update_id() == 9_007, "that was long ago"


def test_a_book_with_a_time_in_the_future_counts_as_of_now() -> None:
    series = BookSeries("BTCUSDT")
    series.apply(book_frame(9_000, MIDNIGHT + 10 * MINUTE), book_link(1))
    series.date_back(MIDNIGHT + 10 * MINUTE)
    assert series.state(0).event == MIDNIGHT + 10 * MINUTE + 4, "clocks differ by a little"
    series.date_back(MIDNIGHT)
    assert series.state(0).event == MIDNIGHT
    series.apply(book_frame(1_000, MIDNIGHT + 1), book_link(1))
    assert series.update_id() == 1_000


def test_a_book_that_was_sent_at_a_future_time_counts_as_of_when_it_changed() -> None:
    """However late it is looked at, what was quoted meanwhile is newer."""
    series = BookSeries("BTCUSDT")
    spoilt = book_frame(9_000, MIDNIGHT).replace(b'"E":1', b'"E":9')
    series.apply(spoilt, book_link(1))
    assert series.state(0).event > MIDNIGHT + 1_000 * HOUR
    series.date_back(MIDNIGHT + MINUTE)
    assert series.state(0).event == MIDNIGHT


def test_a_full_book_that_was_sent_at_a_future_time_counts_as_of_when_it_changed() -> None:
    sequencer, link = DepthSequencer(), book_link(1)
    sent = MIDNIGHT + 1_000 * HOUR
    data = {"e": "depthUpdate", "E": sent, "T": MIDNIGHT, "s": "BTCUSDT", "U": 2, "u": 3, "pu": 1, "b": [], "a": []}
    sequencer.add(Diff(1, 3, sent, frame("btcusdt@depth@100ms", data)), link)
    sequencer.date_back(MIDNIGHT + MINUTE)
    assert sequencer.event == MIDNIGHT


def test_a_full_book_with_a_time_in_the_future_counts_as_of_now() -> None:
    depth, link = DepthSeries("BTCUSDT"), book_link(1)
    depth.replace(rest_book(9_000, MIDNIGHT + 10 * MINUTE), Origin(MIDNIGHT, 1_000, link=link))
    depth.date_back(MIDNIGHT)
    assert depth.state(0).event == MIDNIGHT
    depth.replace(rest_book(1_000, MIDNIGHT + LATER), Origin(MIDNIGHT, 1_000, link=link))
    assert depth.update_id() == 1_000


def test_tickers_with_a_time_in_the_future_are_not_evidence() -> None:
    """Nothing would count as traded since, and later arrays would count as old."""
    board, link = TickerBoard(), book_link(1)
    board.apply(samples.tickers_frame({"BTCUSDT": 7}, event=MIDNIGHT + HOUR), link)
    assert board.take(MIDNIGHT) == []
    assert board.seen == {}
    board.apply(samples.tickers_frame({"BTCUSDT": 8}, event=MIDNIGHT + 1_000), link)
    assert board.take(MIDNIGHT) == [(MIDNIGHT + 1_000, {"BTCUSDT": 8}, True)]
    board.apply(samples.tickers_frame({"BTCUSDT": 9}, event=MIDNIGHT + HOUR), link)
    board.apply(samples.tickers_frame({"BTCUSDT": 10}, event=MIDNIGHT + 2_000), link)
    assert board.take(None) == [], "the time is uncertain, perhaps because of the one in the future"
    assert board.seen["BTCUSDT"] == MIDNIGHT + 1_000
    assert board.take(MIDNIGHT + 5) == [(MIDNIGHT + 2_000, {"BTCUSDT": 10}, True)]


def test_quotes_with_a_time_in_the_future_are_forgotten() -> None:
    board, link = QuoteBoard(), book_link(1)
    board.apply(frame("!bookTicker", samples.quotes_data("BTCUSDT", 9_000, event=MIDNIGHT + HOUR)), link)
    board.forget_to_come("BTCUSDT", MIDNIGHT + HOUR)
    assert board.get("BTCUSDT") is not None
    board.forget_to_come("BTCUSDT", MIDNIGHT)
    assert board.get("BTCUSDT") is None


def test_a_contract_event_with_a_time_in_the_future_counts_as_of_now() -> None:
    board, link = ContractBoard(), book_link(1)
    for status, event in (("SETTLING", MIDNIGHT + HOUR), ("TRADING", MIDNIGHT + 5)):
        board.apply(samples.contract_frame("BTCUSDT", status, event=event), link)
        assert len(board.take(MIDNIGHT)) == 1
    newest = board.get("BTCUSDT")
    assert newest is not None
    assert (newest.status, newest.time) == ("TRADING", MIDNIGHT + 5)


def test_a_contract_event_that_came_while_the_time_was_uncertain_is_dated_once_it_is_certain() -> None:
    """It may be what made the time doubtful; it once stayed newer than every listing."""
    board, link = ContractBoard(), book_link(1)
    board.apply(samples.contract_frame("BTCUSDT", "SETTLING", event=MIDNIGHT + HOUR), link)
    board.apply(samples.contract_frame("ETHUSDT", "SETTLING", event=MIDNIGHT), link)
    assert [event.symbol for event in board.take(None)] == ["BTCUSDT", "ETHUSDT"]
    assert [event.symbol for event in board.take(MIDNIGHT + 9)] == ["BTCUSDT"]
    assert board.take(MIDNIGHT + 10) == []
    newest = board.get("BTCUSDT")
    assert newest is not None
    assert newest.time == MIDNIGHT + 9


def test_a_full_book_whose_update_ids_restart_is_replaced_by_a_snapshot_of_a_later_time() -> None:
    depth, link = DepthSeries("BTCUSDT"), book_link(1)
    depth.replace(rest_book(9_000, MIDNIGHT), Origin(MIDNIGHT, 1_000, link=link))
    depth.go_live(link)
    depth.suspect("lost")
    depth.replace(rest_book(8_000, MIDNIGHT - 5_000), Origin(MIDNIGHT, 1_000, link=book_link(2)))
    assert depth.update_id() == 9_000
    second = book_link(2)
    depth.replace(rest_book(1_000, MIDNIGHT + LATER), Origin(MIDNIGHT, 1_000, link=second))
    depth.go_live(second)
    assert (depth.update_id(), depth.live()) == (1_000, True)


def test_quotes_whose_update_ids_restart_are_replaced() -> None:
    def quotes(update_id: int, event: int) -> bytes:
        data = {"e": "bookTicker", "u": update_id, "s": "BTCUSDT", "b": "1", "B": "2", "a": "3", "A": "4"}
        return samples.frame("!bookTicker", {**data, "T": event, "E": event})

    board = QuoteBoard()
    for update_id, event in ((9_000, MIDNIGHT), (8_990, MIDNIGHT - 300), (1_000, MIDNIGHT + LATER)):
        board.apply(quotes(update_id, event), book_link(1))
        newest = board.get("BTCUSDT")
        assert newest is not None
        assert newest[0] == (1_000 if update_id == 1_000 else 9_000)


def kline(trades: int, event: int) -> bytes:
    return kline_frame(row(MIDNIGHT, length=60 * MINUTE, trades=trades), interval="1h", event=event)


def test_an_open_candle_that_is_recomputed_with_fewer_trades_is_replaced_and_reported() -> None:
    truth = Truth("1h", MIDNIGHT - 120 * MINUTE, [3, 4, 5])
    series = series_of(truth)
    series.replace(truth.texts(MIDNIGHT + 6_000), Origin(MIDNIGHT + 6_000, 499))
    assert series.apply(kline(5_000, MIDNIGHT + 60_000), LINK) is None
    assert series.apply(kline(4_000, MIDNIGHT + 50_000), LINK) is None  # late
    assert series.rows(1, None, exact=True)[0][8] == 5_000
    notice = series.apply(kline(10, MIDNIGHT + 60_000 + LATER), LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    assert series.rows(1, None, exact=True)[0][8] == 10
    late = kline(5_001, MIDNIGHT + 60_001)
    for each in (late, late.replace(b'"k":{', b'"k":{"new":1,')):
        series.apply(each, LINK)
        assert series.rows(1, None, exact=True)[0][8] == 10, "it was under way on another connection"
    series.apply(kline(11, MIDNIGHT + 60_002 + LATER), LINK)
    assert series.rows(1, None, exact=True)[0][8] == 11


def test_two_answers_that_agree_replace_an_open_candle_of_more_trades_and_one_puts_it_in_doubt() -> None:
    truth = Truth("1h", MIDNIGHT - 120 * MINUTE, [3, 4, 5])
    series = series_of(truth)
    series.replace(truth.texts(MIDNIGHT + 6_000), Origin(MIDNIGHT + 6_000, 499))
    series.apply(kline(5_000, MIDNIGHT + 60_000), LINK)
    series.go_live(LINK)
    now = MIDNIGHT + 60_000 + ANSWERED_WITHIN + LATER

    def answer(trades: int, asked: int) -> None:
        text = compact(row(MIDNIGHT, length=60 * MINUTE, trades=trades))[1:-1]
        series.replace([truth.texts(MIDNIGHT + 6_000)[-2], text], Origin(asked, 2))

    answer(60, MIDNIGHT + 61_000)  # may be as new
    assert not series.state(now).doubt
    answer(60, MIDNIGHT + 60_000 + LATER)
    assert series.state(now).doubt
    answer(60, MIDNIGHT + 65_000)  # both may come from a replica that lags
    assert series.state(now).doubt
    answer(61, now + LATER)
    assert not series.state(now).doubt
    assert series.rows(1, None, exact=True)[0][8] == 61


def test_where_nothing_streams_an_answer_of_fewer_trades_that_is_hardly_later_puts_the_candle_in_doubt() -> None:
    """It does not show what was missed, whether it comes from a replica that lags or the candle was recomputed."""
    truth = Truth("1h", MIDNIGHT - 120 * MINUTE, [3, 4, 5])
    series = series_of(truth)
    series.replace(truth.texts(MIDNIGHT + 6_000), Origin(MIDNIGHT + 6_000, 499))
    series.apply(kline(5_000, MIDNIGHT + 60_000), LINK)
    text = compact(row(MIDNIGHT, length=60 * MINUTE, trades=60))[1:-1]
    series.replace([truth.texts(MIDNIGHT + 6_000)[-2], text], Origin(MIDNIGHT + 59_999, 2))
    assert not series.state(MIDNIGHT + 61_000).doubt, "it may have been on its way"
    series.replace([truth.texts(MIDNIGHT + 6_000)[-2], text], Origin(MIDNIGHT + 60_001, 2))
    assert series.state(MIDNIGHT + 61_000).doubt


def test_a_frame_of_fewer_trades_puts_the_candle_in_doubt_at_once_until_another_frame_or_answer() -> None:
    """It may be the last one for a long time. One of two connections may be a little behind, and its clock ahead."""
    truth = Truth("1h", MIDNIGHT - 120 * MINUTE, [3, 4, 5])
    before, now = MIDNIGHT + 60_000, MIDNIGHT + 61_000

    def recomputed() -> KlineSeries:
        series = series_of(truth)
        series.replace(truth.texts(MIDNIGHT + 6_000), Origin(MIDNIGHT + 6_000, 499))
        series.apply(kline(5_000, before), LINK)
        notice = series.apply(kline(10, before + 200), LINK)
        assert notice is not None
        assert notice.change is Change.GAP
        assert series.apply(kline(11, before + 300), LINK) is None
        assert series.state(now).doubt
        return series

    def answer(series: KlineSeries, trades: int, asked: int) -> None:
        text = compact(row(MIDNIGHT, length=60 * MINUTE, trades=trades))[1:-1]
        series.replace([truth.texts(MIDNIGHT + 6_000)[-2], text], Origin(asked, 2))

    series = recomputed()
    answer(series, 5_000, before + 100)  # was under way when it happened
    answer(series, 5_000, before + 300)  # requested a moment later, by a clock that may be ahead
    assert series.state(now).doubt
    answer(series, 11, before + 400)
    assert not series.state(now).doubt
    assert series.rows(1, None, exact=True)[0][8] == 11

    series = recomputed()
    answer(series, 5_000, before + 200 + LATER)
    assert series.state(now).doubt, "a replica may lag"
    answer(series, 5_000, before + 200 + ANSWERED_WITHIN)
    assert not series.state(now).doubt, "REST goes on as before"

    series = recomputed()
    series.apply(kline(5_001, before + 250), LINK)
    assert not series.state(now).doubt, "and so does the stream"

    series = recomputed()
    series.apply(kline(12, before + LATER), LINK)
    assert not series.state(now).doubt
    assert series.rows(1, None, exact=True)[0][8] == 12


def test_an_answer_of_fewer_trades_and_a_later_frame_that_agrees_replace_an_open_candle() -> None:
    truth = Truth("1h", MIDNIGHT - 120 * MINUTE, [3, 4, 5])
    series = series_of(truth)
    series.replace(truth.texts(MIDNIGHT + 6_000), Origin(MIDNIGHT + 6_000, 499))
    asked = MIDNIGHT + 60_000
    for trades, at in ((5_000, asked), (10, asked + LATER)):
        text = compact(row(MIDNIGHT, length=60 * MINUTE, trades=trades))[1:-1]
        series.replace([truth.texts(MIDNIGHT + 6_000)[-2], text], Origin(at, 2))
    assert series.state(asked + LATER).doubt
    assert series.apply(kline(12, asked + LATER + 500), LINK) is not None
    assert not series.state(asked + LATER + 500).doubt
    assert series.rows(1, None, exact=True)[0][8] == 12


def test_a_frame_that_was_under_way_during_a_request_raises_no_doubt() -> None:
    truth = Truth("1h", MIDNIGHT - 120 * MINUTE, [3, 4, 5])
    series = series_of(truth)
    asked = MIDNIGHT + 6_000
    series.replace(
        [*truth.texts(asked)[:-1], compact(row(MIDNIGHT, length=60 * MINUTE, trades=50))[1:-1]], Origin(asked, 9)
    )
    series.apply(kline(48, asked + 100), LINK)
    assert not series.state(asked + 200).doubt
    assert series.doubted_from() == asked + 100 + REORDERED_WITHIN
    series.apply(kline(51, asked + 350), LINK)
    assert series.doubted_from() == 0


def test_the_closed_candles_of_a_contract_that_had_the_name_before_are_forgotten() -> None:
    old, new = Truth("1m", MIDNIGHT, [1] * 20), Truth("1m", MIDNIGHT + 12 * MINUTE, [7] * 12)
    series = series_of(old)
    series.replace(old.texts(old.end), Origin(old.end, 15))
    now = new.end
    series.replace(new.texts(now), Origin(now, 499))
    assert series.rows(100, None, exact=True) == new.rest(now)
    assert series.complete


def test_a_spot_candle_that_is_recomputed_is_replaced_too() -> None:
    truth = Truth("1h", MIDNIGHT - 120 * MINUTE, [3, 4, 5])
    series = KlineSeries("BTCUSDT", "1h", 500, kind=Kind.SPOT_KLINES)
    series.replace(truth.texts(MIDNIGHT + 6_000), Origin(MIDNIGHT + 6_000, 499))
    series.apply(kline(5_000, MIDNIGHT + 60_000), LINK)
    assert series.apply(kline(4_999, MIDNIGHT + 60_000 - 2_000), LINK) is None
    notice = series.apply(kline(10, MIDNIGHT + 60_000 + LATER), LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    assert notice.key == Key(Kind.SPOT_KLINES, "BTCUSDT", "1h")
    assert series.rows(1, None, exact=True)[0][8] == 10
