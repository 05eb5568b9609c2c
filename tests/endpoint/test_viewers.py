"""The viewers of the page, without sockets: who gets what, who is dropped, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ats_sync.endpoint import viewers as module
from ats_sync.endpoint.page import Rendering
from ats_sync.endpoint.viewers import Viewers


class Taker:
    """A viewer's connection, which takes what is written unless the test makes it wait."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, data: bytes) -> None:
        await self.open.wait()
        self.taken.append(data)


async def follow(viewers: Viewers, taker: Taker) -> None:
    """Do what the server does for one viewer."""
    assert viewers.admit()
    try:
        await viewers.serve(taker)
    finally:
        viewers.leave()


def run(body: Callable[[Viewers, list[int]], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        wakes: list[int] = []
        await body(Viewers(asyncio.get_running_loop(), lambda: wakes.append(1)), wakes)

    asyncio.run(asyncio.wait_for(main(), 60))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def rendering(number: int, *, whole: bool = False, change: bool = True) -> Rendering:
    return Rendering(number, b"c%d" % number if change else None, b"w%d" % number if whole else None)


def test_a_viewer_begins_with_the_whole_state_and_continues_with_changes() -> None:
    async def body(viewers: Viewers, wakes: list[int]) -> None:
        taker = Taker()
        task = asyncio.create_task(follow(viewers, taker))
        await settle()
        assert (viewers.count, viewers.waiting, len(wakes)) == (1, 1, 1)
        for number in (5, 6, 7):
            viewers.publish(rendering(number, whole=number == 5))
            await settle()
        assert taker.taken == [b"w5", b"c6", b"c7"]
        assert viewers.waiting == 0
        viewers.close()
        await task
        assert viewers.count == 0

    run(body)


def test_where_nothing_can_be_sent_as_a_change_everybody_begins_again() -> None:
    async def body(viewers: Viewers, wakes: list[int]) -> None:
        taker = Taker()
        task = asyncio.create_task(follow(viewers, taker))
        await settle()
        for each in (rendering(1, whole=True), rendering(2, whole=True, change=False), rendering(3)):
            viewers.publish(each)
            await settle()
        assert taker.taken == [b"w1", b"w2", b"c3"]
        viewers.close()
        await task

    run(body)


def test_a_viewer_that_lags_gets_the_newest_in_one_piece() -> None:
    async def body(viewers: Viewers, wakes: list[int]) -> None:
        slow, quick = Taker(), Taker()
        tasks = [asyncio.create_task(follow(viewers, each)) for each in (slow, quick)]
        await settle()
        viewers.publish(rendering(1, whole=True))
        await settle()
        slow.open.clear()
        for number in (2, 3, 4):
            viewers.publish(rendering(number))
            await settle()
        assert quick.taken == [b"w1", b"c2", b"c3", b"c4"]
        slow.open.set()
        await settle()
        assert viewers.waiting == 1
        viewers.publish(rendering(5, whole=True))
        await settle()
        assert slow.taken == [b"w1", b"c2", b"w5"]
        assert quick.taken[-1] == b"c5"
        viewers.close()
        await asyncio.gather(*tasks)

    run(body)


def test_a_viewer_that_does_not_read_is_dropped_and_the_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def body(viewers: Viewers, wakes: list[int]) -> None:
        dead, living = Taker(), Taker()
        dead.open.clear()
        tasks = [asyncio.create_task(follow(viewers, each)) for each in (dead, living)]
        await settle()
        viewers.publish(rendering(1, whole=True))
        with pytest.raises(asyncio.TimeoutError):
            await tasks[0]
        assert viewers.count == 1
        viewers.publish(rendering(2))
        await settle()
        assert (dead.taken, living.taken) == ([], [b"w1", b"c2"])
        viewers.close()
        await tasks[1]

    run(body)


def test_viewers_above_the_limit_are_refused() -> None:
    async def body(viewers: Viewers, wakes: list[int]) -> None:
        tasks = [asyncio.create_task(follow(viewers, Taker())) for _ in range(module.MOST)]
        await settle()
        assert not viewers.admit()
        viewers.close()
        await asyncio.gather(*tasks)
        assert viewers.admit()

    run(body)
