"""How a collector ends, on a clock that moves only while something is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from ats_sync import Config
from ats_sync.clock import Clock
from ats_sync.shared_lifecycle import SharedLifecycle


class Time:
    """Clocks that stand still."""

    def __init__(self) -> None:
        self.at = 1000.0

    def wall(self) -> float:
        return self.at

    steady = wall


class Hanging:
    """A part of a collector that takes all the time it is given, and does not end."""

    stopped = False

    def __init__(self, time: Time) -> None:
        self._time = time
        self.given: list[float] = []

    def close(self, timeout: float) -> None:
        self.given.append(timeout)
        self._time.at += timeout

    leave = close

    def reconnects(self) -> int:
        return 0

    frames = reconnects


@pytest.mark.parametrize("timeout", [0.1, 2.0, 20.0])
def test_a_collector_closes_within_its_time_whatever_hangs(timeout: float) -> None:
    time = Time()
    life = SharedLifecycle(Config(shared="redis://127.0.0.1:1", role="collector", close_timeout=timeout), Clock(time))
    keeper, feed, runtime = Hanging(time), Hanging(time), Hanging(time)
    parts: Any = life
    parts._keeper, parts._feed, parts.runtime = keeper, feed, runtime
    began = time.at
    life.close()
    assert time.at - began <= timeout + 1e-6
    given = [*keeper.given, *feed.given, *runtime.given]
    assert len(given) == 4, "the lease is left and closed"
    assert min(given) > 0.0, "each has a share"
