"""The loop that advances the market and sends its frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from .broadcaster import Broadcaster
from .clock import ExchangeClock
from .listener import Listener
from .market import Frame, Market
from .stream_faults import StreamFaults

# A late pump catches up in steps, so that answers and control frames do not have to wait for all of it.
_LONGEST_STEP = 250
_SKIP_STEP = 2_000


class Pump:
    """Runs every ``tick`` seconds of real time."""

    def __init__(
        self,
        market: Market,
        clock: ExchangeClock,
        broadcaster: Broadcaster,
        faults: StreamFaults,
        listeners: Sequence[Listener],
        tick: float,
    ) -> None:
        self._market = market
        self._clock = clock
        self._broadcaster = broadcaster
        self._faults = faults
        self._listeners = listeners
        self._tick = tick
        self._last = time.monotonic()
        self._skip_until = 0
        self.after_step: Callable[[], None] = lambda: None

    @property
    def behind(self) -> int:
        """How far the market is behind the clock, ms."""
        return max(0, self._clock.now() - self._market.now)

    def skip_to(self, until: int) -> None:
        """Send no events up to exchange time ``until``: the clock has jumped over them."""
        self._skip_until = until

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            begun = time.monotonic()
            self.step()
            await asyncio.sleep(max(0.0, self._tick - (time.monotonic() - begun)))

    def step(self) -> None:
        """Bring the market up to now (or one longest step nearer) and send its frames."""
        now = self._clock.now()
        market = self._market
        if now > market.now:
            if market.now < self._skip_until:
                self._skip(min(now, self._skip_until, market.now + _SKIP_STEP))
            else:
                target = min(now, market.now + _LONGEST_STEP)
                self.send(market.advance(target))
        elif self._faults.busy:
            self.send([])
        self._broadcaster.flush()
        self._broadcaster.check_time()
        wall = time.monotonic()
        for listener in self._listeners:
            listener.release(wall - self._last)
        self._last = wall
        self.after_step()

    def send(self, frames: list[Frame]) -> None:
        """Queue frames for their subscribers, through the faults."""
        if self._faults.busy:
            self._broadcaster.deliver(self._faults.apply(frames, self._clock.now()))
        else:
            self._broadcaster.deliver(frames)

    def _skip(self, until: int) -> None:
        market = self._market
        names, spot_names = set(market.subscribed), set(market.spot_subscribed)
        market.subscribed.clear()
        market.spot_subscribed.clear()
        try:
            market.advance(until)
        finally:
            market.subscribed.update(names)
            market.spot_subscribed.update(spot_names)
