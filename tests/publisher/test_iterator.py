"""Iterators by themselves, on a clock that the test drives; those of a publisher are in its own test."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ats_sync import Clock, EventIterator, Missed
from ats_sync.events.queues import EventQueue
from ats_sync.events.values import Turn
from ats_sync.publisher.iterator import LONGEST_WAIT, MissedCount, until

from ..desk import StandingTime
from ..venue.samples import MIDNIGHT

PATIENCE = 30.0
MISSED = Missed("BTCUSDT", "1m", MIDNIGHT, MIDNIGHT)


class Numbers(EventQueue[Any]):
    """A queue of what the test puts into it. Those that hold its lock may call it."""

    def __init__(self, *items: Any) -> None:
        self.items: deque[Any] = deque(items)
        self.looked: list[int] = []
        self.next_due: int | None = None

    def take(self, now: int) -> Callable[[], Any] | None:
        self.looked.append(now)
        if not self.items:
            return None
        item = self.items.popleft()
        return lambda: item

    def due(self) -> int | None:
        return self.next_due


class Scene:
    def __init__(self, *items: Any, timeout: float | None = 0.0) -> None:
        self.time = StandingTime()
        self.clock = Clock(self.time)
        self.queue = Numbers(*items)
        self.missed = MissedCount()
        self.iterator: EventIterator[Any] = EventIterator(self.queue, self.clock, timeout, self, self.missed)

    def put(self, item: Any) -> bool:
        self.queue.items.append(item)
        return True


async def collected(iterator: EventIterator[Any]) -> list[Any]:
    return [event async for event in iterator]


# --- for ------------------------------------------------------------------------------------------------


def test_a_loop_gets_what_there_is_and_the_next_one_goes_on_where_it_ended() -> None:
    scene = Scene(1, 2)
    assert list(scene.iterator) == [1, 2]
    scene.iterator._tell(lambda queue: scene.put(3))
    assert list(scene.iterator) == [3]
    assert not scene.iterator.closed
    assert set(scene.queue.looked) == {MIDNIGHT}, "it is asked at the exchange's time"


def test_the_timeout_counts_from_each_wait_and_not_from_the_loop() -> None:
    scene = Scene(*range(5), timeout=3.0)
    seen = []
    for number in scene.iterator:
        seen.append(number)
        scene.time.at += 2.9
        if number == 4:
            break
    assert seen == [0, 1, 2, 3, 4]


def test_what_is_due_without_further_data_is_looked_for_when_its_time_comes() -> None:
    scene = Scene(timeout=None)
    scene.queue.next_due = MIDNIGHT + 1  # a millisecond from now on, for a clock that stands still
    take = scene.queue.take

    def take_once_due(now: int) -> Callable[[], Any] | None:
        if len(scene.queue.looked) == 3:
            scene.put("due")
        return take(now)

    scene.queue.take = take_once_due  # type: ignore[method-assign]
    assert next(scene.iterator) == "due"
    assert len(scene.queue.looked) == 4


def test_a_change_of_the_queue_that_concerns_it_wakes_whoever_waits() -> None:
    scene, got = Scene(timeout=None), []
    thread = threading.Thread(target=lambda: got.append(next(scene.iterator)))
    thread.start()
    scene.iterator._tell(lambda queue: scene.put("news"))
    thread.join(PATIENCE)
    assert got == ["news"]


def test_a_change_that_does_not_concern_it_wakes_nobody() -> None:
    scene, woken = Scene(), []
    scene.iterator._wakers.append(lambda: woken.append("woken"))
    scene.iterator._tell(lambda queue: False)
    assert woken == []
    scene.iterator._tell(lambda queue: None)
    assert woken == ["woken"]


# --- closing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [False, True])
def test_closed_it_gives_nothing_more_though_there_is_some(again: bool) -> None:
    scene = Scene(1, 2, timeout=None)
    with scene.iterator as iterator:
        assert next(iterator) == 1
    if again:
        scene.iterator.close()
    assert scene.iterator.closed
    assert list(scene.iterator) == []
    assert asyncio.run(collected(scene.iterator)) == []
    assert list(scene.queue.items) == [2]


def test_an_error_in_its_context_closes_it_and_is_raised() -> None:
    scene = Scene()
    with pytest.raises(ValueError, match="of the user"), scene.iterator:
        raise ValueError("of the user")
    assert scene.iterator.closed


def test_in_a_forked_child_it_is_closed_and_waits_for_no_lock_of_the_parent() -> None:
    scene = Scene(1, timeout=None)
    lock = scene.iterator._lock
    with lock:  # as if another thread had it when the process was copied
        scene.iterator._after_fork()
        assert list(scene.iterator) == []
        scene.iterator.close()


# --- async for ------------------------------------------------------------------------------------------


def test_an_async_loop_gets_the_same() -> None:
    scene = Scene(1, 2)
    assert asyncio.run(collected(scene.iterator)) == [1, 2]
    scene.put(3)
    assert asyncio.run(collected(scene.iterator)) == [3]
    assert scene.iterator._wakers == []


def test_several_tasks_share_the_events_and_each_is_woken() -> None:
    scene = Scene(timeout=None)

    async def main() -> list[Any]:
        waiting = [asyncio.ensure_future(anext(scene.iterator)) for _ in range(3)]
        await asyncio.sleep(0)
        assert len(scene.iterator._wakers) == 3
        for number in range(3):
            scene.iterator._tell(lambda queue, number=number: scene.put(number))  # type: ignore[misc]
        return sorted(await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE))

    assert asyncio.run(main()) == [0, 1, 2]


def test_close_ends_an_async_loop_that_waits() -> None:
    scene = Scene(timeout=None)

    async def main() -> list[Any]:
        waiting = asyncio.ensure_future(collected(scene.iterator))
        await asyncio.sleep(0)
        closer = threading.Thread(target=scene.iterator.close)
        closer.start()
        found = await asyncio.wait_for(waiting, PATIENCE)
        closer.join()
        return found

    assert asyncio.run(main()) == []


def test_a_loop_that_was_closed_while_it_waited_disturbs_nobody() -> None:
    scene = Scene(timeout=None)
    loop = asyncio.new_event_loop()
    task = loop.create_task(collected(scene.iterator))
    loop.run_until_complete(asyncio.sleep(0))
    for pending in asyncio.all_tasks(loop):
        pending._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    assert not task.done()
    assert len(scene.iterator._wakers) == 1
    scene.iterator._tell(lambda queue: scene.put(1))
    assert next(scene.iterator) == 1


# --- how long it waits, and what was missed ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("due", "seconds"),
    [
        (None, LONGEST_WAIT),
        (MIDNIGHT + 2_500, 2.5),
        (MIDNIGHT + 3_600_000, LONGEST_WAIT),
        (MIDNIGHT, 0.001),
        (MIDNIGHT - 5_000, 0.001),
    ],
)
def test_a_wait_ends_when_something_is_due_and_is_neither_endless_nor_none(due: int | None, seconds: float) -> None:
    assert until(due, Clock(StandingTime())) == pytest.approx(seconds)


def test_what_says_that_candles_were_missed_is_counted_once_given() -> None:
    turn = Turn("1m", MIDNIGHT, {}, (), 0.0, None)
    scene = Scene(MISSED, turn, replace(turn, missed=MISSED), "x")
    assert scene.missed.value == 0
    assert len(list(scene.iterator)) == 4
    assert scene.missed.value == 2
    scene.put(MISSED)
    assert asyncio.run(collected(scene.iterator)) == [MISSED]
    assert scene.missed.value == 3
