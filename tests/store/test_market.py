from __future__ import annotations

from pathlib import Path

import pytest

from ats_sync.config import Config
from ats_sync.errors import MalformedAnswer
from ats_sync.feeds import FEEDS, Key, Kind
from ats_sync.store.klines import KlineSeries
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.periods import OpenInterestSeries
from ats_sync.store.series import Change, Copied, Origin, StoreEvent
from ats_sync.venue import endpoints

from ..venue import recording as real
from ..venue import samples
from ..venue.samples import DAY, HOUR, MIDNIGHT, MINUTE
from .markets import CHINESE, SYMBOL, market, store_of


def test_each_frame_reaches_its_series() -> None:
    store, link = store_of(SYMBOL, CHINESE), market()
    frames = [
        samples.kline_frame(samples.row(MIDNIGHT), symbol=CHINESE),
        samples.trade_frame(5),
        samples.trade_frame(6),
        samples.book_frame(7),
        samples.marks_frame([SYMBOL, CHINESE]),
        samples.liquidation_frame(SYMBOL),
        samples.tickers_frame({SYMBOL: 9}),
        samples.quotes_frame(SYMBOL, 8),
    ]
    # What rested before the first frame of tickers is to be requested.
    assert store.ingest(frames, link) == ([StoreEvent(Change.GAP, Key(Kind.TICKERS))], [])
    assert store.dropped() == {}
    assert link.frames == len(frames)
    assert store.klines(CHINESE, "1m").received == 1
    assert store.klines(SYMBOL, "1m").received == 0
    assert [trade.id for trade in store.trades(SYMBOL).read(5)] == [5, 6]
    assert store.book(SYMBOL).update_id() == 7
    assert store.marks.get(CHINESE) is not None
    assert len(store.liquidations.read(SYMBOL, 5)) == 1
    assert store.tickers.take(MIDNIGHT + DAY) == [(MIDNIGHT, {SYMBOL: 9}, True)]
    assert store.quotes.get(SYMBOL) is not None


def test_gaps_and_closed_candles_are_reported_in_order() -> None:
    store, link = store_of(), market()
    texts = [samples.row_text(samples.row(MIDNIGHT - MINUTE)), samples.row_text(samples.row(MIDNIGHT, trades=0))]
    store.klines(SYMBOL, "1m").replace(texts, Origin(MIDNIGHT + 6_000, 2))
    notices, _ = store.ingest(
        [
            samples.kline_frame(samples.row(MIDNIGHT)),
            samples.kline_frame(samples.row(MIDNIGHT), final=True),
            samples.trade_frame(1),
            samples.trade_frame(3),
        ],
        link,
    )
    assert [(notice.change, notice.key) for notice in notices] == [
        (Change.CLOSED, Key(Kind.KLINES, SYMBOL, "1m")),
        (Change.GAP, Key(Kind.TRADES, SYMBOL)),
    ]


def test_what_serves_all_symbols_is_a_board() -> None:
    store = store_of()
    assert set(store.boards) == {Key(kind) for kind, feed in FEEDS.items() if feed.shared}
    assert all(store.get(key) is board for key, board in store.boards.items())


def test_only_candles_are_found_by_their_key() -> None:
    store = store_of()
    candles, spot = Key(Kind.KLINES, SYMBOL, "1m"), Key(Kind.SPOT_KLINES, SYMBOL, "1h")
    store.follow([spot])
    assert store.candles(candles) is store.klines(SYMBOL, "1m") is not None
    assert store.candles(spot) is store.spot_klines(SYMBOL, "1h") is not None
    others = [key for key in store.series if key not in (spot, *(each.key for each in store.of(KlineSeries)))]
    assert {Kind.TRADES, Kind.BOOK, Kind.OPEN_INTEREST, Kind.MARK} <= {key.kind for key in others}
    assert [key for key in others if store.candles(key) is not None] == []


def test_a_trade_of_the_contract_that_had_the_name_does_not_count_for_the_new_one() -> None:
    """The array of tickers that shows it is only looked at once the name belongs to the new contract."""
    store, link, key = store_of(), market(), Key(Kind.KLINES, SYMBOL, "1m")
    info = samples.compact(samples.exchange_info({SYMBOL: "TRADING"}, onboarded={SYMBOL: MIDNIGHT}))
    store.merge(Key(Kind.LISTINGS), endpoints.exchange_info(), info, MIDNIGHT, None)
    request = endpoints.klines(SYMBOL, "1m", 60)
    store.ingest([samples.tickers_frame({SYMBOL: 9}, event=MIDNIGHT)], link)
    store.tickers.take(MIDNIGHT + DAY)
    assert store.merge(key, request, b"[]", MIDNIGHT + 500, None) == []
    store.ingest([samples.tickers_frame({SYMBOL: 10}, event=MIDNIGHT + 1_000)], link)
    store.renew([key], MIDNIGHT + 1_500)
    store.tickers.take(MIDNIGHT + DAY)
    assert store.merge(key, request, b"[]", MIDNIGHT + 2_000, None) == []
    for trade in (11, 12):
        store.ingest([samples.tickers_frame({SYMBOL: trade}, event=MIDNIGHT + trade * 1_000)], link)
    store.tickers.take(MIDNIGHT + DAY)
    with pytest.raises(MalformedAnswer, match="no rows"):
        store.merge(key, request, b"[]", MIDNIGHT + 13_000, None)


def test_what_began_again_while_the_clock_was_ahead_takes_answers_once_the_time_is_known() -> None:
    store, key = store_of(), Key(Kind.KLINES, SYMBOL, "1m")
    store.follow([key])
    request = endpoints.klines(SYMBOL, "1m", 60)
    body = samples.compact([samples.row(MIDNIGHT)])

    def counts(at: int) -> bool:
        before = store.series[key].answers
        store.merge(key, request, body, at, None)
        return store.series[key].answers > before

    store.renew([key], MIDNIGHT + 600_000)
    assert not counts(MIDNIGHT + 5_000)
    store.date_back(MIDNIGHT + 6_000)
    assert not counts(MIDNIGHT + 5_000), "requested before the time was known"
    assert counts(MIDNIGHT + 6_000)
    assert store.renewed == {SYMBOL: MIDNIGHT + 6_000}
    store.date_back(MIDNIGHT + 7_000)
    assert store.renewed == {SYMBOL: MIDNIGHT + 6_000}, "it is not to come"


def test_following_twice_begins_only_what_is_new() -> None:
    store = store_of(SYMBOL)
    series = store.klines(SYMBOL, "1m")
    added = store.follow(keys_of((SYMBOL, "ETHUSDT"), ("1m", "1h"), ("1h",)))
    assert store.klines(SYMBOL, "1m") is series
    assert set(added) == {
        Key(Kind.KLINES, SYMBOL, "1h"),
        Key(Kind.KLINES, "ETHUSDT", "1m"),
        Key(Kind.KLINES, "ETHUSDT", "1h"),
        Key(Kind.BOOK, "ETHUSDT"),
        Key(Kind.TRADES, "ETHUSDT"),
        Key(Kind.OPEN_INTEREST, "ETHUSDT", "1h"),
    }
    assert store.symbols == {SYMBOL, "ETHUSDT"}


def test_every_frame_of_the_recording_is_used(recording: Path) -> None:
    symbols = ("SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT")
    store, link = store_of(*symbols), market()
    frames = real.frames(recording)
    assert len(frames) == 1_535
    notices, replies = store.ingest(frames, link)
    assert (notices, replies, link.frames) == ([], [], 1_535)
    assert store.dropped() == {"a stream that is not followed": 764 + 613}
    assert sum(len(store.trades(symbol)) for symbol in symbols) == 91
    for symbol in symbols:
        assert store.trades(symbol).hole() is None
    assert sum(store.klines(symbol, "1m").received for symbol in symbols) == 67


# --- what another process was answered ----------------------------------------------------------------

INTEREST = Key(Kind.OPEN_INTEREST, SYMBOL, "1h")
LISTED = MIDNIGHT - 100 * DAY
NOW = MIDNIGHT + 3 * HOUR
REQUEST = endpoints.open_interest_hist(SYMBOL, "1h", 2)


class Follower:
    """A store at :data:`NOW` that knows which contract has the name."""

    def __init__(self, listed: int = LISTED) -> None:
        self.store = MarketStore(Config(), lambda: 0.0, lambda: NOW)
        self.store.follow([INTEREST])
        info = samples.exchange_info({SYMBOL: "TRADING"}, onboarded={SYMBOL: listed} if listed else None)
        self.store.merge(Key(Kind.LISTINGS), endpoints.exchange_info(), samples.compact(info), NOW, None)

    @property
    def series(self) -> OpenInterestSeries:
        found = self.store.open_interest(SYMBOL, "1h")
        assert found is not None
        return found

    def takes(self, copied: Copied, since: int = 0) -> bool:
        """Whether it takes something, which it then has as a process that was answered so has it."""
        before = self.series.answers, self.series.state(0)
        answer = self.store.merge_copied(INTEREST, REQUEST, copied, since)
        if answer is None:
            assert before == (self.series.answers, self.series.state(0))
            return False
        direct = Follower()
        at = copied.facts[0]
        assert direct.store.merge(INTEREST, REQUEST, samples.compact(answer), at, None) == answer
        assert (self.series.read(9), self.series.state(0)) == (direct.series.read(9), direct.series.state(0))
        assert self.series.answers == before[0] + 1
        return True


def copy_of(*hours: int, at: int = NOW - MINUTE) -> Copied:
    series = OpenInterestSeries(SYMBOL, "1h", 50)
    series.replace([samples.open_interest_row(MIDNIGHT + hour * HOUR) for hour in hours], Origin(at, 50))
    copied = series.copied()
    assert copied is not None
    return copied


def test_what_rest_answered_another_process_is_merged_as_if_it_had_been_answered_here() -> None:
    assert Follower().takes(copy_of(0, 1, 2, 3), NOW - MINUTE)
    assert Follower().takes(copy_of(3))
    assert Follower().takes(copy_of())


def test_what_another_process_requested_too_early_or_at_a_time_to_come_is_not_merged() -> None:
    assert not Follower().takes(copy_of(2, 3), NOW - MINUTE + 1)
    assert Follower().takes(copy_of(2, 3, at=NOW))
    assert not Follower().takes(copy_of(2, 3, at=NOW + 1))


def test_what_may_be_of_another_contract_is_not_merged() -> None:
    assert not Follower(listed=0).takes(copy_of(2, 3)), "it is not known which contract has the name"
    follower = Follower()
    follower.store.ingest([samples.contract_frame(SYMBOL, "TRADING", onboarded=LISTED + 1)], market())
    assert not follower.takes(copy_of(2, 3)), "another one is announced"
    follower = Follower()
    follower.store.renew([INTEREST], NOW - MINUTE + 1)
    assert not follower.takes(copy_of(2, 3)), "it was requested before this one had the name"
    assert follower.takes(copy_of(2, 3, at=NOW - MINUTE + 1))


def test_an_empty_copy_of_what_has_rows_is_refused() -> None:
    follower = Follower()
    assert follower.takes(copy_of(2, 3))
    with pytest.raises(MalformedAnswer, match="no rows"):
        follower.takes(copy_of())


def test_nothing_is_merged_that_is_not_followed_or_has_no_copies_of_answers() -> None:
    follower = Follower()
    other = Key(Kind.OPEN_INTEREST, SYMBOL, "4h")
    assert follower.store.merge_copied(other, REQUEST, copy_of(2, 3), 0) is None
    klines = Key(Kind.KLINES, SYMBOL, "1m")
    follower.store.follow([klines])
    assert follower.store.merge_copied(klines, endpoints.klines(SYMBOL, "1m", 2), copy_of(2, 3), 0) is None
