"""Events in a reader: what a manager that follows the market itself would be notified of, each once."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ats_sync import (
    CandleEvent,
    DataManager,
    DataUnavailableError,
    InvalidSymbol,
    NotRunning,
    Overall,
    Quality,
    StaleDataError,
)
from ats_sync.shared.notices import Notices
from ats_sync.shared.publish import QUALITY_EVERY
from ats_sync.shared.shards import shards
from ats_sync.simulator import SimulatedExchange, before_turn

from ..support import until, until_moment
from .feed import INTERVALS, Scene, config_of, managed, requests, scene_of, served
from .servers import StoreServer
from .test_feed_processes import collector as collector_process


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A collector and a reader that live for the whole module."""
    with scene_of(5) as scene:
        until(lambda: scene.reader.status().state is Overall.LIVE)
        yield scene


def event_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ats-events"]


def candles(events: Iterable[Any], opened: int = 0) -> Counter[tuple[str, str, int]]:
    """Count the events of candles that opened at ``opened`` or later (0: all), and assert that no others came."""
    found = list(events)
    assert all(isinstance(each, CandleEvent) and each.final for each in found), found
    return Counter((each.symbol, each.interval, each.open_time) for each in found if each.open_time >= opened)


class Consumers:
    """Every consumer of candles that a reader has: a callback, a loop over candles, and one over turns."""

    def __init__(self, reader: DataManager) -> None:
        self._reader = reader
        self.called: list[Any] = []
        self.looped: list[Any] = []
        self.turns: list[Any] = []
        reader.on_closed(self.called.append, intervals=["1m"])
        self._threads = [
            threading.Thread(target=lambda: self.looped.extend(reader.closed(intervals=["1m"]))),
            threading.Thread(target=lambda: self.turns.extend(reader.turns("1m", grace=40.0))),
        ]
        for thread in self._threads:
            thread.start()

    def have(self, opened: int, symbols: Iterable[str]) -> bool:
        """Return whether the candles of these symbols that opened then have reached both."""
        return all(
            {(each, "1m", opened) for each in symbols} <= candles(got).keys() for got in (self.called, self.looped)
        )

    def until_come(self, opened: int, symbols: Iterable[str]) -> None:
        """Wait until those have come, and a turn as well."""
        until(lambda: self.have(opened, symbols))
        until(lambda: self.turns)

    def check(self, opened: int, symbols: Iterable[str]) -> None:
        """Close the reader, and assert that every loop ends without an error, that all candles of that turn and later
        ones have come once, and that the turn was whole."""
        self._reader.close()
        for thread in self._threads:
            thread.join(10.0)
            assert not thread.is_alive()
        expected = {(each, "1m", opened) for each in symbols}
        for got in (self.called, self.looped):
            counts = candles(got)
            assert set(counts.values()) == {1}
            assert {each for each in counts if each[2] == opened} == expected
            assert min(each[2] for each in counts) == opened, "what had closed before is not news"
        turn = self.turns[0]
        assert (turn.open_time, set(turn.closed), turn.late, turn.missed) == (opened, set(symbols), (), None)


def open_candle(exchange: SimulatedExchange) -> int:
    """Return the open time of the open one-minute candle, long enough before its close to prepare the test on a slow
    machine."""
    until(lambda: 3_000 < exchange.now() % 60_000 < 48_000)
    return exchange.now() // 60_000 * 60_000


# --- callbacks ----------------------------------------------------------------------------------------


def test_callbacks_of_a_reader_are_called_as_in_a_collector_until_it_is_closed(
    valkey: StoreServer, caplog: pytest.LogCaptureFixture
) -> None:
    with SimulatedExchange(4, seed=5, start=before_turn("1m", 18)) as exchange:
        config, symbols = config_of(exchange, valkey.url), list(exchange.symbols)
        with managed(config, symbols, role="collector") as collector:
            until(lambda: collector.status().state is Overall.LIVE)
            theirs: list[Any] = []
            reader = DataManager(symbols, INTERVALS, config=config)
            states: list[tuple[Any, ...]] = []
            closed: list[Any] = []
            silent: list[Any] = []
            listed: list[Any] = []
            delisted: list[Any] = []
            others = event_threads()
            reader.on_state(lambda *change: states.append(change))
            reader.on_listed(listed.append)
            assert event_threads() == others, "nothing runs before the start"
            reader.start(60)
            (thread,) = set(event_threads()) - set(others)
            assert thread.daemon
            opened = open_candle(exchange)
            collector.on_closed(theirs.append, symbols[:2], ["1m"])
            reader.on_closed(lambda event: 1 // 0, symbols, ["1m"])
            reader.on_closed(closed.append, symbols[:2], ["1m"])
            reader.on_closed(silent.append, symbols, ["1m"]).close()
            reader.on_delisted(delisted.append)

            exchange.list_symbol("SIM1USDT")
            exchange.delist(symbols[3])
            until(lambda: listed and delisted)
            until(lambda: len(theirs) == 2 and len(closed) == 2)
            by_symbol = {each.symbol: each for each in closed}
            assert by_symbol == {each.symbol: each for each in theirs}
            assert set(by_symbol) == set(symbols[:2])
            assert {each.open_time for each in closed} == {opened}
            collector.close()
            until(lambda: states and states[-1][1] is Overall.DEGRADED)
            assert "no collector leads" in states[-1][3]
            reader.close()
            assert not thread.is_alive()
            assert reader.running is False
        assert [(each.symbol, each.status) for each in listed] == [("SIM1USDT", "TRADING")]
        assert [(each.symbol, each.status) for each in delisted] == [(symbols[3], "SETTLING")]
        assert silent == []
        assert [new for _, new, *_ in states][-1] is Overall.STOPPED
        assert [old for old, *_ in states[1:]] == [new for _, new, *_ in states[:-1]]
        assert states[0][0] is Overall.STOPPED
        assert Overall.LIVE in [new for _, new, *_ in states]
        assert requests(reader) == 0
        assert any(
            "a callback failed" in record.message for record in caplog.records if record.levelno >= logging.WARNING
        )


def test_a_reader_has_a_thread_only_where_it_has_callbacks_and_until_it_is_closed(scene: Scene) -> None:
    before = set(threading.enumerate())
    with managed(scene.config, scene.symbols) as reader:
        assert list(reader.closed(intervals=["1h"], timeout=0.1)) == []
        assert set(threading.enumerate()) == before
        handles = [reader.on_state(lambda *change: None) for _ in range(3)]
        (thread,) = set(threading.enumerate()) - before
        assert (thread.name, thread.daemon) == ("ats-events", True)
        for handle in handles:
            handle.close()
    assert not thread.is_alive()
    with pytest.raises(NotRunning):
        reader.closed()


def test_a_callback_may_close_its_manager(scene: Scene) -> None:
    reader = DataManager(scene.symbols, INTERVALS, config=scene.config)
    calls: list[Overall] = []

    def close(old: Overall, new: Overall, since: float, reason: str) -> None:
        calls.append(new)
        reader.close()

    reader.on_state(close)
    reader.autostart()
    until(lambda: not reader.running)
    until(lambda: calls[-1] is Overall.STOPPED)


def test_callbacks_stay_registered_through_a_restart(scene: Scene) -> None:
    reader = DataManager(scene.symbols, INTERVALS, config=scene.config)
    states: list[Overall] = []
    reader.on_state(lambda old, new, since, reason: states.append(new))
    for _ in range(2):
        reader.start(60)
        until(lambda: states and states[-1] is Overall.LIVE)
        reader.close()
        assert states[-1] is Overall.STOPPED
    assert states.count(Overall.LIVE) == 2


def test_an_unforeseen_failure_is_logged_and_the_thread_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with managed(scene.config, scene.symbols) as reader:
        listen, calls = Notices.wait, []

        def wait(notices: Notices, seconds: float) -> Any:
            calls.append(seconds)
            if len(calls) < 3:
                raise RuntimeError("unforeseen")
            return listen(notices, seconds)

        monkeypatch.setattr(Notices, "wait", wait)
        reader.on_closed(lambda event: None)
        until(lambda: len(calls) > 4)
        assert [record.message for record in caplog.records if "could not be brought" in record.message]


def test_loops_on_other_threads_end_with_the_reader_without_an_error(scene: Scene) -> None:
    for _ in range(20):
        failures: list[BaseException] = []
        with managed(scene.config, scene.symbols) as reader:
            iterators = [reader.closed(intervals=["1h"]) for _ in range(3)]

            def loop(iterator: Any, failures: list[BaseException] = failures) -> None:
                try:
                    assert list(iterator) == []
                except BaseException as failure:  # noqa: BLE001 - shown below
                    failures.append(failure)

            threads = [threading.Thread(target=loop, args=(each,)) for each in iterators]
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join(10.0)
            assert not thread.is_alive()
        assert failures == []


def test_a_forked_child_has_none_of_its_parents_callbacks(scene: Scene) -> None:
    with managed(scene.config, scene.symbols) as reader:
        until(lambda: quality_or_none(reader, scene.symbols[0]))
        handle = reader.on_state(lambda *change: None)
        child = os.fork()
        if not child:
            try:
                alone = not event_threads()
                handle.close()
                os._exit(0 if alone and reader.quality(scene.symbols[0]).score > 0 else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0


# --- what dies ----------------------------------------------------------------------------------------


def test_no_candle_is_lost_or_doubled_when_the_leader_is_killed_at_the_turn(valkey: StoreServer) -> None:
    with SimulatedExchange(3, seed=3, start=before_turn("1m", 25)) as exchange, ExitStack() as stack:
        config, symbols = config_of(exchange, valkey.url), list(exchange.symbols)
        leader = stack.enter_context(collector_process(exchange, valkey.url))
        hot = stack.enter_context(managed(config, symbols, role="collector"))
        until(lambda: hot.status().state is Overall.LIVE)
        reader = stack.enter_context(managed(config, symbols))
        states: list[tuple[Any, ...]] = []
        reader.on_state(lambda *change: states.append(change))
        opened = open_candle(exchange)
        consumers = Consumers(reader)
        until_moment(exchange, opened + 59_900)
        leader.send_signal(signal.SIGKILL)
        consumers.until_come(opened, symbols)
        led = hot.status().shared
        assert led is not None
        until(lambda: reader.status().shared.reason == "every series is fresh")  # type: ignore[union-attr]
        seen = reader.status().shared
        assert seen is not None
        assert (seen.role, seen.epoch, seen.leader) == ("reader", led.epoch, led.leader)
        # It may have been live throughout: the successor leads as soon as the lease has run out.
        until(lambda: not states or states[-1][1] is Overall.LIVE)
        consumers.check(opened, symbols)
        assert [old for old, *_ in states[1:]] == [new for _, new, *_ in states[:-1]]


def test_no_candle_is_lost_or_doubled_by_a_store_that_comes_back_empty(valkey: StoreServer) -> None:
    with SimulatedExchange(3, seed=3, start=before_turn("1m", 18)) as exchange:
        config, symbols = config_of(exchange, valkey.url), list(exchange.symbols)
        with managed(config, symbols, role="collector") as collector, managed(config, symbols) as reader:
            until(lambda: collector.status().state is Overall.LIVE)
            opened = open_candle(exchange)
            consumers = Consumers(reader)
            until_moment(exchange, opened + 59_500)
            valkey.kill()
            until_moment(exchange, opened + 61_000)
            valkey.start()
            consumers.until_come(opened, symbols)
            consumers.check(opened, symbols)


def test_a_shard_without_a_leader_costs_the_others_no_event(valkey: StoreServer) -> None:
    with SimulatedExchange(6, seed=7, start=before_turn("1m", 20)) as exchange:
        config, symbols = config_of(exchange, valkey.url), list(exchange.symbols)
        ours = [[each for each in symbols if part.has_symbol(each)] for part in shards(2)]
        with (
            managed(config, ours[0], role="collector", shard="1/2"),
            managed(config, ours[1], role="collector", shard="2/2") as second,
            managed(config, symbols) as reader,
        ):
            states: list[tuple[Any, ...]] = []
            listed: list[Any] = []
            reader.on_state(lambda *change: states.append(change))
            reader.on_listed(listed.append)
            for symbol in symbols:
                served(reader, lambda dm, s=symbol: dm.get_klines(s, "1m", 1))  # type: ignore[misc]
            opened = open_candle(exchange)
            consumers = Consumers(reader)
            until_moment(exchange, opened + 55_000)
            second.close()
            until(lambda: consumers.have(opened, ours[0]), 30, what="the candles of the shard that is led")
            assert not consumers.have(opened, ours[1])
            until(lambda: states and "shard 2/2" in states[-1][3])
            assert states[-1][1] is Overall.DEGRADED
            with pytest.raises(DataUnavailableError, match="shard 2/2"):
                reader.quality(ours[1][0])
            until(lambda: quality_or_none(reader, ours[0][0]))
            exchange.list_symbol("SIM1USDT")
            until(lambda: [each.symbol for each in listed] == ["SIM1USDT"])
            with managed(config, ours[1], role="collector", shard="2/2"):
                consumers.until_come(opened, symbols)
                consumers.check(opened, symbols)


def test_a_reader_that_has_started_knows_which_contracts_exist(valkey: StoreServer) -> None:
    with SimulatedExchange(2, seed=5) as exchange:
        config, symbols = config_of(exchange, valkey.url), list(exchange.symbols)
        with managed(config, symbols, role="collector"):
            for _ in range(3):
                with managed(config, symbols) as reader:
                    assert reader._life.store.listings.get() is not None  # otherwise a delisting by now is not news


def test_a_delisting_while_nobody_leads_is_reported_once_a_successor_leads(valkey: StoreServer) -> None:
    with SimulatedExchange(4, seed=5) as exchange:
        config, symbols = config_of(exchange, valkey.url), list(exchange.symbols)
        with managed(config, symbols, role="collector") as first, managed(config, symbols) as reader:
            until(lambda: first.status().state is Overall.LIVE)
            delisted: list[Any] = []
            reader.on_delisted(delisted.append)
            first.close()
            exchange.delist(symbols[3])
            with managed(config, symbols, role="collector"):
                until(lambda: delisted)
                assert [(each.symbol, each.status) for each in delisted] == [(symbols[3], "SETTLING")]


# --- what is followed -----------------------------------------------------------------------------------


def test_what_a_reader_watches_later_closes_too_and_what_it_unwatches_no_longer(valkey: StoreServer) -> None:
    with SimulatedExchange(3, seed=3, start=before_turn("1m", 18)) as exchange:
        config, symbols = config_of(exchange, valkey.url), list(exchange.symbols)
        with managed(config, symbols, role="collector"), managed(config, symbols[:2]) as reader:
            called: list[Any] = []
            opened = open_candle(exchange)
            reader.on_closed(called.append, intervals=["1m"])
            looped = reader.closed(intervals=["1m"], timeout=90.0)
            reader.watch(symbols[2:], ["1m"])
            reader.unwatch(symbols[:1])
            expected = {(each, "1m", opened): 1 for each in symbols[1:]}
            assert candles((next(looped), next(looped))) == expected
            until(lambda: len(called) >= 2)
            assert candles(called) == expected


# --- quality --------------------------------------------------------------------------------------------


def test_the_quality_of_a_symbol_is_that_of_its_collector(scene: Scene) -> None:
    symbol, other = scene.symbols[0], scene.exchange.symbols[3]

    def alike() -> bool:
        mine, theirs = scene.reader.quality(symbol), scene.collector.quality(symbol)
        return abs(mine.seconds - theirs.seconds) <= 2 * QUALITY_EVERY and mine.verdict == theirs.verdict

    until(lambda: (found := quality_or_none(scene.reader, symbol)) and found.seconds > 0)
    assert isinstance(scene.reader.quality(symbol), Quality)
    until(alike)
    with pytest.raises(InvalidSymbol, match="not watched"):
        scene.reader.quality(other)
    with managed(scene.config, scene.symbols) as reader:
        reader.watch([other], ["1m"])
        with pytest.raises(DataUnavailableError, match="not measured"):
            reader.quality(other)
        until(lambda: scene.collector.status().ready("trades")[1] == 4)


def test_without_a_collector_there_is_no_quality(
    valkey: StoreServer, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ats_sync.engine.quality.SAMPLE_EVERY", 0.5)
    symbol, config = scene.symbols[0], config_of(scene.exchange, valkey.url)
    reader = DataManager([symbol], INTERVALS, config=config)
    with pytest.raises(NotRunning, match="start"):
        reader.quality(symbol)
    reader.autostart()
    with pytest.raises(DataUnavailableError, match="no collector leads"):
        reader.quality(symbol)
    with managed(config, [symbol], role="collector") as collector:
        until(lambda: quality_or_none(reader, symbol))
        collector.close()
        with pytest.raises(DataUnavailableError, match="no collector leads"):
            reader.quality(symbol)
    valkey.kill()
    with pytest.raises(DataUnavailableError, match="does not answer"):
        reader.quality(symbol)
    reader.close()


def quality_or_none(reader: DataManager, symbol: str) -> Quality | None:
    try:
        return reader.quality(symbol)
    except DataUnavailableError:
        return None


def test_a_quality_that_was_not_written_for_a_while_is_refused_with_its_age(
    valkey: StoreServer, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ats_sync.engine.quality.SAMPLE_EVERY", 0.5)
    symbol, config = scene.symbols[0], config_of(scene.exchange, valkey.url)
    with managed(config, [symbol], role="collector"), managed(config, [symbol]) as reader:
        until(lambda: quality_or_none(reader, symbol))
        monkeypatch.setattr("ats_sync.shared.quality.BELIEVED_FOR", -1.0)
        with pytest.raises(StaleDataError) as failure:
            reader.quality(symbol)
        assert isinstance(failure.value.data, Quality)
        assert failure.value.age >= 0
