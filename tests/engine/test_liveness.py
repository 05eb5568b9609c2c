from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync.config import Config
from ats_sync.engine.liveness import (
    BEGUN_AGAIN,
    BOOK_GRACE,
    DELIVERED_WITHIN,
    DEPTH_GRACE,
    KLINE_THROTTLE,
    LINK_CURRENT,
    LOOK_EVERY,
    PAUSE,
    REGAIN,
    REPORTED_WITHIN,
    SILENT,
    SilentStreamDetector,
)
from ats_sync.engine.moment import Moment
from ats_sync.engine.sightings import GRACE
from ats_sync.engine.state import State
from ats_sync.feeds import FEEDS, Key, Kind
from ats_sync.store.klines import KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.order import LAGS_AT_MOST, REORDERED_WITHIN
from ats_sync.store.series import Origin
from ats_sync.store.trades import TradeSeries
from ats_sync.venue.books import book_snapshot
from ats_sync.venue.trades import rest_trades

from ..store.depth_market import diff_data
from ..venue import samples
from ..venue.samples import HOUR, MIDNIGHT, compact, frame

SYMBOL = "AUSDT"
TRADES = Key(Kind.TRADES, SYMBOL)
MINUTES = Key(Kind.KLINES, SYMBOL, "1m")
HOURS = Key(Kind.KLINES, SYMBOL, "1h")
BOOK = Key(Kind.BOOK, SYMBOL)


class WatchedMarket:
    """A store with live series of one symbol, what its streams report, and the detector that looks at it."""

    def __init__(self, *, reported: bool = True) -> None:
        self.store = MarketStore(Config(), lambda: 0.0)
        self.store.follow(keys_of([SYMBOL], ["1m", "1h"], []))
        self.link = Link(1, "market", MIDNIGHT / 1000)
        self.second = 10.0
        self.states = {key: State(key, FEEDS[key.kind]) for key in self.store.followed_keys()}
        self.clock = self.states[Key(Kind.CLOCK)] = State(Key(Kind.CLOCK), FEEDS[Kind.CLOCK])
        self.clock.known = True
        self.proven, self.uncertain = True, 0
        self.reasons: dict[Key, str] = {}
        self.detector = SilentStreamDetector(self.store, self.states)
        for series in (*self.store.of(KlineSeries), *self.store.of(TradeSeries)):
            series.go_live(self.link)
        if reported:
            self.report_all(100)

    def ms(self) -> int:
        return MIDNIGHT + round(self.second * 1000)

    def at(self) -> Moment:
        return Moment(500.0 + self.second, self.ms(), self.proven, self.uncertain)

    def report_all(self, trade: int) -> None:
        self.trade(trade)
        self.kline("1m", trade)
        self.kline("1h", trade)
        self.book(trade)
        self.quotes(trade)

    def trade(self, trade: int) -> None:
        data = samples.trade_data(trade, symbol=SYMBOL, at=self.ms()) | {"f": trade, "l": trade}
        self.store.ingest([frame("ausdt@aggTrade", data)], self.link)

    def kline(self, interval: str, trade: int) -> None:
        length = HOUR if interval == "1h" else samples.MINUTE
        row = samples.row(self.ms() - self.ms() % length, length=length, trades=trade)
        data = samples.kline_data(row, symbol=SYMBOL, interval=interval, event=self.ms(), final=False)
        data["k"] |= {"f": 1, "L": trade}
        self.store.ingest([frame(f"ausdt@kline_{interval}", data)], self.link)

    def book(self, update_id: int) -> None:
        data = samples.book_data(update_id, event=self.ms(), symbol=SYMBOL)
        data["b"][0][1] = str(update_id)
        self.store.ingest([frame("ausdt@depth20@100ms", data)], self.link)

    def quotes(self, update_id: int, quantity: int | None = None) -> None:
        data = samples.quotes_data(SYMBOL, update_id, event=self.ms()) | {"B": str(quantity or update_id)}
        self.store.ingest([frame("!bookTicker", data)], self.link)

    def tickers(self, trade: int) -> None:
        self.store.ingest([samples.tickers_frame({SYMBOL: trade}, event=self.ms())], self.link)

    def looks(self, seconds: float, *, current: bool = True) -> Iterator[tuple[float, Key]]:
        """Yield every suspicion in the next seconds, and when it arose."""
        end = self.second + seconds
        while self.second < end:
            self.second = round(self.second + 0.1, 3)
            if current:
                self.link.advance(self.ms() / 1000, self.ms() / 1000)
            for key, reason in self.detector.look(self.at()):
                self.reasons[key] = reason
                assert "silent" in reason
                yield self.second, key

    def suspects(self, seconds: float, *, current: bool = True) -> set[Key]:
        return {key for _, key in self.looks(seconds, current=current)}


@pytest.fixture
def market() -> WatchedMarket:
    market = WatchedMarket()
    assert market.suspects(3.0) == set()
    return market


@pytest.mark.parametrize("silent", [TRADES, MINUTES, HOURS])
def test_a_stream_that_lacks_what_the_others_have_reported_is_suspected_within_two_seconds(
    market: WatchedMarket, silent: Key
) -> None:
    begun = market.second
    if silent is not TRADES:
        market.trade(101)
    if silent is not MINUTES:
        market.kline("1m", 101)
    if silent is not HOURS:
        market.kline("1h", 101)
    found = dict.fromkeys(key for _, key in market.looks(GRACE + 2 * LOOK_EVERY))
    assert list(found) == [silent]
    assert market.second - begun <= 2.6


def test_no_stream_is_suspected_where_all_have_reported(market: WatchedMarket) -> None:
    for trade in range(101, 130):
        market.trade(trade)
        market.kline("1m", trade)
        market.kline("1h", trade)
        assert market.suspects(0.7) == set()
    assert market.suspects(10.0) == set()


def test_streams_need_not_report_at_the_same_instant(market: WatchedMarket) -> None:
    for trade in range(101, 120):
        market.kline("1m", trade)
        assert market.suspects(0.2) == set()
        market.kline("1h", trade)
        assert market.suspects(0.4) == set()
        market.trade(trade)
        assert market.suspects(0.4) == set()


def test_a_trade_within_the_throttle_of_a_kline_event_may_rightly_stay_unreported(market: WatchedMarket) -> None:
    market.kline("1m", 100)
    market.kline("1h", 100)
    market.second += 0.2
    market.trade(101)
    assert market.suspects(30.0) == set()


def test_the_throttle_is_no_excuse_where_the_stream_of_trades_is_dead(market: WatchedMarket) -> None:
    market.tickers(100)
    market.second += 0.5
    market.kline("1m", 100)
    market.kline("1h", 100)
    market.second += 0.5
    market.tickers(101)
    found = [(round(when, 3), key) for when, key in market.looks(3.0)]
    assert {key for _, key in found} == {TRADES, MINUTES, HOURS}
    assert {when for when, _ in found[:3]} == {found[0][0]}, "in the same look"


def test_a_symbol_that_was_in_no_array_of_tickers_was_not_traded_meanwhile(market: WatchedMarket) -> None:
    market.store.trades(SYMBOL).link = None  # so that the candles and the tickers are the only evidence
    market.tickers(100)
    for second in range(6):
        market.second += 1.0
        market.store.ingest([samples.tickers_frame({"OTHERUSDT": 5}, event=market.ms())], market.link)
        assert market.suspects(0.1) == set()
        if second == 3:
            market.kline("1m", 100)
            market.kline("1h", 100)
    market.second += 1.0
    market.tickers(101)
    assert market.suspects(3.0) == {MINUTES, HOURS}


def test_a_trade_seen_late_shows_the_earliest_time_of_those_after_it(market: WatchedMarket) -> None:
    market.tickers(100)
    market.second += 1.0
    market.kline("1m", 100)
    market.kline("1h", 100)
    market.second += 1.0
    market.tickers(102)
    market.trade(101)
    market.second -= 0.5
    market.trade(102)
    market.second += 0.5
    assert market.suspects(3.0) == {MINUTES, HOURS}


def test_no_stream_is_suspected_in_a_quiet_market(market: WatchedMarket) -> None:
    market.tickers(100)
    for _ in range(60):
        market.tickers(100)
        assert market.suspects(1.0) == set()


def test_the_tickers_show_that_all_streams_are_silent(market: WatchedMarket) -> None:
    market.tickers(100)
    assert market.suspects(2.0) == set()
    market.tickers(103)
    assert market.suspects(5.0) == {TRADES, MINUTES, HOURS}


def test_the_first_tickers_do_not_show_when_a_trade_happened(market: WatchedMarket) -> None:
    market.tickers(103)
    assert market.suspects(10.0) == set()


def test_a_connection_that_lags_is_not_suspected_stream_by_stream(market: WatchedMarket) -> None:
    market.kline("1m", 101)
    market.kline("1h", 101)
    market.second += LINK_CURRENT
    assert market.suspects(20.0, current=False) == set()
    assert TRADES in market.suspects(1.0)


@pytest.mark.parametrize(("delivered", "judged"), [(0.3, False), (DELIVERED_WITHIN / 1000, True)])
@pytest.mark.parametrize("silent", [TRADES, MINUTES, HOURS])
def test_a_stream_that_had_died_before_its_connection_fell_silent_is_suspected(
    market: WatchedMarket, silent: Key, delivered: float, judged: bool
) -> None:
    market.suspects(0.2)  # so that what follows is seen as late as can be
    if silent is not TRADES:
        market.trade(101)
    if silent is not MINUTES:
        market.kline("1m", 101)
    if silent is not HOURS:
        market.kline("1h", 101)
    found = market.suspects(delivered) | market.suspects(30.0, current=False)
    assert found == ({silent} if judged else set())


def test_a_ticker_may_show_a_trade_of_its_last_moment(market: WatchedMarket) -> None:
    market.tickers(100)
    market.second += 3.0
    market.tickers(101)
    assert market.suspects(0.3) | market.suspects(30.0, current=False) == set()


def test_series_of_an_old_count_are_not_suspected_on_a_connection_that_lags(market: WatchedMarket) -> None:
    market.second += 5.0
    market.kline("1m", 3)
    market.second += LINK_CURRENT
    assert market.suspects(20.0, current=False) == set()
    assert market.suspects(1.0) == {TRADES, HOURS}


def test_looks_are_regular(market: WatchedMarket) -> None:
    market.second = market.detector.due() - 500.0
    assert market.suspects(0.1) == set()
    assert market.detector.due() == pytest.approx(market.at().steady + LOOK_EVERY, abs=0.101)


def test_an_older_ticker_that_comes_late_shows_nothing(market: WatchedMarket) -> None:
    market.tickers(100)
    market.second -= 1.0
    market.tickers(105)
    market.second += 1.0
    assert market.suspects(5.0) == set()


def test_of_two_tickers_of_one_moment_the_first_counts(market: WatchedMarket) -> None:
    market.tickers(100)
    market.tickers(105)
    assert market.suspects(5.0) == set()


def test_what_a_ticker_shows_may_have_been_traded_just_before_the_array_that_left_it_out(market: WatchedMarket) -> None:
    ring = market.store.trades(SYMBOL)
    assert ring is not None
    ring.link = None  # so that the candles and the tickers are the only evidence
    market.tickers(100)
    market.second += 4.8
    market.kline("1m", 100)
    market.kline("1h", 100)
    market.second += 0.2
    market.store.ingest([samples.tickers_frame({"OTHERUSDT": 5}, event=market.ms())], market.link)
    market.second += 1.0
    market.tickers(101)
    assert market.suspects(5.0) == set()


def test_candles_that_lack_a_trade_do_not_make_the_trades_lack_one(market: WatchedMarket) -> None:
    market.second += 2.0
    market.trade(101)
    market.kline("1m", 101)
    for _ in range(30):
        assert market.suspects(0.1) <= {HOURS}
        assert market.detector.lacking == []


def test_candles_whose_stream_has_delivered_since_its_subscription_are_not_confirmed(market: WatchedMarket) -> None:
    """What they lack may rightly be unreported."""
    market.second += 6.0
    for key in (MINUTES, HOURS):
        market.states[key].subscribed = market.ms()
    market.second += 0.1
    market.kline("1m", 100)
    market.kline("1h", 100)
    market.second += KLINE_THROTTLE / 1000 / 2
    market.trade(101)
    for _ in range(40):
        assert market.suspects(0.1) == set()
        assert market.detector.unsure == []


def test_what_is_traded_at_spot_has_ids_of_its_own(market: WatchedMarket) -> None:
    days = Key(Kind.SPOT_KLINES, SYMBOL, "1d")
    market.store.follow([days])
    series = market.store.get(days)
    assert series is not None
    market.states[days] = State(days, FEEDS[Kind.SPOT_KLINES])
    series.go_live(market.link)
    market.second += 2.0
    market.report_all(101)
    assert market.suspects(5.0) == set()


def test_a_series_that_showed_the_trade_of_a_ticker_long_before_is_not_at_an_old_count(
    market: WatchedMarket,
) -> None:
    market.tickers(100)
    market.second += 5.0
    market.report_all(3)
    market.second += 2.0
    market.tickers(3)
    assert market.suspects(5.0) == set()


def test_candles_that_are_ahead_of_silent_trades_are_not_at_an_old_count(market: WatchedMarket) -> None:
    market.second += 5.0
    market.report_all(3)
    assert market.suspects(3.0) == set()
    market.second += 2.0
    market.kline("1m", 10)
    market.kline("1h", 10)
    assert market.suspects(3.0) == {TRADES}


@pytest.mark.parametrize("down", [True, False])
def test_what_is_not_live_is_not_suspected(market: WatchedMarket, down: bool) -> None:
    market.kline("1m", 101)
    market.kline("1h", 101)
    if down:
        market.link.up = False
    else:
        market.store.trades(SYMBOL).suspect("already")
    assert TRADES not in market.suspects(10.0)


def test_trades_that_stay_silent_though_their_ids_have_begun_again_are_suspected(market: WatchedMarket) -> None:
    """Every id that the other streams report is lower than the one they have."""
    market.second += 5.0
    begun = market.second
    market.kline("1m", 3)
    market.kline("1h", 3)
    found = list(market.looks(3.0))
    assert {key for _, key in found} == {TRADES}
    assert found[0][0] - begun <= 2.2


def test_candles_that_stay_silent_too_are_suspected_as_well(market: WatchedMarket) -> None:
    market.second += 5.0
    market.kline("1m", 3)
    assert market.suspects(3.0) == {TRADES, Key(Kind.KLINES, SYMBOL, "1h")}


def test_candles_among_themselves_show_that_one_stays_silent(market: WatchedMarket) -> None:
    market.store.unfollow([TRADES])
    market.second += 5.0
    market.kline("1m", 3)
    assert market.suspects(3.0) == {Key(Kind.KLINES, SYMBOL, "1h")}


def test_tickers_also_show_that_ids_have_begun_again(market: WatchedMarket) -> None:
    """It is not known whether it has traded since: every stream may have lost the first trade of the new count."""
    market.second += 3.0
    market.tickers(100)
    market.second += 3.0
    assert market.suspects(0.5) == set()
    begun = market.second
    market.tickers(3)
    assert {key for when, key in market.looks(3.0) if when - begun < GRACE + 2 * LOOK_EVERY} == {TRADES, MINUTES, HOURS}
    assert set(market.reasons.values()) == {BEGUN_AGAIN}
    assert market.detector.counting_again == [SYMBOL]
    assert market.suspects(5.0) == set(), "once is enough"
    market.tickers(4)
    assert TRADES in market.suspects(3.0)
    assert market.reasons[TRADES] == SILENT


def other_tickers(market: WatchedMarket) -> None:
    market.store.ingest([samples.tickers_frame({"OTHERUSDT": 5}, event=market.ms())], market.link)


def test_a_lower_ticker_of_a_moment_later_counts_once_an_array_leaves_the_symbol_out(
    market: WatchedMarket,
) -> None:
    """Each array contains what has changed since the one before: then it was not a lagging replica."""
    market.tickers(100)
    market.second += REORDERED_WITHIN / 1000
    market.tickers(3)
    begun = market.second
    assert market.suspects(0.9) == set()
    assert market.detector.counting_again == []
    market.second = begun + REORDERED_WITHIN / 1000
    other_tickers(market)
    assert {key for when, key in market.looks(3.0) if when - begun < 1.5 + GRACE} == {TRADES, MINUTES, HOURS}
    assert market.detector.counting_again == [SYMBOL]


def test_a_lower_ticker_does_not_count_until_replicas_cannot_be_apart_by_as_much(market: WatchedMarket) -> None:
    market.tickers(100)
    market.second += REORDERED_WITHIN / 1000
    market.tickers(3)
    market.second += REORDERED_WITHIN / 1000 / 2
    other_tickers(market)
    market.suspects(5.0)
    assert market.detector.counting_again == []


def test_an_answer_that_leaves_a_symbol_out_does_not_confirm_its_lower_ticker(market: WatchedMarket) -> None:
    market.tickers(100)
    market.second += REORDERED_WITHIN / 1000
    market.tickers(3)
    market.second += 5.0
    market.store.tickers.replace({"OTHERUSDT": {"lastId": 7}}, Origin(market.ms()))
    market.suspects(5.0)
    assert market.detector.counting_again == []


def test_a_ticker_of_a_replica_that_lags_slightly_is_corrected_by_the_next_array(market: WatchedMarket) -> None:
    market.tickers(100)
    market.second += REORDERED_WITHIN / 1000
    market.tickers(99)
    assert market.suspects(0.9) == set()
    market.second += 0.1
    market.tickers(100)
    for _ in range(3):
        market.second += 1.0
        other_tickers(market)
        assert market.suspects(0.5) == set()
    assert market.detector.counting_again == []


@pytest.mark.parametrize("none", [0, -1])
def test_a_ticker_of_a_market_that_has_rested_for_a_day_names_no_trade(market: WatchedMarket, none: int) -> None:
    market.tickers(100)
    for _ in range(3):
        market.second += 3.0
        market.tickers(none)
        assert market.suspects(2.0) == set()
    assert market.detector.counting_again == []
    market.tickers(101)
    assert TRADES in market.suspects(3.0)


def test_it_is_noted_once_that_ids_have_begun_again_where_the_tickers_show_it_long_before_the_trades(
    market: WatchedMarket,
) -> None:
    market.tickers(100)
    market.second += 3.0
    market.tickers(3)
    market.suspects(3.0)
    assert market.detector.counting_again == [SYMBOL]
    market.second += 20.0
    market.trade(4)
    market.suspects(1.0)
    assert market.detector.counting_again == [SYMBOL]
    market.second += 5.0
    market.trade(2)
    market.suspects(1.0)
    assert market.detector.counting_again == [SYMBOL, SYMBOL], "and once more"


def test_a_stream_that_has_shown_the_new_count_is_not_suspected_when_tickers_show_it(market: WatchedMarket) -> None:
    market.tickers(100)
    market.second += 3.0
    market.tickers(3)
    market.trade(3)
    assert market.suspects(3.0) == {MINUTES, HOURS}


def test_streams_that_lag_are_not_suspected_when_tickers_show_a_new_count(market: WatchedMarket) -> None:
    market.tickers(100)
    market.second += LINK_CURRENT + 1.0
    market.tickers(3)
    assert market.suspects(1.0 + GRACE, current=False) == set()


def test_earlier_tickers_are_not_evidence_once_later_ones_show_that_ids_have_begun_again(market: WatchedMarket) -> None:
    market.tickers(100)
    market.suspects(1.0)
    market.second += 5.0
    market.tickers(105)
    assert market.suspects(1.2) == set()
    market.tickers(3)
    market.report_all(3)
    assert market.suspects(5.0) == set()


def test_it_is_noted_once_that_ids_have_begun_again(market: WatchedMarket) -> None:
    assert market.suspects(1.0) == set()
    market.second += 5.0
    market.trade(3)
    market.suspects(0.6)
    assert market.detector.counting_again == [SYMBOL]
    market.detector.counting_again.clear()
    market.trade(4)
    market.suspects(0.6)
    assert market.detector.counting_again == []


@pytest.mark.parametrize("after", [0.0, 0.9])
def test_a_lower_id_of_about_the_same_time_does_not_begin_a_new_count(market: WatchedMarket, after: float) -> None:
    market.trade(200)
    market.second += after
    market.kline("1m", 100)
    market.kline("1h", 200)
    assert TRADES not in market.suspects(5.0)


def test_a_book_behind_the_quotes_is_suspected(market: WatchedMarket) -> None:
    begun = market.second
    market.quotes(105)
    found = list(market.looks(2.0))
    assert {key for _, key in found} == {BOOK}
    assert found[0][0] - begun <= 1.5


@pytest.mark.parametrize("empty", ["b", "a", "ba"])
def test_an_empty_book_behind_the_quotes_is_suspected(market: WatchedMarket, empty: str) -> None:
    """Like that of a contract that has just begun to trade, and whose stream died before."""
    data = samples.book_data(101, event=market.ms(), symbol=SYMBOL) | {side: [] for side in empty}
    market.store.ingest([frame("ausdt@depth20@100ms", data)], market.link)
    market.quotes(105)
    assert market.suspects(3.0) == {BOOK}


def test_an_empty_book_without_quotes_is_not_suspected(market: WatchedMarket) -> None:
    nothing = {"b": [], "a": []}
    data = samples.book_data(101, event=market.ms(), symbol=SYMBOL) | nothing
    market.store.ingest([frame("ausdt@depth20@100ms", data)], market.link)
    quotes = samples.quotes_data(SYMBOL, 105, event=market.ms()) | dict.fromkeys("bBaA", "0.00")
    market.store.ingest([frame("!bookTicker", quotes)], market.link)
    assert market.suspects(10.0) == set()


def test_a_book_whose_newest_frame_has_a_time_in_the_future_is_suspected_all_the_same(market: WatchedMarket) -> None:
    data = samples.book_data(101, event=market.ms() + HOUR, symbol=SYMBOL)
    market.store.ingest([frame("ausdt@depth20@100ms", data)], market.link)
    market.quotes(105)
    assert market.suspects(3.0) == {BOOK}


def test_tickers_with_a_time_in_the_future_excuse_no_stream(market: WatchedMarket) -> None:
    market.store.ingest([samples.tickers_frame({SYMBOL: 100}, event=market.ms() + HOUR)], market.link)
    assert market.suspects(1.0) == set()
    market.tickers(100)
    market.second += 5.0
    market.tickers(101)
    assert TRADES in market.suspects(3.0)


def test_a_book_of_which_only_deeper_levels_changed_is_not_suspected(market: WatchedMarket) -> None:
    market.quotes(105, quantity=100)
    assert market.suspects(10.0) == set()


def test_a_book_that_reaches_the_quotes_in_time_is_not_suspected(market: WatchedMarket) -> None:
    for update_id in range(105, 140):
        market.quotes(update_id)
        assert market.suspects(0.3) == set()
        market.book(update_id)
        assert market.suspects(0.3) == set()


def test_symbols_that_are_gone_are_forgotten(market: WatchedMarket) -> None:
    market.store.unfollow(market.store.followed_keys())
    assert market.suspects(2.0) == set()
    assert not market.detector._symbols


def test_evidence_does_not_grow(market: WatchedMarket) -> None:
    for trade in range(101, 400):
        market.kline("1m", trade)
        market.kline("1h", trade)
        market.trade(trade)
        market.suspects(0.1)
    assert all(len(known._ripening) <= 16 for known in market.detector._symbols.values())


def test_a_busy_symbol_is_assessed_as_soon_as_a_slow_one(market: WatchedMarket) -> None:
    begun = market.second
    for trade in range(101, 150):
        market.kline("1m", trade)
        market.kline("1h", trade + 1)
        for when, key in market.looks(0.1):
            assert key == TRADES
            assert when - begun <= GRACE + 2 * LOOK_EVERY
            return
    pytest.fail("the silent trades were never suspected")


def test_after_a_pause_streams_count_as_watched_only_once_the_backlog_could_show_a_fault(market: WatchedMarket) -> None:
    assert market.store.watched_until == pytest.approx(market.ms() / 1000, abs=LOOK_EVERY + 0.1)
    before = market.store.watched_until
    market.second += 20.0
    market.suspects(REGAIN - 0.2)
    assert market.store.watched_until == before
    market.suspects(1.0)
    assert market.store.watched_until == pytest.approx(market.ms() / 1000, abs=LOOK_EVERY + 0.1)


def test_it_is_not_a_pause_when_the_exchanges_time_becomes_known() -> None:
    """Before its first answer there is only this machine's time, which may be minutes away."""
    fresh = WatchedMarket(reported=False)
    fresh.clock.known = False
    fresh.suspects(LOOK_EVERY + 0.1)
    assert fresh.store.watched_until == math.inf
    fresh.second += 300.0
    fresh.clock.known = True
    fresh.suspects(LOOK_EVERY + 0.1)
    assert fresh.ms() / 1000 - fresh.store.watched_until < PAUSE


def test_streams_that_delivered_before_the_time_was_known_are_watched_once_their_evidence_counts() -> None:
    """What one of them lost meanwhile is only found a moment later."""
    market = WatchedMarket()
    market.clock.known = False
    market.proven = False
    market.suspects(5.0)
    market.clock.known = market.proven = True
    market.trade(101)
    market.kline("1m", 101)
    known = market.second
    found = list(market.looks(REGAIN - 0.1))
    assert {key for _, key in found} == {HOURS}
    assert market.store.watched_until == 0.0
    market.suspects(2 * LOOK_EVERY)
    assert market.store.watched_until >= MIDNIGHT / 1000 + known + REGAIN


def test_streams_that_delivered_only_since_the_time_was_known_are_watched_at_once() -> None:
    market = WatchedMarket(reported=False)
    market.clock.known = False
    market.suspects(LOOK_EVERY + 0.1)
    market.clock.known = True
    market.report_all(100)
    market.suspects(LOOK_EVERY + 0.1)
    assert market.ms() / 1000 - market.store.watched_until < PAUSE


@pytest.mark.parametrize(("late", "paused"), [(0.0, False), (0.001, True)])
def test_looks_that_are_farther_apart_than_that_show_a_pause(market: WatchedMarket, late: float, paused: bool) -> None:
    before = market.detector._looked
    market.second = (before - MIDNIGHT) / 1000 + PAUSE + late
    assert list(market.detector.look(market.at())) == []
    assert market.store.watched_until == (before if paused else market.ms()) / 1000


def test_streams_are_watched_again_from_the_moment_on_when_evidence_of_the_pause_counts(market: WatchedMarket) -> None:
    market.second = 40.0
    assert list(market.detector.look(market.at())) == []
    for each in range(int(REGAIN / LOOK_EVERY)):
        assert market.store.watched_until < MIDNIGHT / 1000 + 40.0, each
        market.second += LOOK_EVERY
        assert list(market.detector.look(market.at())) == []
    assert market.store.watched_until == market.ms() / 1000


def test_without_a_clock_nothing_is_known_of_a_pause(market: WatchedMarket) -> None:
    before = market.store.watched_until
    del market.states[Key(Kind.CLOCK)]
    market.suspects(20.0)
    assert market.store.watched_until == before


def test_regular_looks_keep_the_streams_watched(market: WatchedMarket) -> None:
    for _ in range(30):
        market.suspects(1.0)
        assert market.ms() / 1000 - market.store.watched_until < PAUSE


def test_an_answer_of_rest_does_not_excuse_a_stream_that_should_have_reported(market: WatchedMarket) -> None:
    """A trade after the subscription and long after its last event: the stream is dead, whatever REST has shown."""
    market.tickers(100)
    market.second += 5.0
    market.tickers(100)
    market.second += 1.0
    market.tickers(103)
    market.store.klines(SYMBOL, "1h")._requested = market.ms() + 1
    assert HOURS in market.suspects(3.0)


def test_what_may_have_come_before_a_new_subscription_is_confirmed_and_not_suspected(market: WatchedMarket) -> None:
    market.store.trades(SYMBOL).link = None
    market.tickers(100)
    market.second += 6.0
    for key in (MINUTES, HOURS):
        market.states[key].subscribed = market.ms()
    market.second += 1.0
    market.tickers(103)
    unsure: set[Key] = set()
    for _ in range(30):
        assert market.suspects(0.1) == set()
        unsure.update(market.detector.unsure)
    assert unsure == {MINUTES, HOURS}
    for series in market.store.of(KlineSeries):
        series._requested = market.ms()
    market.suspects(1.0)
    assert market.detector.unsure == []


@pytest.mark.parametrize("answered", [-1, 0])
def test_what_came_just_after_a_new_subscription_is_confirmed_unless_rest_has_shown_it(
    market: WatchedMarket, answered: int
) -> None:
    """The trades have it from REST, and a live kline stream may rightly not report it."""
    market.second += 6.0
    for key in (MINUTES, HOURS):
        market.states[key].subscribed = market.ms()
    market.second += KLINE_THROTTLE / 1000.0
    market.tickers(103)
    market.trade(103)
    for series in market.store.of(KlineSeries):
        series._requested = market.ms() + answered
    unsure: set[Key] = set()
    for _ in range(30):
        assert market.suspects(0.1) == set()
        unsure.update(market.detector.unsure)
    assert unsure == ({MINUTES, HOURS} if answered < 0 else set())


def test_trades_that_lack_one_from_before_their_subscription_make_no_stream_suspect(market: WatchedMarket) -> None:
    """It is requested, and an answer that lacks it may be from a lagging replica, for as long as replicas lag."""
    market.tickers(100)
    market.second += 6.0
    for key in (TRADES, MINUTES, HOURS):
        market.states[key].subscribed = market.ms()
    market.tickers(103)
    lacking: set[Key] = set()
    for _ in range(30):
        assert market.suspects(0.1) == set()
        lacking.update(market.detector.lacking)
    assert lacking == {TRADES}
    ring = market.store.trades(SYMBOL)
    assert ring is not None
    ring.replace([], Origin(market.ms(), 1_000))
    assert market.detector.lacks(TRADES, market.at())
    ring.replace([], Origin(market.ms() + LAGS_AT_MOST, 1_000))
    assert not market.detector.lacks(TRADES, market.at()), "what no answer shows was a mistake"
    market.suspects(1.0)
    assert market.detector.lacking == []


def test_an_answer_that_is_the_first_to_show_a_trade_makes_no_stream_suspect(market: WatchedMarket) -> None:
    """It happened while there was no subscription, so no array of tickers had it."""
    market.tickers(100)
    market.second += 6.0
    tickers = market.states[Key(Kind.TICKERS)] = State(Key(Kind.TICKERS), FEEDS[Kind.TICKERS])
    for state in market.states.values():
        state.subscribed = market.ms()
    for number in range(11):
        market.second += 0.5
        market.store.ingest([samples.tickers_frame({"OTHERUSDT": number}, event=market.ms())], market.link)
        assert market.suspects(0.5) == set()
    market.store.tickers.replace({SYMBOL: {"lastId": 103}}, Origin(market.ms()))
    assert market.suspects(3.0) == set()
    tickers.subscribed = 0
    market.store.tickers.replace({SYMBOL: {"lastId": 104}}, Origin(market.ms() + LAGS_AT_MOST))
    assert TRADES in market.suspects(3.0)


@pytest.mark.parametrize(("answered", "uncertain"), [(0, 0), (0, 300), (LAGS_AT_MOST, 0)])
def test_candles_that_were_requested_within_the_lag_of_a_replica_are_requested_again(
    market: WatchedMarket, answered: int, uncertain: int
) -> None:
    market.uncertain = uncertain
    market.second += 6.0
    for key in (MINUTES, HOURS):
        market.states[key].subscribed = market.ms()
    traded = market.ms() + KLINE_THROTTLE
    market.second += KLINE_THROTTLE / 1000.0
    market.trade(103)
    for series in market.store.of(KlineSeries):
        series._requested = traded + answered
    unsure: dict[Key, int] = {}
    for _ in range(130):
        assert market.suspects(0.1) == set()
        unsure.update({key: market.ms() for key in market.detector.unsure if key not in unsure})
    assert unsure.keys() == (set() if answered else {MINUTES, HOURS})
    assert all(at - uncertain >= traded + LAGS_AT_MOST for at in unsure.values())


def test_no_stream_is_suspected_because_an_engine_counts_from_low_numbers_again(market: WatchedMarket) -> None:
    market.store.follow([Key(Kind.DEPTH, SYMBOL)])
    depth = market.store.depth(SYMBOL)
    public = Link(2, "public", MIDNIGHT / 1000)

    def tell(number: int) -> None:
        market.trade(number)
        market.kline("1m", number)
        market.kline("1h", number)
        market.tickers(number)
        market.book(number * 10)
        last, previous = number * 10, (number - 1) * 10
        data = diff_data(previous + 1, last, previous, [], [], market.ms()) | {"s": SYMBOL}
        market.store.ingest([frame("ausdt@depth@100ms", data)], public)

    market.tickers(1_000_000)
    tell(1_000_001)
    market.quotes(10_000_011, quantity=7)
    depth.replace(
        book_snapshot(compact(samples.rest_book(10_000_010, event=market.ms()))), Origin(market.ms(), 1000, link=public)
    )
    depth.go_live(public)
    list(market.looks(3.0))
    suspected: list[tuple[float, Key]] = []
    for number in range(5, 40):
        tell(number)
        suspected += market.looks(0.5)
        public.advance(market.ms() / 1000, market.ms() / 1000)
    began = 13.0
    assert [key for second, key in suspected if second > began + 3.0] == []
    assert market.store.trades(SYMBOL).last_id() == 39
    assert depth.update_id() == 390


@pytest.mark.parametrize("later", [False, True])
def test_a_full_book_does_not_lag_behind_frames_from_before_its_snapshot(market: WatchedMarket, later: bool) -> None:
    """Its engine counts from low numbers again while the market rests, so that no frame has the new ids."""
    market.store.follow([Key(Kind.DEPTH, SYMBOL)])
    depth = market.store.depth(SYMBOL)
    public = Link(2, "public", MIDNIGHT / 1000)
    market.book(1_000_000)
    market.second += 2.0
    answer = book_snapshot(compact(samples.rest_book(1_000, event=market.ms())))
    depth.replace(answer, Origin(market.ms(), 1000, link=public))
    depth.go_live(public)
    if later:
        market.second += 0.1
        market.book(1_000_001)
    found: set[Key] = set()
    for _ in range(60):
        public.advance(market.ms() / 1000, market.ms() / 1000)
        found |= market.suspects(0.1)
    assert (depth.key in found) is later


def told_by_rest(market: WatchedMarket, trade: int) -> None:
    """Merge an answer of REST from a new count, which the stream has not reported."""
    answer = rest_trades(compact([samples.rest_trade(trade) | {"T": market.ms(), "f": trade, "l": trade}]))
    ring = market.store.trades(SYMBOL)
    assert ring is not None
    ring.replace(answer, Origin(market.ms(), 500))


def test_candles_at_rest_do_not_make_trades_suspect_by_an_old_count(market: WatchedMarket) -> None:
    """Their newest frame names an id of the old count for as long as nothing is traded."""
    market.report_all(1_000_000)
    market.suspects(3.0)
    told_by_rest(market, 20)
    for key in (TRADES, MINUTES, HOURS):
        market.states[key].subscribed = market.ms() + 1
    assert market.suspects(10.0) == set()
    market.report_all(21)
    assert market.suspects(10.0) == set()


def test_an_old_count_does_not_hide_that_a_stream_of_candles_is_silent(market: WatchedMarket) -> None:
    market.report_all(1_000_000)
    market.suspects(3.0)
    for trade in (20, 21):
        market.trade(trade)
        market.kline("1h", trade)
        assert TRADES not in (found := market.suspects(3.0))
    assert found == {MINUTES}


def test_candles_that_stay_at_an_old_count_do_not_hide_that_others_are_silent(market: WatchedMarket) -> None:
    """What all had shown was forgotten again and again as long as one of them had not reached the new count."""
    market.report_all(1_000_000)
    market.suspects(3.0)
    market.trade(20)
    market.kline("1h", 20)
    market.suspects(0.1)
    market.kline("1m", 1_000_001)
    market.suspects(3.0)
    market.trade(21)
    market.kline("1h", 21)
    assert market.suspects(3.0) == {MINUTES}
    market.trade(22)
    assert HOURS in market.suspects(3.0)


def test_trades_that_are_about_to_go_live_under_new_ids_do_not_lack_the_old_ones(market: WatchedMarket) -> None:
    market.report_all(1_000_000)
    market.suspects(3.0)
    for interval in ("1m", "1h"):
        market.kline(interval, 20)
    market.suspects(LOOK_EVERY)
    market.trade(20)
    assert not market.detector.silent(TRADES, market.at())
    assert not market.detector.lacks(TRADES, market.at())


@pytest.mark.parametrize("lasts", [1.0, 8.0])
def test_no_stream_is_suspected_while_the_time_is_in_doubt_and_afterwards_the_dead_one_is_found_first(
    market: WatchedMarket, lasts: float
) -> None:
    market.proven = False
    market.trade(101)
    market.kline("1h", 101)
    assert market.suspects(lasts) == set()
    market.proven = True
    found: set[Key] = set()
    for _, key in market.looks(GRACE + 2 * LOOK_EVERY):
        found.add(key)
        if lasts > PAUSE:
            assert market.ms() / 1000 - market.store.watched_until > PAUSE, "nothing that rests on silence is trusted"
    assert found == {MINUTES}
    market.suspects(3.0)
    assert market.ms() / 1000 - market.store.watched_until < PAUSE


# --- what is looked at ------------------------------------------------------------------------------


def test_only_series_with_something_new_or_requested_are_looked_at(
    market: WatchedMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.report_all(101)
    assert market.suspects(3.0) == set()
    looked_at: list[str] = []

    def noting(part: str) -> Any:
        look_at = getattr(SilentStreamDetector, part)

        def note(self: SilentStreamDetector, symbol: str, *rest: Any) -> Iterator[tuple[Key, str]]:
            looked_at.append(part)
            yield from look_at(self, symbol, *rest)

        return note

    for part in (trades := "_look_at_trades", books := "_look_at_books"):
        monkeypatch.setattr(SilentStreamDetector, part, noting(part))
    market.suspects(3.0)
    assert looked_at == []
    market.detector.look_again(SYMBOL)
    market.detector.look_again("OTHERUSDT")
    market.suspects(3.0)
    assert looked_at == [trades, books]
    market.quotes(101)
    market.suspects(3.0)
    assert looked_at[2:] == [books]
    market.kline("1h", 101)
    market.suspects(3.0)
    assert looked_at[3:] == [trades]


class Listing(WatchedMarket):
    """A contract that has not traded yet."""

    def __init__(self) -> None:
        super().__init__()
        self.store.unfollow(self.store.followed_keys())
        self.suspects(1.0)
        self.store.follow(keys_of([SYMBOL], ["1m"], []))
        for key in (TRADES, MINUTES):
            self.states[key] = State(key, FEEDS[key.kind])
        for series in (*self.store.of(KlineSeries), *self.store.of(TradeSeries)):
            series.go_live(self.link)
        self.suspects(5.0)

    def first_candle(self) -> None:
        """Its first trade, whose id is 0, as its candle shows it."""
        row = samples.row(self.ms() - self.ms() % samples.MINUTE, trades=1)
        data = samples.kline_data(row, symbol=SYMBOL, interval="1m", event=self.ms(), final=False)
        data["k"] |= {"f": 0, "L": 0}
        self.store.ingest([frame("ausdt@kline_1m", data)], self.link)


def test_the_very_first_trade_of_a_contract_is_evidence_like_any_other() -> None:
    listing = Listing()
    listing.first_candle()
    assert listing.suspects(3.0) == {TRADES}


def test_the_second_trade_of_a_contract_is_evidence_like_any_other() -> None:
    listing = Listing()
    listing.first_candle()
    listing.trade(0)
    listing.tickers(0)
    assert listing.suspects(3.0) == set()
    listing.second += 2.0
    listing.tickers(1)
    assert listing.suspects(3.0) == {TRADES, MINUTES}


def test_tickers_that_come_while_the_time_is_in_doubt_count_once_it_is_known(market: WatchedMarket) -> None:
    market.tickers(100)
    market.suspects(1.0)
    market.second += 5.0
    market.tickers(101)
    wrong = market.at()._replace(exchange=market.ms() - HOUR, proven=False)
    assert list(market.detector.look(wrong)) == []
    assert TRADES in market.suspects(3.0)


def test_quotes_with_a_time_in_the_future_do_not_keep_out_later_ones(market: WatchedMarket) -> None:
    quotes = samples.quotes_data(SYMBOL, 100, event=market.ms() + HOUR) | {"B": "100"}
    market.store.ingest([frame("!bookTicker", quotes)], market.link)
    assert market.suspects(1.0) == set()
    market.second += 5.0
    market.quotes(3)
    assert market.suspects(3.0) == {BOOK}, "ids have begun again, and the book is silent"


# --- evidence that is none --------------------------------------------------------------------------


def test_the_last_event_of_a_candle_does_not_show_when_its_last_trade_happened(market: WatchedMarket) -> None:
    """It may come long after that: the other candles were throttled, and rightly do not show the trade."""
    market.report_all(100)
    market.second += 0.2
    market.trade(101)
    market.second += 10.0
    row = samples.row(market.ms() - market.ms() % samples.MINUTE, trades=101)
    data = samples.kline_data(row, symbol=SYMBOL, interval="1m", event=market.ms(), final=True)
    data["k"] |= {"f": 1, "L": 101}
    market.store.ingest([frame("ausdt@kline_1m", data)], market.link)
    assert market.suspects(5.0) == set()


def test_candles_on_a_connection_that_lags_are_not_suspected_either(market: WatchedMarket) -> None:
    market.second += 2.0
    market.trade(101)
    market.second += LINK_CURRENT
    assert market.suspects(20.0, current=False) == set()
    assert market.suspects(1.0) == {MINUTES, HOURS}


@pytest.mark.parametrize(("before", "convicted"), [(0, False), (1, True)])
def test_trades_lack_but_are_not_silent_where_a_trade_may_have_come_before_their_subscription(
    market: WatchedMarket, before: int, convicted: bool
) -> None:
    market.second += 5.0
    market.kline("1m", 101)
    market.kline("1h", 101)
    market.states[TRADES].subscribed = market.ms() - REPORTED_WITHIN - before
    lacking: set[Key] = set()
    suspected: set[Key] = set()
    for _ in range(30):
        suspected |= market.suspects(0.1)
        lacking.update(market.detector.lacking)
    assert (suspected, lacking) == (({TRADES}, set()) if convicted else (set(), {TRADES}))


def test_an_answer_older_than_the_evidence_confirms_no_candles_whatever_trades_have_shown(
    market: WatchedMarket,
) -> None:
    """The newest of the trades is an old one: it does not show when the one that they lack happened."""
    ring = market.store.trades(SYMBOL)
    assert ring is not None
    ring.link = None
    market.tickers(100)
    for series in market.store.of(KlineSeries):
        series._requested = market.ms() + 1
    market.second += 3.0
    for key in (MINUTES, HOURS):
        market.states[key].subscribed = market.ms()
    market.second += 1.0
    market.tickers(103)
    assert market.suspects(GRACE + 2 * LOOK_EVERY) == set()
    assert set(market.detector.unsure) == {MINUTES, HOURS}


def test_a_trade_that_rest_has_refuted_is_not_missed_again_though_a_stream_still_shows_it(
    market: WatchedMarket,
) -> None:
    """Ids had begun again before the subscription, and the candles still show one of the old count."""
    ring = market.store.trades(SYMBOL)
    assert ring is not None
    market.second += 1.0
    market.states[TRADES].subscribed = market.ms() + 10_000
    market.kline("1m", 140)
    market.kline("1h", 140)
    market.suspects(3.0)
    assert market.detector.lacking == [TRADES]
    assert market.detector.lacks(TRADES, market.at())
    market.second += LAGS_AT_MOST / 1000
    ring._answered = market.ms()
    assert not market.detector.lacks(TRADES, market.at())
    for _ in range(8):
        market.suspects(0.5)
        assert market.detector.lacking == []
    market.second += 20.0
    market.kline("1m", 141)
    assert TRADES in market.suspects(3.0), "this is another one"


def test_only_trades_can_lack_trades(market: WatchedMarket) -> None:
    market.tickers(100)
    market.second += 6.0
    market.states[TRADES].subscribed = market.ms()
    market.tickers(103)
    market.suspects(3.0)
    assert market.detector.lacks(TRADES, market.at())
    assert not market.detector.lacks(MINUTES, market.at())
    assert not market.detector.lacks(Key(Kind.TRADES, "OTHERUSDT"), market.at())
    market.store.unfollow([TRADES])
    assert not market.detector.lacks(TRADES, market.at()), "they are no longer followed"


def test_a_series_about_to_go_live_is_dead_where_it_lacks_what_was_surely_traded_since(market: WatchedMarket) -> None:
    market.second += 2.0
    market.trade(101)
    market.kline("1h", 101)
    assert market.detector.silent(MINUTES, market.at()) == "", "it may still come"
    market.suspects(3.0)
    assert market.detector.silent(MINUTES, market.at()) == SILENT
    for key in (HOURS, TRADES, BOOK, Key(Kind.KLINES, "OTHERUSDT", "1m")):
        assert market.detector.silent(key, market.at()) == ""
    market.states[MINUTES].subscribed = market.ms()
    assert market.detector.silent(MINUTES, market.at()) == "", "it was traded before the subscription"
    market.store.unfollow([HOURS])
    assert market.detector.silent(HOURS, market.at()) == "", "it is no longer followed"
    market.states[MINUTES].subscribed = 0
    del market.states[MINUTES]
    assert market.detector.silent(MINUTES, market.at()) == "", "nor is that"


def test_a_series_about_to_go_live_is_dead_where_it_has_only_reached_the_old_count(market: WatchedMarket) -> None:
    market.report_all(1_000_000)
    market.suspects(3.0)
    market.second += 2.0
    market.trade(20)
    market.kline("1h", 20)
    market.suspects(3.0)
    assert market.detector.silent(MINUTES, market.at()) == SILENT
    assert market.detector.silent(HOURS, market.at()) == ""


def test_evidence_about_a_contract_does_not_count_for_another_one_of_the_same_name(market: WatchedMarket) -> None:
    market.tickers(100)
    market.suspects(1.0)
    market.second += 5.0
    market.tickers(103)
    assert market.suspects(LOOK_EVERY) == set()
    market.detector.forget(SYMBOL, 0)
    market.detector.forget("OTHERUSDT", 0)
    assert market.suspects(5.0) == set()


def test_a_ticker_since_the_contract_was_listed_is_not_forgotten(market: WatchedMarket) -> None:
    """Only beside it does the next one show that something was traded, which every stream may have lost."""
    market.tickers(100)
    market.suspects(1.0)
    market.detector.forget(SYMBOL, market.ms() - 1_500)
    market.second += 5.0
    market.tickers(103)
    assert market.suspects(5.0) >= {TRADES}


@pytest.mark.parametrize("known", [True, False])
def test_a_ticker_that_may_have_come_before_the_contract_was_listed_is_forgotten(
    market: WatchedMarket, known: bool
) -> None:
    market.tickers(100)
    listed = market.ms() if known else 0
    market.suspects(1.0)
    market.detector.forget(SYMBOL, listed)
    market.detector.forget("OTHERUSDT", listed)
    market.second += 5.0
    market.tickers(103)
    assert market.suspects(5.0) == set()


def test_a_symbol_whose_evidence_was_forgotten_is_looked_at_as_before(market: WatchedMarket) -> None:
    market.detector.forget(SYMBOL, 0)
    market.second += 2.0
    market.trade(101)
    assert market.suspects(3.0) == {MINUTES, HOURS}


def test_evidence_stays_where_another_symbol_is_followed(market: WatchedMarket) -> None:
    market.second += 2.0
    begun = market.second
    market.trade(101)
    assert market.suspects(1.0) == set()
    market.store.follow(keys_of(["BUSDT"], ["1m"], []))
    assert {key for when, key in market.looks(3.0) if when - begun < GRACE + 2 * LOOK_EVERY} == {MINUTES, HOURS}


def test_before_the_first_look_nothing_is_known_of_any_series() -> None:
    market = WatchedMarket()
    assert market.detector.silent(MINUTES, market.at()) == ""
    assert not market.detector.lacks(TRADES, market.at())


def test_trades_that_have_shown_the_newest_one_lack_none(market: WatchedMarket) -> None:
    market.kline("1m", 101)
    market.trade(101)
    market.suspects(3.0)
    assert not market.detector.lacks(TRADES, market.at())


def test_trades_whose_ids_have_begun_again_since_the_last_look_lack_none(market: WatchedMarket) -> None:
    market.states[TRADES].subscribed = market.ms() + 1_000
    market.kline("1m", 205)
    market.kline("1h", 205)
    market.suspects(3.0)
    assert market.detector.lacks(TRADES, market.at())
    market.second += 5.0
    market.trade(3)
    assert not market.detector.lacks(TRADES, market.at())


def test_candles_that_may_have_been_throttled_are_not_dead_when_they_are_about_to_go_live(
    market: WatchedMarket,
) -> None:
    market.kline("1h", 100)
    market.second += KLINE_THROTTLE / 1000
    market.trade(101)
    market.suspects(3.0)
    assert market.detector.silent(HOURS, market.at()) == ""


# --- books -------------------------------------------------------------------------------------------


def test_a_book_has_a_moment_to_follow_quotes_whose_ids_have_begun_again(market: WatchedMarket) -> None:
    market.second += 5.0
    begun = market.second
    market.quotes(3)
    found = list(market.looks(3.0))
    assert {key for _, key in found} == {BOOK}
    assert found[0][0] - begun >= BOOK_GRACE


def test_a_book_that_has_reached_the_quotes_has_a_moment_to_reach_the_next_ones(market: WatchedMarket) -> None:
    market.quotes(101)
    assert market.suspects(LOOK_EVERY) == set()
    market.book(101)
    market.quotes(102)
    assert market.suspects(2 * LOOK_EVERY) == set()
    assert market.suspects(2 * LOOK_EVERY) == {BOOK}


def test_a_book_on_a_connection_that_lags_or_is_down_is_not_suspected(market: WatchedMarket) -> None:
    market.quotes(101)
    market.second += LINK_CURRENT
    assert market.suspects(20.0, current=False) == set()
    market.link.up = False
    assert market.suspects(5.0) == set()


def test_a_book_is_ahead_of_quotes_of_about_the_same_time(market: WatchedMarket) -> None:
    market.book(105)
    market.quotes(103)
    assert market.suspects(5.0) == set()


def test_a_book_that_differs_from_the_best_offer_only_is_suspected(market: WatchedMarket) -> None:
    data = samples.quotes_data(SYMBOL, 101, event=market.ms()) | {"B": "100", "A": "77"}
    market.store.ingest([frame("!bookTicker", data)], market.link)
    assert market.suspects(3.0) == {BOOK}


class FullBook:
    """A full book that is followed ``instead`` of the other one or beside it, on a connection of its own."""

    def __init__(self, market: WatchedMarket, *, instead: bool = True) -> None:
        self.market = market
        self.link = Link(2, "public", MIDNIGHT / 1000)
        if instead:
            market.store.unfollow([BOOK])
        market.store.follow([Key(Kind.DEPTH, SYMBOL)])
        series = market.store.depth(SYMBOL)
        assert series is not None
        self.series = series
        answer = book_snapshot(compact(samples.rest_book(100, event=market.ms())))
        self.series.replace(answer, Origin(market.ms(), 1000, link=self.link))
        self.series.go_live(self.link)
        market.second += 0.1

    def change(self, update_id: int) -> None:
        data = diff_data(update_id, update_id, update_id - 1, [], [], self.market.ms()) | {"s": SYMBOL}
        self.market.store.ingest([frame("ausdt@depth@100ms", data)], self.link)

    def is_suspected(self, seconds: float, *, current: bool = True) -> bool:
        found: set[Key] = set()
        for _ in range(round(seconds * 10)):
            if current:
                self.link.advance(self.market.ms() / 1000, self.market.ms() / 1000)
            found |= self.market.suspects(0.1)
        assert found <= {self.series.key}
        return bool(found)


def test_a_full_book_is_compared_with_the_quotes_where_there_is_no_partial_one(market: WatchedMarket) -> None:
    book = FullBook(market)
    market.quotes(105)
    assert book.is_suspected(3.0)


def test_a_full_book_without_quotes_is_compared_with_nothing() -> None:
    assert not FullBook(WatchedMarket(reported=False)).is_suspected(5.0)


@pytest.mark.parametrize("quoted", [None, 103])
def test_a_full_book_is_compared_with_the_partial_one_where_that_is_ahead_of_the_quotes(
    market: WatchedMarket, quoted: int | None
) -> None:
    book = FullBook(market, instead=False)
    assert not book.is_suspected(3.0)
    market.book(105)
    if quoted is not None:
        market.quotes(quoted)
        book.change(101)
        book.change(102)
        book.change(103)
    assert book.is_suspected(3.0)


def test_a_full_book_on_a_connection_that_lags_is_not_suspected(market: WatchedMarket) -> None:
    book = FullBook(market)
    market.second += LINK_CURRENT
    market.quotes(105)
    assert not book.is_suspected(10.0, current=False)
    assert book.is_suspected(1.0)


def test_a_full_book_that_has_reached_the_quotes_has_a_moment_to_reach_the_next_ones(market: WatchedMarket) -> None:
    book = FullBook(market)
    market.quotes(101)
    assert not book.is_suspected(LOOK_EVERY)
    book.change(101)
    market.quotes(102)
    assert not book.is_suspected(DEPTH_GRACE + LOOK_EVERY)
    assert book.is_suspected(2 * LOOK_EVERY)
