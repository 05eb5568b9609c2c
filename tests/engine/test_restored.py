"""Series that may begin with what was saved of them."""

from __future__ import annotations

import pytest

from ats_sync.engine.reconciler import EXPECTED_WITHIN
from ats_sync.feeds import ACTIVITY, SHARED, Cause, Key, Kind
from ats_sync.store.klines import AUDIT_ROWS, KlineSeries
from ats_sync.store.market import keys_of
from ats_sync.store.series import Origin
from ats_sync.store.trades import LEFT_TO_STREAM_FOR, TradeSeries
from ats_sync.venue.klines import kline_texts
from ats_sync.venue.trades import rest_trades

from ..venue.samples import MINUTE, compact
from .bench import BEGAN, Bench, TinySymbol, deep

KEPT = (Kind.KLINES, Kind.TRADES, Kind.OPEN_INTEREST)


def expecting(symbols: list[TinySymbol], *, streams: bool = True) -> Bench:
    """Return a launch whose kept series expect what was saved."""
    bench = Bench(symbols, streams=streams, follow=False)
    keys = bench.store.follow(keys_of(bench.symbols, ("1m",), ("1h",)))
    for key in keys:
        bench.store.series[key].expecting = key.kind in KEPT
    bench.engine.follow([*SHARED, *(ACTIVITY if streams else ()), *keys], bench.at())
    return bench


def load(bench: Bench, name: str, until: int) -> None:
    """Load what a launch that ended at exchange time ``until`` has saved."""
    symbol = bench.symbols[name]
    candles = KlineSeries(name, "1m", 500)
    candles.replace(kline_texts(compact(symbol.truth.rest(until, 500))), Origin(until, 500))
    bench.store.series[candles.key].load(candles.dump())
    trades, last = TradeSeries(name, 1000), symbol.last_trade(until)
    rows = [symbol.rest_trade(number) for number in range(last - 99, last + 1)]
    trades.replace(rest_trades(compact(rows)), Origin(until, 100))
    bench.store.series[trades.key].load(trades.dump())


def go_on(bench: Bench, *names: str) -> None:
    keys = [key for key in bench.engine.reconciler.states if key.symbol in names and key.kind in KEPT]
    bench.engine.reconciler.restored(keys, bench.at())


def of_kept(bench: Bench, since: float = 0.0) -> list[tuple[float, Kind, int]]:
    return [(when, each.key.kind, each.request.rows) for kind in KEPT for when, each in bench.of(kind, since=since)]


@pytest.mark.parametrize("streams", [True, False])
def test_nothing_is_requested_for_what_is_expected_until_that_has_taken_too_long(streams: bool) -> None:
    bench = expecting([deep("AUSDT", 30)], streams=streams)
    bench.run(EXPECTED_WITHIN - 1)
    assert of_kept(bench) == []
    assert bench.of(Kind.LISTINGS)
    bench.run(2)
    found = [kind for _, kind, _ in of_kept(bench)]
    assert set(found) == set(KEPT)


def test_candles_that_their_stream_continues_request_nothing_until_their_audit() -> None:
    bench = expecting([deep("AUSDT", 30)])
    bench.run(1)
    load(bench, "AUSDT", BEGAN)
    go_on(bench, "AUSDT")
    assert bench.run(3, until=lambda: bench.engine.reconciler.ready(bench.series().key))
    assert bench.of(Kind.KLINES) == []
    assert bench.agrees()
    assert bench.series().unaudited
    assert bench.run(330, until=lambda: not bench.series().unaudited)
    assert [(each.cause, each.request.rows) for _, each in bench.of(Kind.KLINES)] == [(Cause.AUDIT, AUDIT_ROWS)]


def test_candles_with_a_gap_make_a_request_of_weight_one_and_are_audited_by_it() -> None:
    bench = expecting([deep("AUSDT", 30)])
    bench.run(1)
    load(bench, "AUSDT", BEGAN - 5 * MINUTE)
    go_on(bench, "AUSDT")
    assert bench.run(3, until=lambda: bench.engine.reconciler.ready(bench.series().key))
    assert [(each.request.rows, each.request.weight) for _, each in bench.of(Kind.KLINES)] == [(AUDIT_ROWS, 1)]
    assert bench.agrees()
    assert not bench.series().unaudited


def test_what_had_nothing_to_load_is_warmed_up_at_once() -> None:
    bench = expecting([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.run(1)
    load(bench, "AUSDT", BEGAN)
    go_on(bench, "AUSDT", "BUSDT")
    bench.run(2)
    assert {each.key.symbol for _, each in bench.of(Kind.KLINES)} == {"BUSDT"}
    assert {each.key.symbol for _, each in bench.of(Kind.TRADES)} == {"BUSDT"}
    assert bench.run(5, until=lambda: bench.engine.missing(bench.at()) == [])
    assert bench.agrees("BUSDT")


def test_what_is_loaded_before_the_subscription_waits_for_it() -> None:
    bench = expecting([deep("AUSDT", 30)])
    load(bench, "AUSDT", BEGAN)
    go_on(bench, "AUSDT")
    assert bench.run(5, until=lambda: bench.engine.missing(bench.at()) == [])
    assert bench.of(Kind.KLINES) == bench.of(Kind.TRADES) == []


def test_where_the_stream_never_comes_what_was_loaded_is_completed_by_rest() -> None:
    bench = expecting([deep("AUSDT", 30)])
    bench.acknowledges = lambda stream: "kline" not in stream
    bench.run(1)
    load(bench, "AUSDT", BEGAN - 5 * MINUTE)
    go_on(bench, "AUSDT")
    bench.run(8)
    assert [each.request.rows for _, each in bench.of(Kind.KLINES)] == [AUDIT_ROWS]


def test_trades_that_were_missed_are_left_to_the_stream_and_requested_later() -> None:
    bench = expecting([deep("AUSDT", 30)])
    bench.run(1)
    load(bench, "AUSDT", BEGAN - MINUTE)
    go_on(bench, "AUSDT")
    trades = bench.store.trades("AUSDT")
    assert trades is not None
    assert bench.run(10, until=trades.live)
    read = trades.read(100)
    assert all(each.time >= BEGAN for each in read)
    bench.run(LEFT_TO_STREAM_FOR - 15)
    assert bench.of(Kind.TRADES) == []
    assert bench.run(LEFT_TO_STREAM_FOR + 30, until=lambda: bool(bench.of(Kind.TRADES)))
    bench.run(2)
    assert bench.lacking() == []
    ids = bench.trade_ids()
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert len(ids) == 1000


def test_trades_that_continue_what_was_loaded_are_live_with_it() -> None:
    bench = expecting([deep("AUSDT", 30)])
    bench.run(0.5)
    load(bench, "AUSDT", bench.exchange())
    go_on(bench, "AUSDT")
    trades = bench.store.trades("AUSDT")
    assert trades is not None
    assert bench.run(10, until=trades.live)
    assert len(trades) > 100
    assert bench.of(Kind.TRADES) == []


def test_a_lost_connection_ends_what_was_left_to_the_stream() -> None:
    bench = expecting([deep("AUSDT", 30)])
    bench.run(1)
    load(bench, "AUSDT", BEGAN - MINUTE)
    go_on(bench, "AUSDT")
    trades = bench.store.trades("AUSDT")
    assert trades is not None
    assert bench.run(10, until=trades.live)
    bench.cut_route("market")
    bench.run(15)
    assert bench.of(Kind.TRADES)
    assert bench.lacking() == []


def test_only_what_is_new_is_requested_of_open_interest() -> None:
    bench = expecting([deep("AUSDT", 30)])
    bench.run(1)
    key = Key(Kind.OPEN_INTEREST, "AUSDT", "1h")
    other = expecting([deep("AUSDT", 30)])
    go_on(other, "AUSDT")
    assert other.run(5, until=lambda: bool(other.of(Kind.OPEN_INTEREST)))
    other.run(1)
    bench.store.series[key].load(other.store.series[key].dump())
    go_on(bench, "AUSDT")
    bench.run(1)
    assert [each.request.rows for _, each in bench.of(Kind.OPEN_INTEREST)] == [2]
    assert not bench.store.series[key].unaudited
