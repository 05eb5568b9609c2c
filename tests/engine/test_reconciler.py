from __future__ import annotations

from ats_sync.engine.jobs import Fetch
from ats_sync.engine.reconciler import WITHOUT_STREAM_AFTER
from ats_sync.errors import ExchangeFailure, RequestRejected
from ats_sync.feeds import FEEDS, Cause, Key, Kind
from ats_sync.store.link import Link

from ..requesting import request_for
from ..venue.samples import compact
from .bench import Bench, deep, failing

POLLS = (Cause.POLL, Cause.AUDIT, Cause.PROBE)

# --- warming up -----------------------------------------------------------------------------------


def test_the_warm_up_makes_requests_of_little_weight_after_the_subscription() -> None:
    bench = Bench([deep("AUSDT", 12), deep("BUSDT", 0)])
    bench.warm()
    for symbol in ("AUSDT", "BUSDT"):
        ((_, klines),) = bench.of(Kind.KLINES, symbol=symbol)
        assert (klines.request.rows, klines.request.weight, klines.cause) == (500, 2, Cause.WARM_UP)
        assert klines.link is bench.link_of(f"{symbol.lower()}@kline_1m")
        ((_, trades),) = bench.of(Kind.TRADES, symbol=symbol)
        assert (trades.request.rows, trades.link is not None) == (1000, True)
        ((_, interest),) = bench.of(Kind.OPEN_INTEREST, symbol=symbol)
        assert interest.request.rows == 300
        assert bench.agrees(symbol)
    for kind in (Kind.MARK, Kind.SPOT, Kind.LISTINGS, Kind.TICKERS, Kind.CLOCK):
        assert len(bench.of(kind)) == 1, "one call for all symbols"
    assert bench.engine.missing(bench.at()) == []


def test_the_reconciler_names_what_is_missing() -> None:
    bench = Bench({"AUSDT": 12})
    missing = bench.engine.missing(bench.at())
    assert Key(Kind.KLINES, "AUSDT", "1m") in missing
    assert Key(Kind.BOOK, "AUSDT") in missing
    assert Key(Kind.MARK) in missing
    assert all(FEEDS[key.kind].gates_start for key in missing)


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
    assert not bench.engine.reconciler.ready(bench.series().key)


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
    key = bench.series().key
    bench.store.merge(key, request_for(key, 2), compact(rows), bench.exchange(), None)
    bench.warm()
    assert bench.agrees()


# --- reconnecting ---------------------------------------------------------------------------------


def test_nothing_is_live_before_an_answer_that_was_requested_after_the_acknowledgement() -> None:
    bench = Bench([deep("AUSDT", 10)])
    bench.warm()
    bench.holds = lambda fetch: fetch.key.kind is Kind.KLINES
    bench.cut_route("market")
    bench.run(20)
    link = bench.series().state(bench.exchange()).link
    assert link is None or not link.up
    (fetch, *_) = bench.held
    assert fetch.link is bench.link_of("ausdt@kline_1m")


def test_an_answer_requested_on_a_connection_that_was_lost_since_makes_nothing_live() -> None:
    bench = Bench([deep("AUSDT", 10)])
    bench.warm()
    held: list[Fetch] = []
    bench.holds = lambda fetch: fetch.key.kind is Kind.KLINES
    bench.cut_route("market")
    bench.run(3)
    held, bench.held = bench.held, []
    bench.cut_route("market")
    bench.holds = lambda fetch: False
    # The connection is back, and only then does the old answer come.
    assert bench.run(30, until=lambda: bench.link_of("ausdt@kline_1m") is not None)
    for fetch in held:
        bench.receive(fetch, bench.answer(fetch, bench.exchange() - 5_000), bench.exchange() - 5_000)
        assert bench.series().link is not fetch.link
    assert bench.run(20, until=bench.all_live)


def test_what_a_readers_answer_has_put_in_doubt_is_repaired() -> None:
    bench = Bench([deep("AUSDT", 60)])
    bench.warm()
    bench.run(20)
    series = bench.series()
    row = series.rows(1, None, exact=True)[0]
    row[8] -= 1  # REST says that the exchange has recomputed the candle.
    read = Fetch(series.key, request_for(series.key, 1), Cause.READ)
    asked = len(bench.of(Kind.KLINES))
    bench.receive(read, compact([row]), bench.exchange() + 1_500)
    assert series.state(bench.exchange()).doubt
    bench.run(4)
    assert bench.of(Kind.KLINES)[asked][1].cause is Cause.REPAIR
    assert not series.state(bench.exchange()).doubt


def test_mark_prices_that_failed_at_first_come_in_spite_of_a_reconnect() -> None:
    bench = Bench([deep("AUSDT", 10)], follow=False)
    bench.fails = failing(Kind.MARK, ExchangeFailure("x"), times=1)
    bench.follow("AUSDT")
    assert bench.run(3, until=lambda: bool(bench.engine.reconciler.states[Key(Kind.MARK)].error))
    assert bench.run(3, until=lambda: bench.link_of("!markPrice@arr@1s") is not None)
    bench.cut_route("market")
    assert bench.run(30, until=lambda: not bench.engine.missing(bench.at()))


# --- failures -------------------------------------------------------------------------------------


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
    assert not bench.engine.missing(bench.at())


# --- polls ----------------------------------------------------------------------------------------


# --- nothing is lost sight of ---------------------------------------------------------------------

KLINES = Key(Kind.KLINES, "AUSDT", "1m")


def with_an_audit_in_line() -> Bench:
    """Make an audit of the candles wait in line for ever."""
    bench = Bench([deep("AUSDT", 20)])
    bench.warm()
    bench.holds = lambda fetch: fetch.cause is Cause.AUDIT and fetch.key == KLINES
    assert bench.run(400, until=lambda: bool(bench.held))
    return bench


def test_a_repair_does_not_wait_for_an_audit_in_line() -> None:
    bench = with_an_audit_in_line()
    bench.dropped = lambda stream, frame: b'"x":true' in frame
    assert bench.run(70, until=lambda: bool(bench.series().state(bench.exchange()).doubt))
    bench.dropped = lambda stream, frame: False
    assert bench.run(12, until=bench.agrees)


def test_a_new_subscription_does_not_wait_for_an_audit_in_line() -> None:
    bench = with_an_audit_in_line()
    bench.dropped = lambda stream, frame: stream == "ausdt@kline_1m"
    assert bench.run(30, until=lambda: bench.series().link is None)
    bench.dropped = lambda stream, frame: False
    assert bench.run(8, until=lambda: bench.series().link is bench.link_of("ausdt@kline_1m"))
    bench.run(1)
    assert bench.agrees()


def test_what_waits_for_a_connection_that_is_then_lost_is_requested_on_the_new_one() -> None:
    bench = with_an_audit_in_line()
    state = bench.engine.reconciler.states[KLINES]
    old, new = state.link, Link(99, "market", bench.exchange() / 1000.0)
    assert old is not None
    bench.series().suspect("its stream is silent")
    state.link = None
    bench.engine.reconciler.acknowledged(KLINES, new, bench.at())
    bench.engine.reconciler.lost(old, bench.at())
    assert bench.run(5, until=lambda: bench.series().link is new)


def test_what_is_requested_for_all_symbols_at_once_depends_on_no_connection() -> None:
    bench = Bench([deep("AUSDT", 20)])
    bench.warm()
    bench.holds = lambda fetch: fetch.key.kind is Kind.TICKERS
    assert bench.run(200, until=lambda: bool(bench.held))
    (fetch,) = bench.held
    assert fetch.link is None, "or it would be dropped in line with the connection, and never come again"
    bench.cut_route()
    assert bench.engine.reconciler.states[Key(Kind.TICKERS)].fetching is fetch


def test_polls_that_share_a_limit_say_which_answers_of_another_process_serve() -> None:
    bench = Bench([deep("AUSDT", 12)])
    bench.warm()
    ((_, interest),) = bench.of(Kind.OPEN_INTEREST)
    assert interest.since is not None
    assert interest.since < bench.exchange() - 60_000
    assert {fetch.since for _, fetch in bench.asked if fetch.key.kind is not Kind.OPEN_INTEREST} == {None}


def test_what_another_process_requested_before_a_symbol_began_to_trade_does_not_serve() -> None:
    bench = Bench([deep("AUSDT", 12)])
    bench.warm()
    bench.engine.reconciler.begin_trading("AUSDT", bench.at())
    begun = bench.exchange()
    bench.run(1.0)
    (_, interest), *more = reversed(bench.of(Kind.OPEN_INTEREST))
    assert len(more) == 1
    assert interest.since is not None
    assert interest.since >= begun
