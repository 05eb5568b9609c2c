from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ats_sync.feeds import Cause, Key, Kind
from ats_sync.store import dump
from ats_sync.store.klines import KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.listings import ListingBoard
from ats_sync.store.pending import OPEN
from ats_sync.store.periods import OpenInterestSeries
from ats_sync.store.series import Origin, Series
from ats_sync.store.trades import LEFT_TO_STREAM_FOR, TradeSeries
from ats_sync.venue.listings import exchange_info
from ats_sync.venue.payload import DecodeError
from ats_sync.venue.trades import rest_trades

from ..venue import samples
from ..venue.samples import HOUR, MIDNIGHT, MINUTE, compact
from .candles import LINK, Truth, asked, warmed

KEY = Key(Kind.KLINES, "BTCUSDT", "1m")
TRUTH = Truth("1m", MIDNIGHT, [3, 1, 0, 2, 4, 2, 1, 3])


def candles() -> KlineSeries:
    return KlineSeries("BTCUSDT", "1m", 500)


def test_what_is_read_is_what_was_written() -> None:
    parts = dump.write(KEY, [b"[]", b"[1]"], rows=1, complete=True)
    found = dump.read(KEY, iter(parts))
    assert found is not None
    assert (found.rows, found.whole("rows"), found.flag("complete")) == ([b"[]", b"[1]"], 1, True)
    assert dump.read(KEY, ()) is None


@pytest.mark.parametrize("name", ["none", "flag", "text", "negative"])
def test_a_fact_of_another_type_is_refused(name: str) -> None:
    found = dump.read(KEY, dump.write(KEY, [], flag=True, text="1", negative=-1, number=1))
    assert found is not None
    with pytest.raises(DecodeError):
        found.whole(name)
    with pytest.raises(DecodeError):
        found.flag("number")
    with pytest.raises(DecodeError):
        found.body()


def test_another_key_is_refused() -> None:
    for other in (KEY._replace(symbol="ETHUSDT"), KEY._replace(interval="5m"), KEY._replace(kind=Kind.SPOT_KLINES)):
        with pytest.raises(DecodeError, match="not of"):
            dump.read(KEY, dump.write(other, [b"[]"]))


def test_a_newer_format_is_refused_and_an_older_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = dump.write(KEY, [b"[]"])
    monkeypatch.setattr(dump, "FORMAT", dump.FORMAT - 1)
    with pytest.raises(DecodeError, match="newer"):
        dump.read(KEY, parts)
    monkeypatch.setattr(dump, "FORMAT", dump.FORMAT + 2)
    assert dump.read(KEY, parts) is not None


def test_parts_that_changed_places_are_refused() -> None:
    head, *rows = dump.write(KEY, [b"[1", b"2]"])
    for wrong in ([head, *reversed(rows)], [head, b"[", b"12]"], [head, b"[12]"]):
        with pytest.raises(DecodeError, match="checksum"):
            dump.read(KEY, wrong)


# --- what a header may not claim ------------------------------------------------------------------


def rewritten(series: Series, **facts: Any) -> list[bytes]:
    """Return the dump of a series with other facts."""
    found = dump.read(series.key, series.dump())
    assert found is not None
    known = {name: value for name, value in found.facts.items() if name not in ("format", "key")}
    return dump.write(series.key, found.rows, **known | facts)


@pytest.mark.parametrize(
    "facts",
    [
        {"rows": 4},
        {"first": MIDNIGHT + 1},
        {"following": MIDNIGHT + 4 * MINUTE},
        {"following": None},
        {"complete": 1},
    ],
)
def test_a_dump_of_candles_that_contradicts_its_header_is_refused(facts: dict[str, Any]) -> None:
    series, other = warmed(TRUTH, 5), candles()
    other.load(rewritten(series))
    assert other.closed_rows() == series.closed_rows()
    other = candles()
    with pytest.raises(DecodeError):
        other.load(rewritten(series, **facts))
    assert (other.closed_rows(), other.following()) == ([], 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[::-1],
        lambda rows: [rows[0], rows[0], *rows[2:]],
        lambda rows: [*rows[:-1], rows[-1][:11]],
        lambda rows: [*rows[:-1], [*rows[-1][:4], "high", *rows[-1][5:]]],
        lambda rows: [*rows[:-1], ["x", *rows[-1][1:]]],
    ],
)
def test_rows_are_checked_as_those_of_rest(change: Callable[[list[Any]], list[Any]]) -> None:
    rows = TRUTH.finals(0, 5)
    facts = {"rows": 5, "first": MIDNIGHT, "following": MIDNIGHT + 5 * MINUTE, "complete": False}
    candles().load(dump.write(KEY, [compact(rows)], **facts))
    series = candles()
    with pytest.raises(DecodeError):
        series.load(dump.write(KEY, [compact(change(rows))], **facts))
    assert series.closed_rows() == []


def test_an_open_candle_is_not_written() -> None:
    series = warmed(TRUTH, 5)
    series.apply(TRUTH.frame(5, 1), LINK)
    other = candles()
    other.load(series.dump())
    assert other.closed_rows() == series.closed_rows()
    assert other.following() == TRUTH.opens[5]
    assert len(other) == len(series) - 1
    assert OPEN not in [candle.rank for candle in other._pending.candles.values()]


def test_after_a_load_candles_make_the_cheapest_request_and_are_live_with_their_first_frame() -> None:
    series = candles()
    series.load(warmed(TRUTH, 5).dump())
    now = asked(TRUTH, 5)
    request = KlineSeries("BTCUSDT", "1m", 500, warm_up=4)
    request.load(warmed(TRUTH, 5).dump())
    assert request.request(asked(TRUTH, 5), Cause.WARM_UP, None) == request.newest_rows(4)
    request.replace(TRUTH.texts(now, 4), Origin(now, 4))
    assert request.request(asked(TRUTH, 5), Cause.REPAIR, None) == request.newest_rows(2)
    assert series.state(now).event == TRUTH.close_time(4)
    series.replace(TRUTH.texts(now, 499), Origin(now, 499))
    assert series.complete
    other = candles()
    other.load(series.dump())
    link = Link(7, "market", 0.0)
    other.subscribed_on(link)
    assert not other.resume(link, now)
    other.apply(TRUTH.frame(5, 1), link)
    assert other.resume(link, now)
    assert other.link is link


def test_what_streamed_before_the_load_is_joined() -> None:
    series = candles()
    series.apply(TRUTH.frame(5, 2, final=True), LINK)
    series.apply(TRUTH.frame(6, 1), LINK)
    series.load(warmed(TRUTH, 5).dump())
    assert series.following() == TRUTH.opens[6]
    assert series.rows(500, None, exact=True) == [*TRUTH.finals(0, 6), TRUTH.row(6, 1)]


def test_a_smaller_series_keeps_the_newest_of_what_it_loads() -> None:
    parts = list(warmed(TRUTH, 5).dump())
    series = KlineSeries("BTCUSDT", "1m", 3)
    series.load(parts)
    assert series.rows(500, None, exact=True) == TRUTH.finals(2, 5)
    assert not series.complete


def trades(*numbers: int) -> TradeSeries:
    series = TradeSeries("BTCUSDT", 100)
    for number in numbers:
        series.apply(samples.trade_frame(number), LINK)
    return series


def test_trades_beyond_a_hole_and_unusable_ones_are_not_written() -> None:
    series = trades(1, 2, 5, 6, 7, 8)
    series.apply(samples.trade_frame(9).replace(b'"p":"7.6110"', b'"p":"x.6110"'), LINK)
    series.apply(samples.trade_frame(10), LINK)
    other = trades()
    other.load(series.dump())
    assert [trade.id for trade in other.read(100)] == [10]
    other = trades()
    other.load(trades(1, 2, 5, 6).dump())
    assert [trade.id for trade in other.read(100)] == [5, 6]
    assert not other.complete
    assert other.state(0).event == MIDNIGHT + 6


def test_complete_trades_are_complete_where_they_fit() -> None:
    series = TradeSeries("BTCUSDT", 100)
    series.replace(rest_trades(compact([samples.rest_trade(i) for i in range(5, 9)])), Origin(MIDNIGHT + 20, 100))
    other, smaller = trades(), TradeSeries("BTCUSDT", 3)
    for each in (other, smaller):
        each.load(series.dump())
    assert (other.complete, smaller.complete) == (True, False)
    assert [trade.id for trade in smaller.read(100)] == [6, 7, 8]


@pytest.mark.parametrize("facts", [{"first": 4}, {"rows": 3}, {"complete": None}])
def test_a_dump_of_trades_that_contradicts_its_header_is_refused(facts: dict[str, Any]) -> None:
    series = trades()
    with pytest.raises(DecodeError):
        series.load(rewritten(trades(5, 6), **facts))
    assert len(series) == 0


def interest(depth: int = 10) -> OpenInterestSeries:
    series = OpenInterestSeries("BTCUSDT", "1h", depth)
    rows = [samples.open_interest_row(MIDNIGHT + hour * HOUR) for hour in range(4)]
    series.replace(rows, Origin(MIDNIGHT + 4 * HOUR, 10))
    return series


@pytest.mark.parametrize(
    "facts", [{"requested_at": [1, 2]}, {"requested_at": None}, {"requested_at": ["1"] * 4}, {"complete": "yes"}]
)
def test_a_dump_of_open_interest_that_contradicts_its_header_is_refused(facts: dict[str, Any]) -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 10)
    with pytest.raises(DecodeError):
        series.load(rewritten(interest(), **facts))
    assert len(series) == 0


def test_a_later_answer_wins_over_loaded_open_interest() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 3)
    series.load(interest().dump())
    assert (len(series), series.complete) == (3, False)
    assert (series.state(0).event, series.state(0).answered) == (MIDNIGHT + 4 * HOUR, 0)
    series.replace([samples.open_interest_row(MIDNIGHT + 3 * HOUR, "1.0")], Origin(MIDNIGHT + 3 * HOUR, 1))
    assert series.read(1)[0]["sumOpenInterest"] == "10659.509"
    series.replace([samples.open_interest_row(MIDNIGHT + 3 * HOUR, "2.0")], Origin(MIDNIGHT + 5 * HOUR, 1))
    assert series.read(1)[0]["sumOpenInterest"] == "2.0"


def test_loaded_listings_change_nothing_until_rest_has_answered() -> None:
    body = compact(samples.exchange_info({"BTCUSDT": "TRADING", "ETHUSDT": "SETTLING"}, onboarded={"BTCUSDT": 5}))
    board, other = ListingBoard(now=lambda: 0.0), ListingBoard(now=lambda: 0.0)
    board.replace(exchange_info(body), Origin(MIDNIGHT))
    other.load(board.dump())
    assert other.get() is None
    assert other.known() == board.get()
    assert (other.state(0).event, other.state(0).answered) == (MIDNIGHT, 0)
    loaded = other.take_loaded()
    assert loaded is not None
    assert loaded == exchange_info(body)
    assert other.take_loaded() is None
    with pytest.raises(DecodeError):
        other.load(dump.write(other.key, [b'{"symbols":[]}'], as_of=MIDNIGHT))


# --- what was loaded is compared with REST --------------------------------------------------------


def loaded(truth: Truth = TRUTH, candles_written: int = 5) -> KlineSeries:
    series = KlineSeries("BTCUSDT", "1m", 500, warm_up=500)
    series.load(warmed(truth, candles_written).dump())
    return series


def test_loaded_candles_are_audited_by_the_first_answer_that_covers_the_newest() -> None:
    series = loaded()
    assert series.unaudited
    now = asked(TRUTH, 7)
    series.replace(TRUTH.texts(now, 2), Origin(now, 2))
    assert series.unaudited, "that begins after the newest loaded candle"
    series.replace(TRUTH.texts(now, 4), Origin(now, 4))
    assert not series.unaudited
    assert series.unsettled(now) == ""
    assert series.closed_rows() == TRUTH.texts(now, 500)[:-1]


def test_no_older_candle_is_kept_where_a_loaded_one_differs() -> None:
    other = Truth("1m", MIDNIGHT, [3, 1, 0, 2, 5, 2, 1, 3])  # it knows another fifth candle
    series = loaded(other)
    now = asked(TRUTH, 5)
    series.replace(TRUTH.texts(now, 3), Origin(now, 3))
    assert series.closed_rows() == TRUTH.texts(now, 3)[:-1]
    assert not series.unaudited
    assert "differs" in series.unsettled(now)
    request = series.request(now, Cause.REPAIR, None)
    assert request == series.newest_rows(500)
    series.replace(TRUTH.texts(now, 500), Origin(now, 500))
    assert series.unsettled(now) == ""
    assert series.closed_rows() == TRUTH.texts(now, 500)[:-1]


def test_loaded_candles_too_old_to_be_joined_need_no_audit() -> None:
    series = KlineSeries("BTCUSDT", "1m", 3)
    series.load(warmed(TRUTH, 2).dump())
    now = asked(TRUTH, 7)
    series.replace(TRUTH.texts(now, 3), Origin(now, 3))
    assert not series.unaudited
    assert series.closed_rows() == TRUTH.texts(now, 3)[:-1]


def test_what_closed_between_the_dump_and_the_load_did_not_close_here() -> None:
    series = loaded()
    assert series.first_to_close() == 0
    now = asked(TRUTH, 7)
    series.replace(TRUTH.texts(now, 100), Origin(now, 100))
    assert series.first_to_close() == TRUTH.opens[7]
    assert series.closed_from(TRUTH.opens[5])[2] is None


@pytest.mark.parametrize("make", [candles, lambda: TradeSeries("BTCUSDT", 100), lambda: interest()])
def test_the_mark_of_a_dump_differs_with_what_it_writes(make: Callable[[], Series]) -> None:
    series = make()
    marks = [series.dump_mark()]
    if isinstance(series, TradeSeries):
        series.apply(samples.trade_frame(1), LINK)
    elif isinstance(series, KlineSeries):
        series.replace(TRUTH.texts(asked(TRUTH, 5), 10), Origin(asked(TRUTH, 5), 10))
    else:
        series.replace([samples.open_interest_row(MIDNIGHT + 3 * HOUR, "2.0")], Origin(MIDNIGHT + 5 * HOUR, 1))
    marks.append(series.dump_mark())
    assert marks[0] != marks[1]
    assert series.dump_mark() == marks[1]


# --- loaded trades --------------------------------------------------------------------------------


def test_loaded_trades_lack_nothing_that_the_stream_may_bring_until_their_patience_ends() -> None:
    series, link = TradeSeries("BTCUSDT", 100), Link(7, "market", 0.0)
    series.load(trades(5, 6).dump())
    series.subscribed_on(link)
    assert series.patience(live_once=False) >= LEFT_TO_STREAM_FOR
    series.apply(samples.trade_frame(9), link)
    assert series.resume(link, MIDNIGHT + 10)
    assert not series.lacks_older()
    assert series.request(MIDNIGHT + 10, Cause.WARM_UP, link) is None
    assert [trade.id for trade in series.read(100)] == [9], "none from before the hole is shown"
    series.end_patience()
    assert series.lacks_older()
    request = series.request(MIDNIGHT + 10, Cause.WARM_UP, link)
    assert request is not None
    assert request.from_id == 7


def test_trades_that_streamed_before_the_load_are_joined_where_they_follow_it() -> None:
    for first, expected in ((7, [5, 6, 7]), (8, [8])):
        series, link = TradeSeries("BTCUSDT", 100), Link(7, "market", 0.0)
        series.expecting = True
        series.subscribed_on(link)
        series.apply(samples.trade_frame(first), link)
        assert series.resume(link, MIDNIGHT + 10), "nothing is requested while more is expected"
        series.load(trades(5, 6).dump())
        series.expecting = False
        assert [trade.id for trade in series.read(100)] == expected


def test_loaded_trades_of_an_old_count_are_not_joined() -> None:
    series = trades(3, 4)
    series.load(trades(100, 101).dump())
    assert [trade.id for trade in series.read(100)] == [3, 4]


def test_a_hole_of_the_stream_itself_or_a_second_subscription_ends_the_patience() -> None:
    for again in (False, True):
        series, link = TradeSeries("BTCUSDT", 100), Link(7, "market", 0.0)
        series.load(trades(5, 6).dump())
        series.subscribed_on(link)
        series.apply(samples.trade_frame(9), link)
        if again:
            series.subscribed_on(Link(8, "market", 0.0))
        else:
            series.apply(samples.trade_frame(12), link)
        assert series.lacks_older()


def test_an_answer_ends_the_patience() -> None:
    series = TradeSeries("BTCUSDT", 100)
    series.load(trades(5, 6).dump())
    series.replace(rest_trades(compact([samples.rest_trade(9)])), Origin(MIDNIGHT + 20, 100, from_id=9))
    assert series.patience(live_once=False) < LEFT_TO_STREAM_FOR
    series.leave_to_stream()
    assert series.patience(live_once=False) < LEFT_TO_STREAM_FOR
