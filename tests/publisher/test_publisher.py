"""Iterators and callbacks on real threads, over the store of a market that is closed by hand."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import pytest

from ats_sync import CandleEvent, Clock, EventIterator, Missed, Overall
from ats_sync.events.queues import CandleQueue, Selection
from ats_sync.feeds import Key, Kind
from ats_sync.publisher.publisher import AT_ONCE, QUICK, Publisher

from ..events.market import SYMBOLS, Market
from ..support import until

PATIENCE = 30.0


class Stage:
    """A publisher that is attached to a market."""

    def __init__(self) -> None:
        self.market = Market()
        self.state = Overall.LIVE
        self.clock = Clock()
        self.clock.exchange_ms = lambda: self.market.now  # type: ignore[method-assign]
        self.publisher = Publisher(self.clock)
        self.publisher.attach(self.market.store, lambda: (self.state, "because"))

    def close(self, number: int, *symbols: str) -> None:
        """Close candle ``number``."""
        self.market.close(number, *symbols)
        self.publisher.closed(Key(Kind.KLINES, symbol, "1m") for symbol in symbols or SYMBOLS)

    def iterate(self, timeout: float | None = PATIENCE) -> EventIterator[CandleEvent | Missed]:
        iterator = self.publisher.iterate(lambda store, now: CandleQueue(store, Selection(), now), timeout, None)
        assert iterator is not None
        return iterator

    def on_closed(self, fn: Callable[[Any], object]) -> Any:
        return self.publisher.on_closed(fn, Selection(), None)

    def detach(self) -> None:
        thread = self.publisher.detach()
        if thread is not None:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.detach()


def numbers(events: list[Any], symbol: str) -> list[int]:
    return [(each.open_time // 60_000) % 1440 for each in events if each.symbol == symbol]


class TestIterators:
    def test_an_iterator_waits_for_what_closes_on_another_thread(self, stage: Stage) -> None:
        iterator = stage.iterate()
        closer = threading.Timer(0.05, stage.close, (0, "BTCUSDT"))
        closer.start()
        event = next(iterator)
        closer.join()
        assert (event.symbol, event.interval) == ("BTCUSDT", "1m")

    @pytest.mark.parametrize("end", ["the iterator", "the manager"])
    def test_close_on_another_thread_ends_it_at_once(self, stage: Stage, end: str) -> None:
        iterator = stage.iterate(timeout=None)
        closer = threading.Timer(0.05, iterator.close if end == "the iterator" else stage.detach)
        closer.start()
        assert list(iterator) == []
        closer.join()
        assert iterator.closed
        stage.close(0)
        assert list(iterator) == []

    def test_a_timeout_ends_the_loop_and_not_the_iterator(self, stage: Stage) -> None:
        iterator = stage.iterate(timeout=0.02)
        assert list(iterator) == []
        stage.close(0)
        assert len(list(iterator)) == 2

    def test_an_iterator_that_was_dropped_is_forgotten(self, stage: Stage) -> None:
        for _ in range(3):
            stage.iterate()
        stage.close(0)
        assert len(stage.publisher._iterators) == 0

    def test_two_threads_share_the_events_of_one(self, stage: Stage) -> None:
        iterator, got = stage.iterate(), []
        readers = [threading.Thread(target=lambda: got.extend(iterator)) for _ in range(2)]
        for reader in readers:
            reader.start()
        for number in range(20):
            stage.close(number)
        until(lambda: len(got) == 40)
        iterator.close()
        for reader in readers:
            reader.join(PATIENCE)
        assert sorted(numbers(got, "BTCUSDT")) == list(range(20))

    def test_the_event_loop_is_not_blocked(self, stage: Stage) -> None:
        async def main() -> tuple[int, list[Any]]:
            iterator, ticks, got = stage.iterate(), 0, []

            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            closer = threading.Timer(0.05, stage.close, (0,))
            closer.start()
            async for event in iterator:
                got.append(event)
                if len(got) == 2:
                    iterator.close()
            ticking.cancel()
            closer.join()
            return ticks, got

        ticks, got = asyncio.run(main())
        assert ticks > 10
        assert len(got) == 2

    def test_a_cancelled_wait_loses_nothing(self, stage: Stage) -> None:
        async def main() -> Any:
            iterator = stage.iterate()
            waiting = asyncio.ensure_future(anext(iterator))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert iterator._wakers == []
            stage.close(0, "BTCUSDT")
            return await anext(iterator)

        assert asyncio.run(main()).symbol == "BTCUSDT"


class TestCallbacks:
    @pytest.mark.parametrize(("slow", "most"), [(True, 1), (False, AT_ONCE)])
    def test_a_slow_callback_keeps_the_others_waiting_for_one_event_only(
        self, stage: Stage, slow: bool, most: int
    ) -> None:
        calls: list[str] = []
        steady = 0.0
        stage.clock.now = lambda: steady
        entered, closed = threading.Event(), threading.Event()

        def wait_until_all_have_closed(event: CandleEvent | Missed) -> None:
            entered.set()
            assert closed.wait(PATIENCE)

        def takes_time(event: CandleEvent | Missed) -> None:
            nonlocal steady
            calls.append("this")
            steady += 2 * QUICK if slow else 0.0

        stage.on_closed(wait_until_all_have_closed)
        stage.on_closed(takes_time)
        stage.on_closed(lambda event: calls.append("other"))
        stage.close(0)
        assert entered.wait(PATIENCE)
        for number in range(1, 21):
            stage.close(number)
        closed.set()
        until(lambda: len(calls) == 2 * 2 * 21)
        assert max(len(list(group)) for who, group in groupby(calls) if who == "this") == most

    def test_callbacks_run_on_one_thread_in_order(self, stage: Stage) -> None:
        got: list[tuple[str, Any]] = []
        handle = stage.on_closed(lambda event: got.append((threading.current_thread().name, event)))
        for number in range(10):
            stage.close(number)
        until(lambda: len(got) == 20)
        assert {name for name, _ in got} == {"ats-events"}
        assert numbers([event for _, event in got], "ETHUSDT") == list(range(10))
        handle.close()
        stage.close(10)
        after: list[Any] = []
        stage.on_closed(after.append)
        stage.close(11, "BTCUSDT")
        until(lambda: after)
        assert len(got) == 20

    def test_an_exception_is_logged_and_stops_nothing(self, stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
        got: list[Any] = []

        def fail(event: Any) -> None:
            raise RuntimeError("of the user")

        stage.on_closed(fail)
        stage.on_closed(got.append)
        with caplog.at_level(logging.ERROR, "ats_sync"):
            stage.close(0)
            stage.close(1)
            until(lambda: len(got) == 4)
        assert "of the user" in caplog.text

    def test_a_callback_may_close_itself_and_the_publisher_goes_on_without_a_lock(self, stage: Stage) -> None:
        got: list[Any] = []

        def once(event: Any) -> None:
            got.append(event)
            handle.close()
            stage.close(1)  # this takes every lock of a publisher: none is taken around a callback

        handle = stage.on_closed(once)
        stage.close(0)
        until(lambda: handle.closed)
        stage.detach()
        assert len(got) == 1

    def test_no_thread_runs_without_a_callback(self, stage: Stage) -> None:
        names = [thread.name for thread in threading.enumerate()]
        assert "ats-events" not in names
        stage.on_closed(print)
        assert "ats-events" in [thread.name for thread in threading.enumerate()]

    def test_callbacks_stay_through_a_restart(self, stage: Stage) -> None:
        got: list[Any] = []
        stage.on_closed(got.append)
        stage.detach()
        stage.close(0)
        stage.publisher.attach(stage.market.store, lambda: (Overall.LIVE, ""))
        stage.close(1, "BTCUSDT")
        until(lambda: got)
        assert numbers(got, "BTCUSDT") == [1]


class TestStates:
    def test_each_change_comes_with_its_reason_and_the_stop_too(self, stage: Stage) -> None:
        got: list[tuple[Any, ...]] = []
        stage.publisher.on_state(lambda *change: got.append(change))
        stage.state = Overall.DEGRADED
        stage.publisher.turned()
        until(lambda: len(got) == 1)
        stage.detach()
        assert [(old, new) for old, new, _, _ in got] == [
            (Overall.LIVE, Overall.DEGRADED),
            (Overall.DEGRADED, Overall.STOPPED),
        ]
        assert got[0][3] == "because"
        assert got[0][2] == pytest.approx(stage.clock.wall(), abs=PATIENCE)


def test_a_forked_child_has_no_callback_of_the_parent_and_does_not_wait_for_its_locks(stage: Stage) -> None:
    handle = stage.on_closed(lambda event: None)
    thread = stage.publisher._thread
    assert thread is not None
    condition = stage.publisher._condition
    with condition:  # as if another thread had it when the process was copied
        stage.publisher.after_fork()
        handle.close()
        assert stage.publisher.iterate(lambda store, now: CandleQueue(store, Selection(), now), 1.0, None) is None
        assert stage.publisher.detach() is None
        thread.stopping = True
        condition.notify_all()
    thread.join(PATIENCE)
    assert not thread.is_alive()
