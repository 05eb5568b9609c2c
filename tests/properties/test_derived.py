"""The promises hold where larger candles are derived from smaller ones, and that saves streams and requests.

A failure of a schedule prints it; ``run()`` repeats it exactly.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable
from dataclasses import replace

import pytest

from ats_sync.config import Config
from ats_sync.engine.connection import Progress
from ats_sync.engine.engine import Engine
from ats_sync.engine.jobs import Fetch
from ats_sync.engine.moment import Moment, moment
from ats_sync.feeds import ACTIVITY, SHARED, Cause, Key, Kind
from ats_sync.look import feed_statuses
from ats_sync.simulator.market import Market
from ats_sync.status import FeedState, FeedStatus, Overall, Status
from ats_sync.store.derived import DIFFERED, ORPHANED
from ats_sync.store.market import MarketStore, keys_of

from ..virtual.faults import Cut, Delist, Fault, Halt, Mute, Recompute, Relist
from ..virtual.recording import SETTINGS
from ..virtual.schedules import CHAINS, FAULT_KINDS, MARKET_KINDS, fixed
from ..virtual.script import MINUTE, Setting
from ..virtual.world import Read, Schedule, World, run

QUARTERS = ("1m", "15m", "1h")
BTC = "BTCUSDT"


def derived(schedule: Schedule, chain: Iterable[str]) -> Schedule:
    return replace(schedule, setting=replace(schedule.whole_setting, intervals=tuple(chain)), derive=True)


@pytest.mark.parametrize("number", range(5))
def test_the_promises_hold_whatever_breaks(number: int) -> None:
    run(derived(fixed("derived", number, FAULT_KINDS), CHAINS[number % len(CHAINS)]))


@pytest.mark.parametrize("number", range(5))
def test_the_promises_hold_whatever_the_market_does(number: int) -> None:
    run(derived(fixed("derived market", number, MARKET_KINDS), CHAINS[number % len(CHAINS)]))


@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
def test_memory_always_answers(chain: tuple[str, ...]) -> None:
    setting = CHAINS.index(chain) % len(SETTINGS)
    reads = tuple(Read(at, "klines", 0, number, 50) for number in range(len(chain)) for at in (60_000, 140_000))
    world = run(derived(Schedule(setting, seed=setting, reads=reads), chain))
    assert [each for each in world.not_fresh if each[0] > 5_000] == []
    assert world.served["memory"] == len(reads)
    assert world.process.counters.requests()["read"] == 0
    klines = [name for name in streams_of(world.process.engine) if "@kline" in name]
    assert sorted(klines) == sorted(f"{symbol.lower()}@kline_{chain[0]}" for symbol in world.symbols)


def streams_of(engine: Engine) -> list[str]:
    return list(engine.connections.assigned_to)


# --- what happens to one of them ---------------------------------------------------------------------------


class Watched:
    """A schedule that is played step by step, and what candles were requested in it."""

    def __init__(self, *faults: Fault, chain: tuple[str, ...] = QUARTERS, setting: int | Setting = 0) -> None:
        schedule = derived(Schedule(setting, faults=faults), chain)
        self.world = World(schedule)
        self.requested: list[tuple[int, Fetch]] = []
        self._submit = self.world.process.requests.submit
        self.world.process.requests.submit = self._note  # type: ignore[method-assign]
        self.world.process.start(self.world.symbols, self.world.intervals)
        for fault in schedule.faults:
            fault.arm(self.world)

    def _note(self, fetch: Fetch) -> None:
        if fetch.key.kind is Kind.KLINES:
            self.requested.append((self.now, fetch))
        self._submit(fetch)

    @property
    def now(self) -> int:
        return self.world.line.now - self.world.line.start

    @property
    def engine(self) -> Engine:
        return self.world.process.engine

    @property
    def store(self) -> MarketStore:
        return self.world.process.store

    def run(self, until: int) -> None:
        self.world.line.run_until(self.world.line.start + until)

    def since(self, at: int) -> set[str]:
        """Return the intervals of which candles were requested since then."""
        return {fetch.key.interval for when, fetch in self.requested if when >= at and fetch.cause is not Cause.AUDIT}

    def status(self, interval: str, symbol: str = BTC) -> FeedStatus:
        process = self.world.process
        statuses = feed_statuses(process.engine, process.store, process.clock)
        return next(s for s in statuses if (s.kind, s.symbol, s.interval) == (Kind.KLINES.value, symbol, interval))

    def check(self) -> None:
        """Assert that everything is live and true."""
        for symbol in self.world.symbols:
            for interval in self.world.intervals:
                assert self.status(interval, symbol).state is FeedState.LIVE
        self.world._check_converged()

    def carries(self, name: str) -> bool:
        home = self.engine.connections.carrying(name)
        return home is not None and home.streams.get(name) is Progress.ACKNOWLEDGED


def test_after_a_reconnect_only_the_smallest_candles_are_requested() -> None:
    watched = Watched(Cut(20_000, "market", reset=True))
    watched.run(15_000)
    watched.check()
    assert watched.since(0) == set(QUARTERS), "the history of each comes from REST"
    watched.run(25_000)
    watched.check()
    assert watched.since(20_000) == {"1m"}


def test_at_a_close_only_the_smallest_candles_are_confirmed() -> None:
    setting = Setting(3, 1_795_305_514_000, (BTC, "ETHUSDT"), QUARTERS, 0.0004, book_ticks=(3000, 3000))
    watched = Watched(setting=setting)  # hardly anything is traded
    watched.run(15_000)
    turn = MINUTE - setting.start % MINUTE
    watched.run(turn + 3 * MINUTE)
    watched.check()
    assert watched.since(15_000) == {"1m"}


def test_what_kills_the_stream_degrades_everything_derived_from_it() -> None:
    watched = Watched(Mute(12_000, 60_000, "btcusdt@kline_1m", "resubscribed"))
    watched.run(11_000)
    states: set[tuple[FeedState, ...]] = set()
    for at in range(12_000, 40_000, 100):
        watched.run(at)
        states.add(tuple(watched.status(interval).state for interval in QUARTERS))
    assert (FeedState.DEGRADED,) * 3 in states
    assert all(state[1:] == state[:1] * 2 or FeedState.DEGRADED in state[1:] for state in states)
    assert not any(state[0] is FeedState.DEGRADED and FeedState.LIVE in state[1:] for state in states)
    remedied = [state.key.interval for state in watched.engine.reconciler.states.values() if state.remedies]
    assert remedied == ["1m"], "one stream is resubscribed"
    watched.run(60_000)
    watched.check()


def test_a_series_that_differs_falls_back_to_its_own_stream(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "ats_sync")
    watched = Watched()
    watched.run(15_000)
    assert watched.status("15m").derivation == "derived from 1m"
    assert not watched.carries("btcusdt@kline_15m")
    series, reconciler = watched.store.klines(BTC, "15m"), watched.engine.reconciler
    series.apart = DIFFERED  # type: ignore[union-attr]
    reconciler._queue.schedule(reconciler.states[series.key], watched.world.process.clock.now(), Cause.AUDIT)
    watched.world.process._wake()
    watched.run(30_000)
    assert watched.carries("btcusdt@kline_15m")
    assert watched.status("15m").derivation == DIFFERED
    assert watched.status("1h").derivation == "derived from 15m"
    watched.check()
    told = [record for record in caplog.records if DIFFERED in record.getMessage()]
    assert [record.getMessage() for record in told] == [f"BTCUSDT klines 15m: {DIFFERED}"]
    shown = Status(Overall.LIVE, 0.0, (), tuple(map(watched.status, QUARTERS)), 0, {})
    assert f"1 series {DIFFERED}" in str(shown)
    assert "1 series derived from 15m" in str(shown)


def test_an_interval_that_is_dropped_leaves_what_was_derived_from_it_with_its_own_stream() -> None:
    watched = Watched()
    watched.run(15_000)
    gone = watched.store.unfollow([Key(Kind.KLINES, BTC, "15m")])
    watched.world.process.engine.unfollow(gone, moment(watched.world.process.clock))
    watched.world.process._wake()
    assert watched.status("1h").derivation == ORPHANED
    assert watched.status("1h").state is FeedState.DEGRADED
    watched.run(25_000)
    assert watched.carries("btcusdt@kline_1h")
    assert watched.status("1h").state is FeedState.LIVE


def test_a_larger_interval_that_is_followed_later_uses_the_existing_stream() -> None:
    watched = Watched(chain=("1m", "1h"))
    watched.run(15_000)
    process = watched.world.process
    process.follow(process.store.follow([Key(Kind.KLINES, BTC, "15m")]))
    connections = streams_of(watched.engine)
    watched.run(18_000)
    assert watched.status("15m").state is FeedState.LIVE
    assert watched.status("15m").derivation == "derived from 1m"
    assert streams_of(watched.engine) == connections


@pytest.mark.parametrize(
    "fault",
    [Relist(15_000, BTC, 20_000), Recompute(70_000, BTC, 600), Halt(30_000, BTC, 70_000), Delist(30_000, BTC)],
    ids=lambda fault: type(fault).__name__,
)
def test_what_the_market_does_affects_derived_candles_too(fault: Fault) -> None:
    run(derived(Schedule(0, seed=5, faults=(fault,)), QUARTERS))


def test_a_halt_without_candles_ends_the_derivation_at_once() -> None:
    """Its stream shows the hole long before an audit would."""
    names = ("BTCUSDT", "币安人生USDT")
    setting = Setting(
        287281, 1_794_182_372_000, names, ("1m", "3m"), 0.006, trailing_klines=False, book_ticks=(1500, 700)
    )
    halt = Halt(25_150, names[1], 110_200)
    run(Schedule(setting, 154408, (halt,), derive=True))


# --- what it saves -----------------------------------------------------------------------------------------------


def followed(*, derive: bool, count: int) -> list[str]:
    """Return the streams of this many symbols × 4 with books, whole books and trades."""
    store = MarketStore(config := Config(derive_intervals=derive, proxies={}), lambda: 0.0)
    engine = Engine(config, store, rng=random.Random(1))
    symbols = [f"S{number:03d}USDT" for number in range(count)]
    keys = store.follow(keys_of(symbols, ("15m", "1h", "4h", "1d"), ("1h",)))
    keys += store.follow(Key(Kind.DEPTH, symbol) for symbol in symbols)
    engine.follow([*SHARED, *ACTIVITY, *keys], Moment(0.0, 1_795_000_000_000, True))
    return streams_of(engine)


def test_three_streams_of_four_are_saved() -> None:
    ordinary, few = followed(derive=False, count=200), followed(derive=True, count=200)
    assert (len(ordinary), len(few)) == (1_405, 805)
    assert len({name for name in few if "@kline" in name}) == 200
    assert set(few) < set(ordinary)


@pytest.mark.parametrize("derive", [False, True])
def test_the_full_hour_brings_a_quarter_of_the_final_events(derive: bool) -> None:
    market = Market(12, seed=3, start=1_795_006_795_000)
    names = {symbol.lower() for symbol in market.symbols}
    streams = [name for name in followed_of(market.symbols, derive=derive) if "@kline" in name]
    assert {name.partition("@")[0] for name in streams} == names
    market.subscribed |= set(streams)
    finals = [frame for frame in market.advance(1_795_006_805_000) if '"x":true' in frame.payload]
    assert len(finals) == (12 if derive else 24)  # 15m and 1h end here


def followed_of(symbols: Iterable[str], *, derive: bool) -> list[str]:
    store = MarketStore(config := Config(derive_intervals=derive, proxies={}), lambda: 0.0)
    engine = Engine(config, store, rng=random.Random(1))
    engine.follow(store.follow(keys_of(symbols, ("15m", "1h", "4h", "1d"), ())), Moment(0.0, 1_795_000_000_000, True))
    return streams_of(engine)
