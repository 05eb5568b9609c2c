from __future__ import annotations

import pytest

from ats_sync.engine.candles import CONFIRM_SPREAD
from ats_sync.feeds import Cause, Kind
from ats_sync.store.klines import KlineSeries
from ats_sync.store.series import Origin

from ..venue import samples
from ..venue.samples import compact
from .bench import HISTORY, TURN, Bench, TinySymbol, ask_for_listings, deep


def test_candles_that_trade_need_no_request_at_their_close() -> None:
    bench = Bench([deep(f"S{i}USDT", 10) for i in range(10)])
    bench.warm()
    bench.run(TURN + 120)
    assert not bench.of(Kind.KLINES, cause=Cause.REPAIR)
    assert all(map(bench.agrees, bench.symbols))


def test_the_close_of_quiet_candles_is_known_within_seven_seconds_by_small_requests_and_never_doubted() -> None:
    bench = Bench([deep(f"S{i}USDT", 0) for i in range(100)])
    bench.warm()

    def doubted() -> bool:
        now = bench.exchange()
        return any(series.state(now).doubt for series in bench.store.of(KlineSeries))

    assert not bench.run(TURN - bench.seconds + 7.0, until=doubted)
    closed = TURN * 1000 + bench.exchange() - round(bench.seconds * 1000)
    assert {series.following() for series in bench.store.of(KlineSeries)} == {closed}
    assert all(map(bench.agrees, bench.symbols))
    assert not bench.run(TURN - bench.seconds + 55, until=doubted)
    confirmed = bench.of(Kind.KLINES, cause=Cause.REPAIR)
    assert len(confirmed) == 100
    assert {fetch.request.weight for _, fetch in confirmed} == {1}
    times = [when - TURN for when, _ in confirmed]
    assert min(times) >= 5.0, "before that, what REST shows may not be final"
    assert max(times) <= 5.5 + CONFIRM_SPREAD
    assert max(sum(start <= when < start + 0.1 for when in times) for start in times) <= 25, "they come as one crowd"
    assert all(map(bench.agrees, bench.symbols))


def test_a_confirmation_is_not_lost_to_an_audit() -> None:
    bench = Bench([deep("AUSDT", 0)])
    bench.warm()
    bench.run(TURN - bench.seconds + 3.6)
    state = bench.engine.reconciler.states[bench.series().key]
    # The rolling audit of this series happens to fall between the close and the confirmation.
    state.due = None
    bench.engine.reconciler._queue.schedule(state, bench.now + 0.3, Cause.AUDIT)
    bench.run(56)
    assert not bench.series().state(bench.exchange()).doubt


def test_a_lost_final_event_is_made_up_for_as_soon_as_rest_has_it() -> None:
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
    assert not bench.series().state(bench.exchange()).doubt


def test_a_clock_that_was_ahead_does_not_hold_up_the_closes() -> None:
    bench = Bench([deep("AUSDT", 0)], follow=False)
    bench.exchange_ahead = 600_000
    bench.follow("AUSDT")
    bench.warm()
    bench.run(TURN + 40)
    assert len(bench.of(Kind.KLINES, cause=Cause.REPAIR)) == 1


def test_a_halt_without_candles_costs_one_request_an_interval_and_is_served_from_memory() -> None:
    bench = Bench([TinySymbol("AUSDT", [5] * (HISTORY + 20)), TinySymbol("HALTED", [5] * (HISTORY + 2))])
    bench.warm()
    bench.run(240)
    since = bench.seconds
    for _ in range(60):
        bench.run(10)
        assert bench.agrees("HALTED")
        assert not bench.series("HALTED").state(bench.exchange()).doubt
    assert 5 <= len(bench.of(Kind.KLINES, since=since, symbol="HALTED")) <= 12


@pytest.mark.parametrize("told_by", ["an event", "exchangeInfo"])
def test_the_end_of_a_halt_without_a_trade_is_checked_at_once(told_by: str) -> None:
    bench = Bench([TinySymbol("AUSDT", [5] * (HISTORY + 20)), TinySymbol("HALTED", [5] * (HISTORY + 2))])
    bench.warm()
    bench.run(275)
    since = bench.seconds
    if told_by == "an event":
        bench.deliver("!contractInfo", samples.contract_frame("HALTED", "TRADING", event=bench.exchange()))
    else:
        ask_for_listings(bench)
    bench.run(2)
    assert len(bench.of(Kind.KLINES, since=since, symbol="HALTED")) == 1
    assert bench.series("HALTED").state(bench.exchange()).doubt, "a replica that lags goes on to show the halt"
    bench.run(10)
    assert len(bench.of(Kind.KLINES, since=since, symbol="HALTED")) == 2
    assert not bench.series("HALTED").state(bench.exchange()).doubt
    assert not bench.of(Kind.KLINES, since=since, symbol="AUSDT")


@pytest.mark.parametrize(("ahead", "asked"), [(1, 0), (50, 1)])
def test_a_row_that_may_have_overtaken_a_frame_is_confirmed_unless_frames_do_so(ahead: int, asked: int) -> None:
    bench = Bench([deep("AUSDT", 120)])
    bench.warm()
    bench.run(20.1)
    series, reconciler = bench.series(), bench.engine.reconciler
    _, event, _ = series.last_heard()
    row = series.rows(1, None, exact=True)[0]
    # As in an answer that was requested just before the newest frame and came just after it.
    row[8] += ahead
    series.replace([compact(row)[1:-1]], Origin(event - 20, 1))
    assert reconciler._closes.await_frames(reconciler.states[series.key], bench.at())
    before = len(bench.of(Kind.KLINES))
    bench.run(3)
    assert len(bench.of(Kind.KLINES)) == before + asked
    bench.run(12)
    assert bench.agrees()
