"""The queues of events: what comes, in which order, and what is named where memory lacks it."""

from __future__ import annotations

import sys

from ats_sync import CandleEvent, Missed, Turn
from ats_sync.store.market import keys_of
from ats_sync.store.series import Origin

from ..venue import samples
from ..venue.samples import MINUTE
from .market import BTC, ETH, LINK, OPEN, ROWS, SYMBOLS, Market, shown


class TestCandles:
    def test_each_comes_once_with_its_text_and_its_delay(self) -> None:
        market = Market()
        queue = market.candles()
        assert market.drain(queue) == []
        market.close(0, "BTCUSDT", after=350)
        (event,) = market.drain(queue)
        assert isinstance(event, CandleEvent)
        assert event.text.encode() == samples.compact(market.truth.row(ROWS))
        assert event.row == [float(item) if isinstance(item, str) else item for item in market.truth.row(ROWS)]
        assert (event.final, event.source, event.final_at, event.delay) == (True, "stream", market.now, 0.35)
        assert (event.open_time, event.close_time) == (OPEN, OPEN + MINUTE - 1)
        queue.mark([BTC, ETH])
        assert market.drain(queue) == []

    def test_a_consumer_that_slept_gets_them_in_the_order_of_their_closes(self) -> None:
        market = Market()
        queue = market.candles()
        for number in range(3):
            market.close(number, "ETHUSDT")
        market.now -= 2 * MINUTE
        for number in range(3):
            market.close(number, "BTCUSDT")
        found = shown(market.drain(queue))
        assert sorted(found) == sorted((symbol, number) for number in range(3) for symbol in SYMBOLS)
        assert [number for _, number in found] == [0, 0, 1, 1, 2, 2]

    def test_since_replays_and_goes_on(self) -> None:
        market = Market()
        queue = market.candles(since=OPEN - 3 * MINUTE + 1)
        market.close(0, "BTCUSDT")
        events = market.drain(queue)
        assert [each for each in shown(events) if each[0] == "BTCUSDT"] == [("BTCUSDT", n) for n in (-2, -1, 0)]
        replayed = [each for each in events if isinstance(each, CandleEvent) and each.open_time < OPEN]
        assert {(each.source, each.final_at, each.delay) for each in replayed} == {("rest", None, None)}

    def test_since_zero_is_whatever_memory_has(self) -> None:
        market = Market()
        events = market.drain(market.candles(since=0))
        assert len(events) == 2 * ROWS
        assert not any(isinstance(event, Missed) for event in events)

    def test_what_memory_no_longer_has_is_named_once_a_series(self) -> None:
        market = Market(rows=10)
        queue = market.candles()
        for number in range(25):
            market.close(number, "BTCUSDT")
        missed, *candles = market.drain(queue)
        assert missed == Missed("BTCUSDT", "1m", OPEN, OPEN + 14 * MINUTE)
        assert shown(candles) == [("BTCUSDT", number) for number in range(15, 25)]

    def test_rest_and_flat_are_distinguished(self) -> None:
        market = Market()
        market.truth.trades[ROWS + 1] = 0  # nothing trades in the second candle
        queue = market.candles()
        market.close(0, "BTCUSDT")
        series = market.series("BTCUSDT")
        market.now = OPEN + 2 * MINUTE + 900
        event = series.apply(market.truth.frame(ROWS + 2, 1), LINK)
        assert event is not None
        queue.mark([event.key])
        market.now = OPEN + 3 * MINUTE + 6_000
        series.replace(market.truth.texts(market.now, 5), Origin(market.now, 5))
        queue.mark([BTC])
        found = [(e.source, e.row[8], e.delay) for e in market.drain(queue) if isinstance(e, CandleEvent)]
        assert found == [("stream", 10, 0.2), ("flat", 0, 0.9), ("rest", 10, 6.0)]

    def test_a_sleeping_consumer_of_the_whole_market_costs_less_than_a_megabyte(self) -> None:
        market = Market(symbols=tuple(f"S{number:03d}USDT" for number in range(200)))
        market.store.follow(keys_of(market.symbols, ("3m", "5m", "15m"), ()))
        queue = market.candles()
        queue.mark(market.store.series)
        market.close(0)
        entries = [queue._next, queue._news, queue._queued, queue._shown, *queue._news]
        numbers = [number for entry in queue._news for number in entry[:2]] + list(queue._next.values())
        assert len(queue._news) == 800
        assert sum(map(sys.getsizeof, [*entries, *numbers])) < 500_000
        assert len(market.drain(queue)) == 200


class TestProvisional:
    def test_a_provisional_candle_comes_when_due_and_again_only_if_it_was_wrong(self) -> None:
        market = Market()
        queue = market.candles(provisional=300)
        for symbol in SYMBOLS:
            trades = 10 if symbol == "BTCUSDT" else 7
            market.series(symbol).apply(market.truth.frame(ROWS, trades, symbol=symbol), LINK)
        market.now = OPEN + MINUTE + 299
        assert market.drain(queue) == []
        assert queue.due() == OPEN + MINUTE + 300
        market.now += 1
        early = {e.symbol: e for e in market.drain(queue) if isinstance(e, CandleEvent)}
        assert {(e.final, e.final_at, e.delay, e.source) for e in early.values()} == {(False, None, 0.3, "stream")}
        assert early["ETHUSDT"].row[8] == 7
        market.close(0, after=900)
        (again,) = market.drain(queue)
        assert isinstance(again, CandleEvent)
        assert (again.symbol, again.final, again.row[8]) == ("ETHUSDT", True, 10)
        market.close(1, after=100)
        assert shown(market.drain(queue)) == [("BTCUSDT", 1), ("ETHUSDT", 1)]
        market.now += 1_000
        assert market.drain(queue) == [], "what was final in time has no provisional version"

    def test_nothing_is_given_early_of_a_series_that_nothing_keeps_up_to_date(self) -> None:
        market = Market()
        queue = market.candles(provisional=300)
        market.series("BTCUSDT").suspect("silent")
        market.now = OPEN + MINUTE + 300
        (event,) = market.drain(queue)
        assert isinstance(event, CandleEvent)
        assert (event.symbol, event.source, event.row[8]) == ("ETHUSDT", "stream", 1)


class TestTurns:
    def test_a_turn_comes_with_the_last_symbol(self) -> None:
        market = Market()
        queue = market.turns()
        market.close(0, "BTCUSDT")
        assert market.drain(queue) == []
        market.close(0, "ETHUSDT", after=800)
        (turn,) = market.drain(queue)
        assert isinstance(turn, Turn)
        assert (turn.open_time, turn.late, turn.delay, turn.missed) == (OPEN, (), 0.8, None)
        assert {symbol: row[0] for symbol, row in turn.closed.items()} == dict.fromkeys(SYMBOLS, OPEN)
        assert turn.close_time == OPEN + MINUTE - 1

    def test_none_comes_before_its_close_though_our_idea_of_the_time_lags_behind(self) -> None:
        market = Market()
        queue = market.turns()
        market.close(0, "BTCUSDT", "ETHUSDT", after=-2_016)
        (turn,) = market.drain(queue)
        assert isinstance(turn, Turn)
        assert (turn.open_time, turn.delay) == (OPEN, 0.0)

    def test_after_the_grace_the_missing_are_named(self) -> None:
        market = Market()
        queue = market.turns(grace=3_000)
        market.close(0, "BTCUSDT")
        market.now = OPEN + MINUTE + 2_999
        assert market.drain(queue) == []
        assert queue.due() == OPEN + MINUTE + 3_000
        market.now += 1
        (turn,) = market.drain(queue)
        assert (set(turn.closed), turn.late) == ({"BTCUSDT"}, ("ETHUSDT",))

    def test_turns_that_passed_follow_one_by_one(self) -> None:
        market = Market()
        queue = market.turns(since=OPEN - 2 * MINUTE)
        market.close(0)
        market.close(1, "BTCUSDT")
        market.now += 5_000
        found = market.drain(queue)
        assert [((t.open_time - OPEN) // MINUTE, len(t.closed), t.late) for t in found] == [
            (-2, 2, ()), (-1, 2, ()), (0, 2, ()), (1, 1, ("ETHUSDT",)),
        ]  # fmt: skip

    def test_turns_that_memory_no_longer_has_are_named(self) -> None:
        market = Market(rows=10)
        queue = market.turns()
        for number in range(25):
            market.close(number)
        found = market.drain(queue)
        assert found[0].missed == Missed("", "1m", OPEN, OPEN + 14 * MINUTE)
        assert [(t.open_time - OPEN) // MINUTE for t in found] == list(range(15, 25))
        assert all(len(t.closed) == 2 and not t.late for t in found)
        assert [t.missed for t in found[1:]] == [None] * 9

    def test_what_has_left_the_exchange_is_not_waited_for(self) -> None:
        market = Market()
        queue = market.turns()
        market.store.delisted = {"ETHUSDT": "gone"}
        market.close(0, "BTCUSDT")
        (turn,) = market.drain(queue)
        assert (set(turn.closed), turn.late) == ({"BTCUSDT"}, ())

    def test_symbols_that_are_followed_meanwhile_belong_to_the_turn(self) -> None:
        market = Market()
        queue = market.turns()
        assert market.drain(queue) == []
        added = market.store.follow(keys_of(("SOLUSDT",), ("1m",), ()))
        queue.followed(added, market.now)
        market.close(0)
        assert market.drain(queue) == []
        market.now = OPEN + MINUTE + 3_000
        assert market.drain(queue)[0].late == ("SOLUSDT",)
