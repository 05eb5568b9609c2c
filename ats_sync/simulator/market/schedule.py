"""Events in order of time, and the frames that they produce."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

_Event = tuple[int, int, Callable[[Any], None], Any]


@dataclass(slots=True)
class Frame:
    """One event of a stream, as the market passes it to the server: the ``data`` part of a message.

    ``stream`` is the stream's name with a lower-case symbol, ``event_time`` the exchange time in ms at which
    the exchange sends it, ``payload`` JSON text. ``spot`` is whether it is a stream of the spot exchange.
    """

    stream: str
    event_time: int
    payload: str
    spot: bool = False


class Schedule:
    """A queue of events by time. An event's action is called with its subject, at :attr:`now`."""

    def __init__(self, start: int) -> None:
        self.now = start
        self.frames: list[Frame] = []
        """The frames since the last :meth:`take`."""
        self._heap: list[_Event] = []
        self._number = 0

    def at(self, time: int, action: Callable[[Any], None], subject: Any) -> None:
        """Call ``action(subject)`` at ``time``; events at the same time happen in the order of their calls."""
        self._number += 1
        heappush(self._heap, (time, self._number, action, subject))

    def run(self, now: int) -> None:
        """Run everything that is due up to and including ``now``."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            self.now, _, action, subject = heappop(heap)
            action(subject)
        self.now = now

    def emit(self, stream: str, payload: str, spot: bool = False) -> None:
        """Send a frame now."""
        self.frames.append(Frame(stream, self.now, payload, spot))

    def take(self) -> list[Frame]:
        """Return the frames since the last call, in order."""
        frames, self.frames = self.frames, []
        return frames
