from __future__ import annotations

import itertools
import json

import pytest

from ats_sync.engine.jobs import Fetch
from ats_sync.engine.upkeep import (
    AUDIT_EVERY,
    BARRED_RETRY,
    CONFIRM_SPREAD,
    FIRST_FRAME_WITHIN,
    RETRY_MOST,
    WITHOUT_STREAM_AFTER,
    tail_limit,
)
from ats_sync.errors import AccessDenied, ExchangeFailure, RequestRejected
from ats_sync.feeds import FEEDS, Cause, Key, Kind
from ats_sync.store.absorb import absorb
from ats_sync.venue.intervals import MINUTE

from ..venue.samples import MIDNIGHT, compact
from .bench import FIRST_TRADE, HISTORY, TURN, Bench, TinySymbol, deep, failing

POLLS = (Cause.POLL, Cause.AUDIT, Cause.PROBE)
# --- warming up -----------------------------------------------------------------------------------


def test_the_clock_is_asked_first_and_alone() -> None:
    bench = Bench({"AUSDT": 12})
    bench.run(0.09)
    assert [fetch.key.kind for _, fetch in bench.asked] == [Kind.CLOCK]
    assert bench.connects == []
    bench.run(0.1)
    assert len(bench.asked) > 4
    assert sorted(route for _, route in bench.connects) == ["market", "public"]


def test_without_the_clock_it_goes_on_after_a_while() -> None:
    bench = Bench({"AUSDT": 12}, follow=False)
    bench.fails = failing(Kind.CLOCK, ExchangeFailure("x"), times=3)
    bench.follow("AUSDT")
    assert bench.run(30, until=bench.all_live)
    assert [fetch.key.kind for _, fetch in bench.asked[:3]] == [Kind.CLOCK] * 3


def test_the_warm_up_asks_for_what_weighs_little_after_the_subscription() -> None:
    bench = Bench([deep("AUSDT", 12), deep("BUSDT", 0)])
    bench.warm()
    for symbol in ("AUSDT", "BUSDT"):
        ((_, klines),) = bench.of(Kind.KLINES, symbol=symbol)
        assert (klines.limit, klines.request.weight, klines.cause) == (499, 2, Cause.WARM_UP)
        assert klines.link is bench.link_of(f"{symbol.lower()}@kline_1m")
        ((_, trades),) = bench.of(Kind.TRADES, symbol=symbol)
        assert (trades.limit, trades.link is not None) == (1000, True)
        ((_, interest),) = bench.of(Kind.OPEN_INTEREST, symbol=symbol)
        assert interest.limit == 300
        assert bench.agrees(symbol)
    for kind in (Kind.MARK, Kind.SPOT, Kind.LISTINGS, Kind.TICKERS, Kind.CLOCK):
        assert len(bench.of(kind)) == 1, "one call for all symbols"
    assert bench.engine.missing() == []


def test_it_names_what_is_missing() -> None:
    bench = Bench({"AUSDT": 12})
    missing = bench.engine.missing()
    assert Key(Kind.KLINES, "AUSDT", "1m") in missing
    assert Key(Kind.BOOK, "AUSDT") in missing
    assert Key(Kind.MARK) in missing
    assert all(FEEDS[key.kind].awaited for key in missing)


def test_a_steady_market_causes_nothing_but_polls_and_audits() -> None:
    bench = Bench([deep("AUSDT", 20), deep("BUSDT", 7)])
    bench.warm()
    begun = bench.seconds
    for _ in range(40):
        bench.run(5)
        assert bench.agrees("AUSDT")
        assert bench.agrees("BUSDT")
    assert {fetch.cause for _, fetch in bench.asked if fetch and _ > begun} <= set(POLLS)
    assert not bench.lacking()


def test_a_stream_that_is_never_acknowledged_is_fetched_all_the_same() -> None:
    bench = Bench({"AUSDT": 12}, follow=False)
    bench.acknowledges = lambda stream: "kline" not in stream
    bench.follow("AUSDT")
    bench.run(WITHOUT_STREAM_AFTER + 1)
    assert bench.of(Kind.KLINES)
    assert bench.series().following() > 0
    assert not bench.engine.upkeep.ready(bench.series().key)


def test_without_streams_everything_comes_by_rest() -> None:
    bench = Bench({"AUSDT": 12}, streams=False)
    assert bench.run(5, until=bench.all_live)
    assert bench.connects == []
    bench.run(300)
    assert bench.connects == []
    assert len(bench.of(Kind.TRADES)) >= 2
    assert not bench.of(Kind.TICKERS)


def test_an_early_read_of_few_rows_does_not_shorten_the_warm_up() -> None:
    bench = Bench([deep("AUSDT", 12)])
    rows = bench.symbols["AUSDT"].truth.rest(bench.exchange(), 2)
    absorb(bench.store, bench.series().key, compact(rows), asked=bench.exchange(), limit=2, link=None)
    bench.warm()
    assert bench.agrees()


# --- the turn of the candle -----------------------------------------------------------------------


def test_candles_that_trade_need_no_request_at_the_turn() -> None:
    bench = Bench([deep(f"S{i}USDT", 10) for i in range(10)])
    bench.warm()
    bench.run(TURN + 120)
    assert not bench.of(Kind.KLINES, cause=Cause.REPAIR)
    assert all(map(bench.agrees, bench.symbols))


def test_quiet_candles_are_confirmed_by_small_requests_spread_over_time_and_never_doubted() -> None:
    bench = Bench([deep(f"S{i}USDT", 0) for i in range(30)])
    bench.warm()

    def doubted() -> bool:
        now = bench.exchange()
        return any(series.standing(now).doubt for series in bench.store.klines.values())

    assert not bench.run(TURN - bench.seconds + 55, until=doubted)
    confirmed = bench.of(Kind.KLINES, cause=Cause.REPAIR)
    assert len(confirmed) == 30
    assert {fetch.request.weight for _, fetch in confirmed} == {1}
    times = [when - TURN for when, _ in confirmed]
    assert min(times) >= 5.0, "before that REST may not have its last word"
    assert max(times) <= 6.0 + CONFIRM_SPREAD
    assert max(sum(start <= when < start + 1.0 for when in times) for start in times) <= 10
    assert all(map(bench.agrees, bench.symbols))


def test_a_confirmation_is_not_lost_to_an_audit() -> None:
    bench = Bench([deep("AUSDT", 0)])
    bench.warm()
    bench.run(TURN - bench.seconds + 3.6)
    state = bench.engine.upkeep.states[bench.series().key]
    # The rolling audit of this series happens to fall between the turn and the confirmation.
    state.due = None
    bench.engine.upkeep._schedule(state, bench.now + 0.3, Cause.AUDIT)
    bench.run(56)
    assert not bench.series().standing(bench.exchange()).doubt


def test_a_lost_final_event_is_made_good_as_soon_as_rest_has_it() -> None:
    bench = Bench([deep("AUSDT", 10), deep("BUSDT", 10)])
    bench.warm()
    bench.dropped = lambda stream, frame: (
        stream == "ausdt@kline_1m" and b'"x":true' in frame and bench.seconds < TURN + 1
    )
    bench.run(TURN - bench.seconds + 10)
    ((when, fetch),) = bench.of(Kind.KLINES, cause=Cause.REPAIR)
    assert fetch.key.symbol == "AUSDT"
    assert fetch.request.weight == 1
    assert 5.0 <= when - TURN <= 8.5
    assert bench.agrees()
    assert not bench.series().standing(bench.exchange()).doubt


def test_a_clock_that_was_ahead_does_not_hold_up_the_turns() -> None:
    bench = Bench([deep("AUSDT", 0)], follow=False)
    bench.exchange_ahead = 600_000
    bench.follow("AUSDT")
    bench.warm()
    bench.run(TURN + 40)
    assert len(bench.of(Kind.KLINES, cause=Cause.REPAIR)) == 1


@pytest.mark.parametrize("interval", ["1m", "1h", "1w", "1M", "3d"])
def test_the_tail_reaches_back_to_the_first_open_candle(interval: str) -> None:
    assert tail_limit(0, interval, MIDNIGHT) is None
    opened = MIDNIGHT - 5 * 86_400_000 if interval == "1w" else 1_793_491_200_000 if interval == "1M" else MIDNIGHT
    assert tail_limit(opened, interval, opened) == 2
    assert tail_limit(opened, interval, opened - 5) == 2
    if interval == "1m":
        assert tail_limit(opened, interval, opened + 97 * MINUTE) == 99


# --- gaps -----------------------------------------------------------------------------------------


def test_a_lost_trade_is_fetched_by_its_number() -> None:
    bench = Bench([deep("AUSDT", 120)])
    bench.warm()
    lost = bench.symbols["AUSDT"].last_trade(bench.exchange()) + 5
    bench.dropped = lambda stream, frame: f'"a":{lost},'.encode() in frame
    assert bench.run(20, until=lambda: len(bench.of(Kind.TRADES, cause=Cause.REPAIR)) > 0)
    bench.run(0.2)
    ((_, fetch),) = bench.of(Kind.TRADES, cause=Cause.REPAIR)
    asked = dict(fetch.request.params)
    assert int(asked["fromId"]) <= lost < int(asked["fromId"]) + int(asked["limit"])
    newest = bench.symbols["AUSDT"].last_trade(bench.exchange())
    assert bench.trade_ids()[-1] >= newest - 1
    assert len(bench.trade_ids()) == 1_000
    assert bench.store.trades["AUSDT"].standing().hole is None
    bench.run(10)
    assert len(bench.of(Kind.TRADES, cause=Cause.REPAIR)) == 1


def test_trades_lost_in_a_long_gap_are_fetched_page_by_page() -> None:
    bench = Bench([deep("AUSDT", 2_000, minutes=6)])
    bench.warm()
    bench.dropped = lambda stream, frame: stream.endswith("@aggTrade")
    bench.run(20)
    bench.dropped = lambda stream, frame: False
    assert bench.run(10, until=lambda: bench.store.trades["AUSDT"].standing().rows >= 1_000)
    ids = bench.trade_ids()
    assert ids == list(range(ids[0], ids[0] + 1_000))
    assert 1 <= len(bench.of(Kind.TRADES, cause=Cause.REPAIR)) <= 3


@pytest.mark.parametrize("first_trade", [0, 1, FIRST_TRADE])
@pytest.mark.parametrize("busy", [0, 2])
def test_a_symbol_with_few_trades_is_not_asked_for_more_again_and_again(first_trade: int, busy: int) -> None:
    young = TinySymbol("AUSDT", [4] * 3 + [busy] * (HISTORY + 17), first_trade=first_trade)
    bench = Bench([young])
    bench.run(120)
    assert len(bench.of(Kind.TRADES)) <= 4
    ids = bench.trade_ids()
    assert ids == list(range(first_trade, young.last_trade(bench.exchange() - 50) + 1))


def test_a_symbol_that_never_traded_is_not_asked_again_and_again() -> None:
    bench = Bench({"AUSDT": 0})
    bench.run(120)
    assert len(bench.of(Kind.TRADES)) <= 4


# --- reconnecting ---------------------------------------------------------------------------------


def test_what_was_missed_while_away_is_fetched_by_the_smallest_request() -> None:
    bench = Bench([deep("AUSDT", 10), deep("BUSDT", 0)])
    bench.warm()
    bench.run(TURN - bench.seconds - 5)
    begun = bench.seconds
    bench.refuses = True
    bench.cut_route("market")
    bench.run(25)
    bench.refuses = False
    assert bench.run(30, until=bench.all_live)
    for symbol in ("AUSDT", "BUSDT"):
        limits = [fetch.limit for _, fetch in bench.of(Kind.KLINES, since=begun, symbol=symbol)]
        assert limits
        assert max(limits) <= 4
    bench.run(60)
    assert bench.agrees("AUSDT")
    assert bench.agrees("BUSDT")
    ids = bench.trade_ids()
    assert ids == list(range(ids[0], ids[0] + 1_000))
    assert ids[-1] >= bench.symbols["AUSDT"].last_trade(bench.exchange()) - 1


def test_nothing_is_live_before_an_answer_that_was_asked_after_the_acknowledgement() -> None:
    bench = Bench([deep("AUSDT", 10)])
    bench.warm()
    bench.holds = lambda fetch: fetch.key.kind is Kind.KLINES
    bench.cut_route("market")
    bench.run(20)
    link = bench.series().standing(bench.exchange()).link
    assert link is None or not link.up
    (fetch, *_) = bench.held
    assert fetch.link is bench.link_of("ausdt@kline_1m")


def test_an_answer_asked_on_a_connection_that_has_gone_since_makes_nothing_live() -> None:
    bench = Bench([deep("AUSDT", 10)])
    bench.warm()
    held: list[Fetch] = []
    bench.holds = lambda fetch: fetch.key.kind is Kind.KLINES
    bench.cut_route("market")
    bench.run(3)
    held, bench.held = bench.held, []
    bench.cut_route("market")
    bench.holds = lambda fetch: False
    # The connection is back, and only then the old answer comes.
    assert bench.run(30, until=lambda: bench.link_of("ausdt@kline_1m") is not None)
    for fetch in held:
        bench.receive(fetch, bench.answer(fetch, bench.exchange() - 5_000), bench.exchange() - 5_000)
        assert bench.series().link is not fetch.link
    assert bench.run(20, until=bench.all_live)


def test_a_book_of_which_no_frame_comes_is_fetched_and_one_that_moves_is_not() -> None:
    bench = Bench([deep("MOVES", 120), deep("QUIET", 0)])
    bench.warm()
    assert not bench.of(Kind.BOOK, symbol="MOVES")
    ((when, fetch),) = bench.of(Kind.BOOK, symbol="QUIET")
    assert when >= FIRST_FRAME_WITHIN
    assert (fetch.limit, fetch.request.weight) == (20, 2)
    bench.run(120)
    assert len(bench.of(Kind.BOOK)) == 1


def test_mark_prices_that_failed_at_first_come_in_spite_of_a_reconnect() -> None:
    bench = Bench([deep("AUSDT", 10)], follow=False)
    bench.fails = failing(Kind.MARK, ExchangeFailure("x"), times=1)
    bench.follow("AUSDT")
    assert bench.run(3, until=lambda: bool(bench.engine.upkeep.states[Key(Kind.MARK)].error))
    assert bench.run(3, until=lambda: bench.link_of("!markPrice@arr@1s") is not None)
    bench.cut_route("market")
    assert bench.run(30, until=lambda: not bench.engine.missing())


def test_the_backstop_goes_on_after_a_reconnect() -> None:
    bench = Bench([deep("AUSDT", 10)])
    bench.warm()
    bench.cut_route("market")
    bench.run(300)
    assert len(bench.of(Kind.TICKERS)) >= 3


def test_trades_that_go_on_where_they_had_been_need_no_request() -> None:
    bench = Bench([deep("AUSDT", 30)])
    bench.warm()
    begun = bench.seconds
    bench.cut_route("market")
    # So short that no trade is lost.
    assert bench.run(1.7, until=lambda: bench.link_of("ausdt@aggTrade") is not None)
    assert bench.run(10, until=bench.all_live)
    assert not bench.of(Kind.TRADES, since=begun)
    ids = bench.trade_ids()
    assert ids == list(range(ids[0], ids[0] + 1_000))


# --- failures -------------------------------------------------------------------------------------


def test_failures_are_tried_again_after_growing_pauses() -> None:
    bench = Bench([deep("AUSDT", 0)], follow=False)
    bench.fails = failing(Kind.OPEN_INTEREST, ExchangeFailure("x"))
    bench.follow("AUSDT")
    bench.run(200)
    times = [when for when, _ in bench.of(Kind.OPEN_INTEREST)]
    pauses = [b - a for a, b in itertools.pairwise(times)]
    assert 6 <= len(times) <= 30
    assert pauses[0] < 2 < pauses[2] < pauses[4]
    assert max(pauses) <= RETRY_MOST * 1.25 + 0.2
    bench.fails = lambda fetch: None
    assert bench.run(40, until=bench.all_live)
    assert bench.engine.upkeep.states[Key(Kind.OPEN_INTEREST, "AUSDT", "1h")].error is None


def test_what_can_not_be_helped_is_not_hammered() -> None:
    bench = Bench([deep("AUSDT", 0)], follow=False)
    bench.fails = failing(Kind.OPEN_INTEREST, AccessDenied("403"))
    bench.follow("AUSDT")
    bench.run(200)
    times = [when for when, _ in bench.of(Kind.OPEN_INTEREST)]
    assert min(b - a for a, b in itertools.pairwise(times)) >= BARRED_RETRY


def test_a_symbol_the_exchange_does_not_know_costs_nothing_more() -> None:
    bench = Bench([deep("AUSDT", 10), deep("GONE", 10)], follow=False)
    unknown = RequestRejected("Invalid symbol.", status=400, code=-1121)
    bench.fails = lambda fetch: unknown if fetch.key.symbol == "GONE" else None
    bench.unlisted = {"GONE"}
    bench.follow("AUSDT", "GONE")
    bench.run(30)
    before = len([fetch for _, fetch in bench.asked if fetch.key.symbol == "GONE"])
    bench.run(400)
    assert len([fetch for _, fetch in bench.asked if fetch.key.symbol == "GONE"]) == before <= 6
    assert "GONE" in bench.store.delisted
    assert bench.agrees()
    assert not bench.engine.missing()


# --- polls ----------------------------------------------------------------------------------------


def test_polls_never_come_as_one_crowd() -> None:
    bench = Bench([deep(f"S{i}USDT", 0, minutes=12) for i in range(20)])
    bench.warm()
    bench.run(600)
    times = [when for when, _ in bench.of(Kind.OPEN_INTEREST, cause=Cause.POLL)]
    assert len(times) >= 40
    assert max(sum(start <= when < start + 10.0 for when in times) for start in times) <= 7
    for name in bench.symbols:
        own = [when for when, _ in bench.of(Kind.OPEN_INTEREST, symbol=name)]
        bound = FEEDS[Kind.OPEN_INTEREST].bound_polled
        assert bound is not None
        assert max(b - a for a, b in itertools.pairwise(own)) < bound
        assert all(fetch.limit <= 3 for _, fetch in bench.of(Kind.OPEN_INTEREST, symbol=name, cause=Cause.POLL))


def test_every_series_is_audited_every_five_minutes_at_weight_one() -> None:
    bench = Bench([deep(f"S{i}USDT", 12, minutes=16) for i in range(4)])
    bench.warm()
    bench.run(900)
    for name in bench.symbols:
        audits = bench.of(Kind.KLINES, cause=Cause.AUDIT, symbol=name)
        times = [0.0, *(when for when, _ in audits)]
        assert max(b - a for a, b in itertools.pairwise(times)) <= AUDIT_EVERY + 30
        assert {fetch.request.weight for _, fetch in audits} == {1}
        assert {fetch.limit for _, fetch in audits} == {99}


def test_an_audit_corrects_what_was_wrong_and_counts_it() -> None:
    bench = Bench([deep("AUSDT", 10)])
    bench.warm()

    def falsify(stream: str, frame: bytes) -> bool:
        if stream != "ausdt@kline_1m" or b'"x":true' not in frame:
            return False
        message = json.loads(frame)
        message["data"]["k"]["v"] = "1.0"
        bench.dropped = lambda stream, frame: False
        bench.deliver(stream, compact(message))
        return True

    bench.dropped = falsify
    bench.run(TURN - bench.seconds + 1)
    assert not bench.agrees()
    bench.run(AUDIT_EVERY + 40)
    assert bench.agrees()
    assert bench.series().mismatches == 1
