"""Consumers of events on virtual time, quick and slow, and the promises that are made to them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ats_sync.events.queues import CandleQueue, EventQueue, Selection, TurnQueue
from ats_sync.events.values import CandleEvent, Missed, Turn
from ats_sync.feeds import Key, Kind
from ats_sync.venue.intervals import next_open, open_time

from .exchange import BrokenPromise
from .faults import Fault, Maintenance
from .world import World

GRACE = 3_000
PROVISIONAL = 300


class Consumer:
    """Takes its events after pauses of some ms, and notes when it got which."""

    def __init__(self, world: World, queue: EventQueue[Any], pause: Callable[[], int]) -> None:
        self.world = world
        self.queue = queue
        self.got: list[tuple[int, Any]] = []
        self._pause = pause
        world.process.queues.append(queue)
        world.line.after(pause(), self._come)

    def _come(self) -> None:
        self.world.line.after(self._pause(), self._come)
        if not self.world.process.stopped:
            self.drain()

    def drain(self) -> None:
        """Take everything that is ready."""
        process = self.world.process
        while (found := self.queue.take(process.clock.exchange_ms())) is not None:
            self.got.append((self.world.line.now, found()))

    def candles(self, key: Key) -> list[CandleEvent]:
        """Return the final candles of a series, in the order in which they came."""
        events = [event for _, event in self.got]
        return [
            event
            for event in events
            if isinstance(event, CandleEvent) and event.final and (event.symbol, event.interval) == key[1:]
        ]


class Consumers:
    """A quick consumer, one that sleeps for up to a minute, one that replays from the beginning, one of provisional
    candles, and one of turns."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self._rng = rng
        store, now = world.process.store, world.process.clock.exchange_ms()
        every = Selection()
        self.quick = Consumer(world, CandleQueue(store, every, now), lambda: 100)
        self.sleeper = Consumer(world, CandleQueue(store, every, now), lambda: rng.randrange(100, 60_000))
        self.early = Consumer(world, CandleQueue(store, every, now, provisional=PROVISIONAL), lambda: 50)
        self.turns = Consumer(world, TurnQueue(store, "1m", None, now, grace=GRACE), lambda: 100)

    def check(self) -> None:
        """Raise :class:`BrokenPromise` where one of them did not get what it was promised."""
        world, store = self.world, self.world.process.store
        now = world.process.clock.exchange_ms()
        since = world.line.start - 10 * 60_000
        replay = Consumer(world, CandleQueue(store, Selection(), now, since=since), lambda: 10**9)
        for consumer in (self.quick, self.sleeper, self.early, replay):
            consumer.drain()
            if missed := [event for _, event in consumer.got if isinstance(event, Missed)]:
                raise BrokenPromise(f"missed although memory reaches further back: {missed}")
        for key in store.followed_keys():
            if key.kind is not Kind.KLINES:
                continue
            end = store.klines(key.symbol, key.interval).following()
            quick = self._checked(key, self.quick, end)
            if self._checked(key, self.sleeper, end) != quick:
                raise BrokenPromise(f"{key}: a consumer that sleeps was given other candles than one that does not")
            replayed = self._checked(key, replay, end)
            recent = [candle for candle in quick if candle.open_time >= since]
            if replayed[len(replayed) - len(recent) :] != recent:
                raise BrokenPromise(f"{key}: replayed are other candles than were given")
            self._check_early(key, quick)
        self._check_turns()

    def _checked(self, key: Key, consumer: Consumer, end: int) -> list[CandleEvent]:
        candles = consumer.candles(key)
        if consumer is self.early:
            return candles
        truth = self.world.recording.klines[key.symbol, key.interval]
        expected = candles[0].open_time if candles else end
        for candle in candles:
            if candle.open_time != expected:
                raise BrokenPromise(f"{key}: {expected} was to come, it is {candle.open_time}")
            expected = next_open(key.interval, expected)
            row = json.loads(candle.text)
            if candle.open_time in truth.versions and row != truth.final(candle.open_time):
                raise BrokenPromise(f"{key}: {candle.text} is not final: {truth.final(candle.open_time)}")
            if candle.final_at is not None and candle.final_at < expected:
                raise BrokenPromise(f"{key}: final before its close: {candle}")
        if expected != end:
            raise BrokenPromise(f"{key}: closed up to {end}, given up to {expected}")
        return candles

    def _check_early(self, key: Key, quick: list[CandleEvent]) -> None:
        """Check that the last version of each candle is the final one, and that none came twice unchanged."""
        last: dict[int, CandleEvent] = {}
        for _, event in self.early.got:
            if isinstance(event, CandleEvent) and (event.symbol, event.interval) == key[1:]:
                before = last.get(event.open_time)
                if before is not None and (before.final or before.text == event.text):
                    raise BrokenPromise(f"{key}: given again: {before}, {event}")
                last[event.open_time] = event
        for candle in quick:
            if candle.open_time in last and last[candle.open_time].text != candle.text:
                raise BrokenPromise(f"{key}: the last word was {last[candle.open_time]}, the truth is {candle}")
        lacking = [candle.open_time for candle in quick if candle.open_time not in last]
        if lacking:
            raise BrokenPromise(f"{key}: never given to the consumer of provisional candles: {lacking}")

    def _check_turns(self) -> None:
        """Check that turns come one after the other, each with what had closed by then, and that nothing of it is
        called late."""
        world, faults, expected = self.world, self.world.schedule.faults, 0
        given = {
            (candle.symbol, candle.open_time): at
            for at, candle in self.quick.got
            if isinstance(candle, CandleEvent) and candle.interval == "1m"
        }
        for at, turn in self.turns.got:
            assert isinstance(turn, Turn)
            if expected and turn.open_time != expected:
                raise BrokenPromise(f"the turn of {expected} was to come, it is {turn.open_time}")
            expected = next_open("1m", turn.open_time)
            if turn.delay < 0:
                raise BrokenPromise(f"before its close: {turn}")
            named, paused = {*turn.closed, *turn.late}, any(isinstance(each, Maintenance) for each in faults)
            if set(turn.closed) & set(turn.late) or (named != set(world.symbols) and not paused):
                raise BrokenPromise(f"not every symbol is in {turn}")
            for symbol in turn.late:
                if given.get((symbol, turn.open_time), at) < at - 200:
                    raise BrokenPromise(f"{symbol} had closed at {given[symbol, turn.open_time]} and is late in {turn}")
        # The first turn is that in which the first history has come.
        begun = max(world.line.start, world.exchange.waits_until(), world.unanswered_until)
        expected = expected or open_time("1m", begun)
        if world.line.now - expected > 60_000 + GRACE + 200:
            raise BrokenPromise(f"no turn since {expected}, it is {world.line.now}")


@dataclass(frozen=True)
class Consume(Fault):
    """Not a fault: from then on there are consumers, and in the end they must have got what they were promised."""

    seed: int

    def begin(self, world: World) -> None:
        world.checks.append(Consumers(world, random.Random(self.seed)))
