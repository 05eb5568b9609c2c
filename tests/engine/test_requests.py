from __future__ import annotations

import pytest

from ats_sync.engine.liveness import SilentStreamDetector
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.store.klines import KlineSeries
from ats_sync.store.order import LAGS_AT_MOST
from ats_sync.store.series import FIRST_FRAME_WITHIN
from ats_sync.venue.intervals import MINUTE

from ..venue.samples import MIDNIGHT
from .bench import FIRST_TRADE, HISTORY, TURN, Bench, TinySymbol, deep


@pytest.mark.parametrize("interval", ["1m", "1h", "1w", "1M", "3d"])
def test_the_tail_reaches_back_to_the_first_open_candle(interval: str) -> None:
    series = KlineSeries("AUSDT", interval, 500)
    assert series.tail_limit(MIDNIGHT) is None
    opened = MIDNIGHT - 5 * 86_400_000 if interval == "1w" else 1_793_491_200_000 if interval == "1M" else MIDNIGHT
    series._closed.begin(opened)
    assert series.tail_limit(opened) == 2
    assert series.tail_limit(opened - 5) == 2
    if interval == "1m":
        assert series.tail_limit(opened + 97 * MINUTE) == 99


def test_a_lost_trade_is_fetched_by_its_id() -> None:
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
    assert bench.store.trades("AUSDT").hole() is None
    bench.run(10)
    assert len(bench.of(Kind.TRADES, cause=Cause.REPAIR)) == 1


def test_trades_lost_in_a_long_gap_are_fetched_page_by_page() -> None:
    bench = Bench([deep("AUSDT", 2_000, minutes=6)])
    bench.warm()
    bench.dropped = lambda stream, frame: stream.endswith("@aggTrade")
    bench.run(20)
    bench.dropped = lambda stream, frame: False
    assert bench.run(10, until=lambda: bench.store.trades("AUSDT").state(0).rows >= 1_000)
    ids = bench.trade_ids()
    assert ids == list(range(ids[0], ids[0] + 1_000))
    assert 1 <= len(bench.of(Kind.TRADES, cause=Cause.REPAIR)) <= 3


@pytest.mark.parametrize("first_trade", [0, 1, FIRST_TRADE])
@pytest.mark.parametrize("busy", [0, 2])
def test_more_trades_of_a_symbol_with_few_are_not_requested_again_and_again(first_trade: int, busy: int) -> None:
    young = TinySymbol("AUSDT", [4] * 3 + [busy] * (HISTORY + 17), first_trade=first_trade)
    bench = Bench([young])
    bench.run(120)
    assert len(bench.of(Kind.TRADES)) <= 4
    ids = bench.trade_ids()
    assert ids == list(range(first_trade, young.last_trade(bench.exchange() - 50) + 1))


def test_a_symbol_that_never_traded_is_not_requested_again_and_again() -> None:
    bench = Bench({"AUSDT": 0})
    bench.run(120)
    assert len(bench.of(Kind.TRADES)) <= 4


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
        limits = [fetch.request.rows for _, fetch in bench.of(Kind.KLINES, since=begun, symbol=symbol)]
        assert limits
        assert max(limits) <= 4
    bench.run(60)
    assert bench.agrees("AUSDT")
    assert bench.agrees("BUSDT")
    ids = bench.trade_ids()
    assert ids == list(range(ids[0], ids[0] + 1_000))
    assert ids[-1] >= bench.symbols["AUSDT"].last_trade(bench.exchange()) - 1


def test_a_book_without_frames_is_fetched_and_one_that_moves_is_not() -> None:
    bench = Bench([deep("MOVES", 120), deep("QUIET", 0)])
    bench.warm()
    assert not bench.of(Kind.BOOK, symbol="MOVES")
    ((when, fetch),) = bench.of(Kind.BOOK, symbol="QUIET")
    assert when >= FIRST_FRAME_WITHIN
    assert (fetch.request.rows, fetch.request.weight) == (20, 2)
    bench.run(120)
    assert len(bench.of(Kind.BOOK)) == 1


@pytest.mark.parametrize("lag", [3_000, 0])
def test_a_book_without_frames_is_confirmed_where_its_answer_is_older_than_the_subscription(lag: int) -> None:
    """Such an answer is from a lagging replica, or shows the book of a market at rest: nothing distinguishes the
    two."""
    bench = Bench([deep("QUIET", 0)])
    bench.warm()
    book, quiet = bench.store.book("QUIET"), bench.symbols["QUIET"]
    whole = quiet.rest_book
    began = bench.exchange()
    quiet.rest_book = lambda now: whole(min(now - lag, began))  # type: ignore[method-assign]
    bench.cut_route("public")
    begun = bench.seconds
    assert bench.run(15, until=lambda: bool(book.state(0).link and book.state(0).link.up))
    subscribed = bench.engine.reconciler.states[book.key].subscribed
    assert bench.exchange() >= subscribed + LAGS_AT_MOST
    assert [fetch.cause for _, fetch in bench.of(Kind.BOOK, since=begun)] == [Cause.REPAIR] * 2


def test_an_answer_for_an_earlier_subscription_makes_no_book_live() -> None:
    """The connection is the same, but between its subscriptions nothing was delivered."""
    bench = Bench([deep("QUIET", 0)])
    bench.warm()
    book = bench.store.book("QUIET")
    state = bench.engine.reconciler.states[book.key]
    bench.holds = lambda fetch: fetch.key == book.key
    bench.cut_route("public")
    assert bench.run(10, until=lambda: bool(bench.held))
    late, asked = bench.held[0], bench.exchange()
    book.suspect("silent")
    assert state.link is not None
    bench.engine.reconciler.acknowledged(book.key, state.link, bench.at())
    bench.receive(late, bench.answer(late, asked), asked)
    assert book.state(0)[:2] == (None, "silent")
    bench.holds = lambda fetch: False
    assert bench.run(5, until=lambda: book.state(0).link is state.link)


def test_trades_that_continue_where_they_ended_need_no_request() -> None:
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


def test_candles_are_requested_from_the_host_where_they_are_traded() -> None:
    assert KlineSeries("BTCUSDT", "1h", 500).newest_rows(9).path == "/fapi/v1/klines"
    spot = KlineSeries("BTCUSDT", "1h", 500, kind=Kind.SPOT_KLINES).newest_rows(9)
    assert spot.path == "/api/v3/klines"
    assert dict(spot.params) == {"symbol": "BTCUSDT", "interval": "1h", "limit": 9}


def test_trades_that_lack_the_newest_one_are_requested_though_they_follow_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench([deep("AUSDT", 4)])
    bench.warm()
    key, reconciler = Key(Kind.TRADES, "AUSDT"), bench.engine.reconciler
    shown = bench.seconds + 6.0
    monkeypatch.setattr(SilentStreamDetector, "lacks", lambda self, each, at: each == key and bench.seconds < shown)
    before = len(bench.of(Kind.TRADES))
    while bench.seconds < shown:
        reconciler.remedies.lacking.append(key)
        bench.engine.tick(bench.at())
        bench.run(0.25)
        assert bench.seconds >= shown or not bench.store.trades("AUSDT").live()
    assert bench.run(10, until=bench.all_live)
    assert 2 <= len(bench.of(Kind.TRADES)) - before <= 6, "with growing pauses, not at every look"
