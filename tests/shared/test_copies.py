"""What is written of a series and read by another process shows what the series itself shows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ats_sync import Config
from ats_sync.errors import MalformedAnswer
from ats_sync.feeds import Key, Kind
from ats_sync.shared.copies import LINKS_EVERY, LOOK_EVERY, ROUND, Changes, Copies
from ats_sync.shared.layout import (
    field_of,
    head_in,
    numbers_in,
    part_of,
)
from ats_sync.store.book import BookSeries
from ats_sync.store.klines import KlineSeries
from ats_sync.store.market import MarketStore
from ats_sync.store.series import Board, Copied, Series
from ats_sync.store.tickers import TickerReplica
from ats_sync.store.trades import TradeSeries
from ats_sync.venue.payload import DecodeError

from ..store import exchanges
from ..store.contract import LINK, OTHER, deliver, deliveries, few, latest
from ..venue import samples
from .written import Written, heads_of

COPIED = (
    exchanges.Candles,
    exchanges.SpotCandles,
    exchanges.Trades,
    exchanges.Books,
    exchanges.OpenInterests,
    exchanges.Ratios,
    exchanges.Marks,
    exchanges.SpotPrices,
    exchanges.Quotes,
    exchanges.Contracts,
    exchanges.Listings,
    exchanges.Liquidations,
)


def copies_of(series: Series) -> Copies:
    """Return the copies of a store that has one series; enough time passes that boards are always copied."""
    boards = {series.key: series} if isinstance(series, Board) else {}
    store: Any = SimpleNamespace(series={series.key: series}, boards=boards)
    moments = itertools.count()
    return Copies(store, lambda: float(next(moments)))


def touch(copies: Copies, series: Series) -> None:
    """Note, as the market store does, that a frame of this series was merged."""
    touched: set[Any] = copies._touched
    touched.add(series.apply)


@pytest.mark.parametrize("kind", COPIED, ids=lambda kind: kind.__name__)
@few
@given(data=st.data())
def test_a_copy_shows_what_the_original_shows(kind: Any, data: st.DataObject) -> None:
    exchange = kind(data.draw)
    series = exchange.series()
    copy = exchange.series()
    written, copies = Written.of(copy), copies_of(series)
    links = {link.number: link for link in (LINK, OTHER)}
    events = deliveries(data.draw, exchange) + list(latest(exchange))
    for event in events:
        try:
            deliver(series, event)
        except (DecodeError, MalformedAnswer):
            continue
        series.answers += not hasattr(event, "text")
        if hasattr(event, "text"):
            touch(copies, series)
        if data.draw(st.booleans()):
            continue  # several at once
        written.write_all(copies)
        written.read(links)
        assert exchange.shown(copy) == exchange.shown(series)
        assert copy.state(exchange.now) == series.state(exchange.now)
        head = head_in(written.heads[field_of(series.key)])
        shown = Copied(None, head.suspected, head.facts, head.texts)
        assert MarketStore(Config(), lambda: 0.0).event_in(series.key, shown) == series.state(exchange.now).event
    written.write_all(copies)
    written.read(links)
    assert exchange.shown(copy) == exchange.shown(series)
    assert (copies.heads, copies.parts) == (len(written.heads), len(written.parts))


@pytest.mark.parametrize(
    "kind",
    [exchanges.Candles, exchanges.Trades, exchanges.OpenInterests],
    ids=lambda kind: kind.__name__,
)
@few
@given(data=st.data())
def test_what_is_loaded_is_written_with_the_next_look(kind: Any, data: st.DataObject) -> None:
    exchange = kind(data.draw)
    before, series, copy = exchange.series(), exchange.series(), exchange.series()
    for event in latest(exchange):
        deliver(before, event)
    written, copies = Written.of(copy), copies_of(series)
    written.write_all(copies)
    written.read({})
    series.load(before.dump())
    written.write_all(copies)
    written.read({})
    assert exchange.shown(copy) == exchange.shown(series)


def test_only_what_is_new_of_many_trades_is_written() -> None:
    series = TradeSeries("BTCUSDT", 1000)
    copies = copies_of(series)
    for number in range(1, 1001):
        series.apply(samples.trade_frame(number), LINK)
    first = copies.changes()
    assert len(first.parts) == 2 * 15
    series.apply(samples.trade_frame(1001), LINK)
    touch(copies, series)
    second = copies.changes()
    assert len(second.ends) == 1
    assert second.parts == []
    for number in range(1002, 1200):
        series.apply(samples.trade_frame(number), LINK)
    touch(copies, series)
    third = copies.changes()
    assert len(third.parts) == 2 * 3
    assert len(third.gone_parts) == 3
    assert copies.parts == 15


class _Bodies(TradeSeries):
    """A series whose parts the test sets."""

    body: tuple[bytes, ...] = ()

    def copied(self, known: object) -> Copied:
        return Copied(None, "", [], [], list(self.body), object())


def test_parts_that_are_one_object_are_written_and_removed_separately() -> None:
    series = _Bodies("BTCUSDT", 10)
    copies = copies_of(series)
    written = Written.of(series)
    for body in ((b"", b""), (b"", b"a", b""), (b"",), (b"", b"", b""), (b"a", b""), ()):
        series.body = body
        series.answers += 1
        written.write_all(copies)
        (head,) = map(head_in, written.heads.values())
        assert tuple(written.parts[part_of(field_of(series.key), number)] for number in numbers_in(head.parts)) == body
        assert copies.parts == len(written.parts) == len(body)


def test_what_is_no_longer_followed_is_removed_and_what_has_not_changed_is_not_written() -> None:
    first, second = TradeSeries("BTCUSDT", 100), TradeSeries("ETHUSDT", 100)
    store = SimpleNamespace(series={first.key: first, second.key: second}, boards={})
    copies = Copies(store, itertools.count().__next__)  # type: ignore[arg-type]
    for number in range(1, 100):
        first.apply(samples.trade_frame(number), LINK)
    assert len(copies.changes().ends) == 2
    for _ in range(ROUND + 10):
        assert copies.changes() == Changes([], [], [], [], [], [])
    store.series = {second.key: second}
    gone = copies.changes()
    assert gone.gone_heads == [field_of(first.key)]
    assert len(gone.gone_parts) == 1
    assert (copies.heads, copies.parts) == (1, 0)


def test_a_suspicion_is_written_though_no_frame_has_come() -> None:
    series = TradeSeries("BTCUSDT", 100)
    series.go_live(LINK)
    copies = copies_of(series)
    (head,) = heads_of(copies.changes()).values()
    assert head_in(head).link == LINK.number
    series.suspect("it is silent")
    (head,) = (head for _ in range(LINKS_EVERY) for head in heads_of(copies.changes()).values())
    assert head_in(head)[1:3] == (None, "it is silent")


def test_every_frame_that_the_market_store_merges_is_noted_in_the_same_turn() -> None:
    store = MarketStore(Config(), lambda: 0.0, lambda: samples.MIDNIGHT)
    key = Key(Kind.TRADES, "BTCUSDT")
    store.follow([key])
    copies = Copies(store, itertools.count().__next__)
    copies.changes()
    for number in range(1, 2 * LOOK_EVERY):
        store.ingest([samples.trade_frame(number)], LINK)
        assert field_of(key) in heads_of(copies.changes())
    for number in range(2 * LOOK_EVERY, 3 * LOOK_EVERY):
        spaced = samples.trade_frame(number).replace(b":", b": ", 1)
        store.ingest([spaced], LINK)
        assert field_of(key) in heads_of(copies.changes())


def test_a_change_that_no_count_shows_is_written_within_a_round() -> None:
    series = TradeSeries("BTCUSDT", 100)
    copies = copies_of(series)
    copies.changes()
    series.counted_since = 7
    assert any(copies.changes().heads for _ in range(ROUND))


def _candle_frame(number: int) -> bytes:
    return samples.kline_frame(samples.row(samples.MIDNIGHT, trades=number), event=samples.MIDNIGHT + number)


@pytest.mark.parametrize(
    ("made", "frame"),
    [(lambda: KlineSeries("BTCUSDT", "1m", 100), _candle_frame), (lambda: BookSeries("BTCUSDT"), samples.book_frame)],
    ids=["candles", "book"],
)
def test_where_the_frame_says_everything_it_is_written_and_nothing_is_copied(
    made: Callable[[], Series], frame: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    series, other = made(), made()
    series.apply(frame(1), LINK)
    series.go_live(LINK)
    copies, written = copies_of(series), Written.of(other)
    written.write(copies.changes())
    with monkeypatch.context() as patch:
        patch.setattr(series, "copied", lambda mark: pytest.fail("it was copied"))
        for number in (2, 3):
            series.apply(frame(number), LINK)
            touch(copies, series)
            changes = copies.changes()
            assert len(changes.ends) == 1
            written.write(changes)
            written.read({LINK.number: LINK})
            assert other.state(0) == series.state(0)
    series.suspect("it is silent")
    written.write_all(copies)
    written.read({})
    assert other.suspected == "it is silent"
    assert other.link is None


def test_a_book_that_was_dated_back_is_not_written_as_its_frame() -> None:
    series, other = BookSeries("BTCUSDT"), BookSeries("BTCUSDT")
    series.apply(samples.book_frame(1), LINK)
    copies, written = copies_of(series), Written.of(other)
    written.write(copies.changes())
    written.read({LINK.number: LINK})
    event = series.state(0).event
    series.date_back(event - 1_000_000)
    assert series.state(0).event == event - 1_000_000
    written.write_all(copies)
    written.read({LINK.number: LINK})
    assert other.state(0) == series.state(0)


@pytest.mark.parametrize(("before", "after"), [(5, 5), (5, 2), (2, 5), (200, 200), (200, 70)])
def test_trades_of_another_contract_are_not_taken_for_earlier_ones_with_the_same_ids(before: int, after: int) -> None:
    old, new, copy = (TradeSeries("BTCUSDT", 500) for _ in range(3))
    for series, count, price in ((old, before, "7.6110"), (new, after, "0.0123")):
        series.go_live(LINK)
        for number in range(1, count + 1):
            series.apply(samples.trade_frame(number, price=price), LINK)
    copies, written = copies_of(old), Written.of(copy)
    for series in (old, new):
        copies._store.series = {series.key: series}  # type: ignore[misc]
        written.write_all(copies)
        written.read({LINK.number: LINK})
        assert copy.read(500) == series.read(500)
        assert copy.columns(500).prices == series.columns(500).prices


@few
@given(data=st.data())
def test_tickers_are_copied_one_by_one_and_dated_by_the_frames_that_had_come(data: st.DataObject) -> None:
    exchange = exchanges.Tickers(data.draw)
    board, replica = exchange.series(), TickerReplica()
    written = Written.of(replica)
    copies = copies_of(board)
    for event in deliveries(data.draw, exchange) + list(latest(exchange)):
        deliver(board, event)
        board.answers += not hasattr(event, "text")
        written.write_all(copies)
        written.read({})
        for symbol in exchanges.SYMBOLS:
            assert replica.look(symbol) == board.look(symbol)
        assert replica.look_at_all()[1] == board.look_at_all()[1]
        assert replica.look_at_all()[0].event <= max(board.look_at_all()[0].event, 0)
