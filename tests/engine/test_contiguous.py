from __future__ import annotations

import pytest

from ats_sync.engine.jobs import Fetch
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Request

from .bench import HISTORY, TURN, Bench, deep


def begun_by_a_read(bench: Bench, key: Key, request: Request, limit: int, *, pause: float) -> Fetch:
    """Follow a series and read it at once; the answer is ``pause`` seconds old when it comes."""
    bench.follow()
    bench.run(3)
    bench.asked.clear()
    fetch = Fetch(key, request, Cause.READ)
    asked = bench.exchange()
    body = bench.answer(fetch, asked)
    bench.engine.follow(bench.store.follow([key]), bench.at())
    bench.later(pause, lambda: bench.receive(fetch, body, asked))
    return fetch


@pytest.mark.parametrize("pause", [0.01, 2.0])
def test_trades_begun_by_a_read_are_not_requested_again_where_the_stream_continues_them(pause: float) -> None:
    bench = Bench([deep("AUSDT", 50)], follow=False)
    bench.holds = lambda fetch: fetch.key.kind is Kind.TRADES  # it joins the read where that is under way
    key = Key(Kind.TRADES, "AUSDT")
    read = begun_by_a_read(bench, key, endpoints.agg_trades("AUSDT", 1_000), 1_000, pause=pause)
    assert bench.run(10, until=lambda: bench.store.trades("AUSDT").link is not None)
    bench.run(20)
    sent = [(when, fetch.identity) for when, fetch in bench.of(Kind.TRADES)]
    assert sent in ([], [(pytest.approx(3.0, abs=pause), read.identity)])
    ids = bench.trade_ids()
    assert ids == list(range(ids[0], ids[0] + 1_000))
    assert ids[-1] >= bench.symbols["AUSDT"].last_trade(bench.exchange()) - 1


def test_trades_that_fell_between_a_read_and_its_stream_are_requested() -> None:
    bench = Bench([deep("AUSDT", 50)], follow=False)
    bench.dropped = lambda stream, frame: stream.endswith("@aggTrade")
    begun_by_a_read(bench, Key(Kind.TRADES, "AUSDT"), endpoints.agg_trades("AUSDT", 1_000), 1_000, pause=0.01)
    bench.run(1.4)
    bench.dropped = lambda stream, frame: False
    assert bench.run(10, until=lambda: bench.store.trades("AUSDT").link is not None)
    bench.run(20)
    assert len(bench.of(Kind.TRADES)) == 1
    ids = bench.trade_ids()
    assert ids == list(range(ids[0], ids[0] + 1_000))


def test_candles_begun_by_a_read_are_not_requested_again_while_they_trade() -> None:
    bench = Bench([deep("AUSDT", 120), deep("QUIET", 0)], follow=False, warmup_klines=HISTORY)
    for symbol in ("AUSDT", "QUIET"):
        read_klines(bench, symbol)
        assert bench.run(10, until=lambda: bench.series(symbol).link is not None)  # noqa: B023
        assert len(bench.of(Kind.KLINES)) == (symbol == "QUIET")
        assert bench.agrees(symbol)
    bench.run(TURN - bench.seconds + 30)
    assert bench.agrees("AUSDT")


def test_a_candle_that_ended_between_a_read_and_its_stream_is_requested() -> None:
    bench = Bench([deep("AUSDT", 120)], follow=False, warmup_klines=HISTORY)
    bench.run(TURN - 4)
    bench.dropped = lambda stream, frame: bench.seconds < TURN + 1 and "kline" in stream
    read_klines(bench, "AUSDT")
    assert bench.run(20, until=lambda: bench.series().link is not None)
    assert bench.of(Kind.KLINES)
    assert bench.run(20, until=bench.agrees)


def read_klines(bench: Bench, symbol: str) -> None:
    key = Key(Kind.KLINES, symbol, "1m")
    begun_by_a_read(bench, key, endpoints.klines(symbol, "1m", HISTORY), HISTORY, pause=0.01)


def test_trades_are_served_from_their_first_frame_while_older_ones_wait_in_line() -> None:
    """Each request for them weighs 20: the last one in line may come minutes later."""
    bench = Bench([deep("AUSDT", 30)])
    bench.holds = lambda fetch: fetch.key.kind is Kind.TRADES
    ring, key = bench.store.trades("AUSDT"), Key(Kind.TRADES, "AUSDT")
    assert bench.run(10, until=lambda: ring.link is not None)
    bench.run(10)
    assert len(bench.held) == 1
    assert bench.trade_ids() == list(range(ring.first_id(), bench.symbols["AUSDT"].last_trade(bench.exchange()) + 1))
    assert 2 < len(ring) < 15
    assert not bench.engine.reconciler.ready(key), "older ones are still to come"
    bench.holds = lambda fetch: False
    (fetch,) = bench.held
    now = bench.exchange()
    bench.receive(fetch, bench.answer(fetch, now), now)
    assert len(ring) >= 1_000
    assert bench.engine.reconciler.ready(key)
    assert bench.engine.reconciler.states[key].live_once


def test_after_a_gap_the_newest_trades_are_served_while_its_repair_waits_in_line() -> None:
    bench = Bench([deep("AUSDT", 30)])
    bench.warm()
    bench.holds = lambda fetch: fetch.key.kind is Kind.TRADES
    ring = bench.store.trades("AUSDT")
    bench.refuses = True
    bench.cut_route()
    bench.run(10)
    bench.refuses = False
    assert bench.run(30, until=lambda: ring.link is not None and ring.link.up)
    hole = ring.hole()
    assert hole is not None
    assert len(ring) < 15
    assert bench.run(2, until=lambda: bool(bench.held))
    (fetch,) = bench.held
    assert (fetch.request.from_id, fetch.cause) == (hole[0], Cause.REPAIR)
    now = bench.exchange()
    bench.receive(fetch, bench.answer(fetch, now), now)
    assert ring.hole() is None
    assert len(ring) >= 1_000
