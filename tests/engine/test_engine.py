from __future__ import annotations

from ats_sync.engine.obstacles import ATTEMPTS
from ats_sync.errors import AccessDenied, ExchangeFailure, RequestRejected
from ats_sync.feeds import CLOCK, FEEDS, Cause, Key, Kind
from ats_sync.store.klines import KlineSeries
from ats_sync.store.market import MarketStore
from ats_sync.store.series import Series
from ats_sync.venue.endpoints import Host, Route

from .bench import TURN, Bench, deep, failing

# --- hand-over ------------------------------------------------------------------------------------


def test_a_hand_over_requests_and_interrupts_nothing() -> None:
    bench = Bench([deep("AUSDT", 20), deep("BUSDT", 0)], connection_max_age=100.0)
    bench.warm()
    begun, before = bench.seconds, set(bench.links.values())
    for _ in range(200):
        bench.run(0.7)
        assert not bench.lacking()
        for series in bench.store.of(KlineSeries):
            link = series.state(bench.exchange()).link
            assert link is not None
            assert link.up
    assert not before & set(bench.links.values())
    bench.run(20)
    since = [fetch for when, fetch in bench.asked if when > begun]
    assert not [fetch for fetch in since if fetch.key.kind in (Kind.TRADES, Kind.BOOK)]
    assert bench.agrees("AUSDT")


def test_a_fetch_dropped_with_its_connection_is_made_again() -> None:
    bench = Bench([deep("AUSDT", 20)], connection_max_age=60.0)
    bench.warm()
    bench.holds = lambda fetch: fetch.key.kind is Kind.KLINES and bool(bench.held) is False
    bench.dropped = lambda stream, frame: b'"x":true' in frame and bench.seconds < TURN + 1
    assert bench.run(60, until=lambda: bool(bench.held))
    (waiting,) = bench.held
    assert waiting.link is not None
    # What waits in line for a connection that is gone is dropped silently.
    assert bench.run(90, until=lambda: not waiting.link.up)
    bench.run(20)
    assert len(bench.of(Kind.KLINES, cause=Cause.REPAIR)) >= 2
    assert bench.agrees()
    assert not bench.series().state(bench.exchange()).doubt


def test_a_hand_over_makes_no_book_live_that_was_not_live_before() -> None:
    bench = Bench([deep("AUSDT", 0)])
    bench.warm()
    book, state = bench.store.book("AUSDT"), bench.engine.reconciler.states[Key(Kind.BOOK, "AUSDT")]
    link = bench.link_of("ausdt@depth20@100ms")
    assert book.state(0).link is link is state.link
    book.suspect("unproven")
    successor = next(link for link in bench.links.values() if link.route == "market")
    bench.engine.reconciler.moved(book.key, successor, bench.at())
    assert book.state(0).link is None


# --- dead connections ----------------------------------------------------------------------------


def test_a_connection_with_many_dead_streams_is_made_again() -> None:
    bench = Bench([deep(f"S{i}USDT", 60, minutes=4) for i in range(24)])
    bench.warm()
    link = bench.link_of("s0usdt@kline_1m")
    bench.dropped = lambda told, frame: "kline" in told and bench.link_of("s0usdt@kline_1m") is link
    assert bench.run(15, until=lambda: link is not None and not link.up)
    assert bench.run(20, until=bench.all_live)
    bench.run(70)
    assert all(map(bench.agrees, bench.symbols))


# --- what makes waiting hopeless -------------------------------------------------------------------


def test_a_host_counts_where_what_is_missing_failed_there_itself() -> None:
    bench = Bench([deep("AUSDT", 20)])
    bench.warm()
    barred = AccessDenied("firewall", status=403)
    for host in (Host.SPOT, Host.FUTURES):
        for _ in range(ATTEMPTS):
            bench.engine.obstacles.failed(host, barred)
    assert bench.engine.hopeless(bench.at()) is None, "nothing is missing"
    bench.symbols["BUSDT"] = deep("BUSDT", 20)
    bench.fails = lambda fetch: barred if fetch.request.host is Host.FUTURES else None
    bench.follow("BUSDT")
    assert bench.engine.missing(bench.at())
    assert bench.engine.hopeless(bench.at()) is None, "what is missing has not been tried yet"
    assert bench.run(10, until=lambda: bench.engine.hopeless(bench.at()) is barred)


def test_a_host_counts_at_the_start_though_only_the_time_was_requested() -> None:
    bench = Bench([deep("AUSDT", 20)])
    barred = AccessDenied("firewall", status=403)
    bench.fails = failing(Kind.CLOCK, barred)
    assert bench.run(10, until=lambda: bench.engine.hopeless(bench.at()) is barred)
    assert not bench.of(Kind.KLINES)


def test_a_route_counts_where_the_connection_of_a_missing_stream_failed_there_itself() -> None:
    bench = Bench([deep("AUSDT", 20)])
    bench.refuses = True
    error = RequestRejected("no such path", status=404)
    for _ in range(ATTEMPTS):
        bench.engine.obstacles.failed(Route.MARKET, error)
    assert bench.engine.missing(bench.at())
    assert bench.engine.hopeless(bench.at()) is None, "no connection that is waited for has been tried yet"
    assert bench.run(5, until=lambda: bench.engine.hopeless(bench.at()) is error)
    bench.refuses = False
    bench.warm()
    assert bench.engine.hopeless(bench.at()) is None


# --- coming and going -----------------------------------------------------------------------------


def test_what_is_no_longer_followed_is_no_longer_requested() -> None:
    bench = Bench([deep("AUSDT", 20), deep("BUSDT", 0)])
    bench.warm()
    keys = [key for key in bench.store.followed_keys() if key.symbol == "BUSDT"]
    bench.engine.unfollow(bench.store.unfollow(keys), bench.at())
    gone = bench.seconds
    bench.run(300)
    assert not [fetch for when, fetch in bench.asked if fetch.key.symbol == "BUSDT" and when >= gone]
    assert not [name for held in bench.subscribed.values() for name in held if name.startswith("busdt@")]
    assert not any(key.symbol == "BUSDT" for key in bench.engine.reconciler.states)
    bench.follow("BUSDT")
    assert bench.run(20, until=bench.all_live)
    assert bench.agrees("BUSDT")


def test_a_symbol_that_is_followed_later_is_warmed_up_like_the_first() -> None:
    bench = Bench([deep("AUSDT", 20), deep("BUSDT", 20)], follow=False)
    bench.follow("AUSDT")
    bench.warm()
    bench.follow("BUSDT")
    assert bench.run(20, until=bench.all_live)
    assert bench.agrees("BUSDT")
    assert len(bench.of(Kind.KLINES, symbol="AUSDT")) == 1


# --- the clock ------------------------------------------------------------------------------------


def test_an_unknown_time_is_requested_at_once_without_hammering_the_exchange() -> None:
    bench = Bench([deep("AUSDT", 20)])
    bench.warm()
    begun = bench.seconds
    bench.fails = failing(Kind.CLOCK, ExchangeFailure("x"))
    bench.proven = False
    bench.run(60)
    assert 1 <= len(bench.of(Kind.CLOCK, since=begun)) <= 15
    assert bench.of(Kind.CLOCK, since=begun)[0][0] - begun < 1.0
    bench.fails = lambda fetch: None
    assert bench.run(40, until=lambda: bench.proven)
    begun = bench.seconds
    bench.run(60)
    assert not bench.of(Kind.CLOCK, since=begun)


# --- nothing grows --------------------------------------------------------------------------------


def test_nothing_grows_with_time() -> None:
    bench = Bench([deep("AUSDT", 20, minutes=70), deep("BUSDT", 0, minutes=70)], connection_max_age=120.0)
    bench.warm()

    def size() -> int:
        reconciler = bench.engine.reconciler
        return len(reconciler._queue) + len(reconciler.states) + len(bench.engine._by_stream)

    bench.run(400)
    after_a_while = size()
    for i in range(20):
        bench.run(75)
        if i % 5 == 0:
            bench.cut_route("market" if i % 2 else "public")
    assert size() <= after_a_while + 10
    assert len(bench.engine.connections.connections) <= 3
    assert bench.run(30, until=bench.all_live)


def test_the_policy_says_which_series_may_need_a_new_answer_though_nothing_is_missing() -> None:
    for kind, (made, _) in MarketStore._MAKE.items():
        assert FEEDS[kind].refreshed == (made.needs_refresh is not Series.needs_refresh)


def test_connections_are_not_alive_in_the_future_once_the_time_is_known() -> None:
    bench = Bench([deep("AUSDT", 20)])
    bench.warm()
    link = bench.link_of("!markPrice@arr@1s")
    assert link is not None
    link.watermark += 1.5  # as a pong does when the clock is ahead
    bench.engine.reconciler.polls.again(CLOCK, bench.at(), 0.0)
    bench.run(0.15)
    assert link.watermark <= bench.exchange() / 1000.0


def test_a_connection_that_keeps_lagging_is_made_again() -> None:
    bench = Bench([deep("AUSDT", 20)])
    bench.warm()
    laggard = bench.link_of("!markPrice@arr@1s")
    assert laggard is not None

    class Laggard(type(laggard)):  # type: ignore[misc]
        __slots__ = ()

        def advance(self, exchange_time: float, exchange_now: float) -> None:
            super().advance(exchange_time - 5.0, exchange_now)

    laggard.__class__ = Laggard
    begun = bench.seconds
    assert bench.run(30, until=lambda: not laggard.up)
    assert bench.seconds - begun >= 10
    assert bench.of(Kind.CLOCK, since=begun), "the clock is confirmed first"
    assert bench.run(20, until=bench.all_live)
    reconnects = bench.engine.connections.reconnects
    bench.run(100)
    assert bench.engine.connections.reconnects == reconnects
