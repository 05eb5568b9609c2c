"""The protocol of a stream connection without I/O: what is sent, what is received, and when the connection is over.

Driven by the stream threads, and by the tests on virtual time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Generator
from typing import Any, NamedTuple, Protocol

from ..clock import Clock
from ..config import Config
from ..store.link import Link
from ..store.market import MarketStore
from ..store.series import StoreEvent
from ..venue.envelope import scan_event_time
from ..venue.payload import DecodeError


class Heartbeat:
    """Frames prove that a connection is alive. One on which nothing arrives is pinged and, without an answer, lost.

    At most one ping is unanswered at a time, so that a pong belongs to exactly one moment.
    """

    def __init__(self, ping_interval: float, silence_limit: float, now: float) -> None:
        self.ping_interval = ping_interval
        self.silence_limit = silence_limit
        self._heard = now
        self._pinged: tuple[float, float] | None = None  # when the unanswered ping was sent: exchange time, steady (s)

    def heard(self, now: float) -> None:
        """Something arrived."""
        self._heard = now

    def pinged(self, exchange: float, now: float) -> None:
        """Note that a ping was sent at this exchange time, at ``now`` by the steady clock (seconds)."""
        self._pinged = exchange, now

    def ponged(self, now: float) -> tuple[float, float] | None:
        """Note that a pong arrived; return when its ping was sent (exchange time and steady, seconds): everything up to
        then has been received."""
        self._heard = now
        proved, self._pinged = self._pinged, None
        return proved

    def ping_due(self, now: float) -> bool:
        return self._pinged is None and now - self._heard >= self.ping_interval

    def lost(self, now: float) -> bool:
        """Return whether the connection has been silent for too long."""
        return now - self._heard >= self.silence_limit

    def next_check(self, now: float) -> float:
        """Return the seconds until :meth:`ping_due` or :meth:`lost` may change."""
        patience = self.ping_interval if self._pinged is None else self.silence_limit
        return max(0.0, self._heard + patience - now)


MAX_UNSENT = 1000
LAG_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""
FUTURE_EVENT = 1.0
"""An event further than this (seconds) in the future is ignored: it or our clock is wrong."""


class Sender(Protocol):
    """Sends messages; neither method blocks."""

    def send_text(self, text: str) -> None: ...

    def ping(self) -> None: ...


class Stream(Sender, Protocol):
    """One connection. ``last_pong`` is when (steady) its newest pong arrived."""

    last_pong: float | None

    def receive(self) -> list[bytes]:
        """Return the messages that have arrived, without blocking; raise once it is over and they have been taken."""


class Receiver(Protocol):
    """Learns what else a connection has brought, on the thread that owns it."""

    def replied(self, message: dict[str, Any]) -> None: ...

    def noticed(self, notices: list[StoreEvent]) -> None: ...


class Wait(NamedTuple):
    """What a session waits for, for at most so many seconds: that something arrives, or, while frames ``gather``, that
    :meth:`StreamSession.end` is called."""

    seconds: float
    gather: bool


class StreamSession:
    """One connection from its handshake to its end. Belongs to the thread that owns the connection; others may call
    :meth:`send` and :meth:`end` only. The owner drives :meth:`run`, and waits where that says so.
    """

    def __init__(self, config: Config, clock: Clock, store: MarketStore, link: Link) -> None:
        self.link = link
        self.over: str | None = None
        """Why the connection is to be closed, None while it is not."""
        self._clock = clock
        self._store = store
        self._silence = config.silence_limit
        self._gathers = config.gathers
        self._received = clock.now() - self._gathers
        self._outgoing: deque[str] = deque(maxlen=MAX_UNSENT)
        """Messages to send. Without a lock: others only append, only the owner takes, and a deque does either whole."""
        self._heartbeat = Heartbeat(config.ping_interval, config.silence_limit, clock.now())
        self._pong: float | None = None
        self.silent = False
        """Whether it is over because nothing has come for too long."""
        self.lags = [0] * (len(LAG_BOUNDS) + 1)
        """How many receives had a newest frame of an age within each of the bounds, and beyond the last.

        Only the owner counts here and in :attr:`lag_sum`, without a lock. Whoever copies them meanwhile may find the
        newest receive in one of the two only: they are for statistics."""
        self.lag_sum = 0.0

    def send(self, text: str) -> None:
        """Queue a message, to be sent before the next wait."""
        self._outgoing.append(text)

    def end(self, reason: str) -> None:
        """Have the connection closed; its data no longer count as fresh."""
        self.over = reason
        self.link.up = False

    def opened(self) -> None:
        """The handshake succeeded; silence counts from now on."""
        self._heartbeat.heard(self._clock.now())

    def run(self, stream: Stream, receiver: Receiver) -> Generator[Wait, bool, str]:
        """Serve the connection until it is over; return why it is. Each value is to be waited for, and what is sent
        back is whether it came. What :meth:`Stream.receive` raises ends it, too."""
        while self.over is None:
            wait = self.before_wait(stream)
            if self.over is not None:
                break
            if not (yield Wait(wait, gather=False)):
                continue
            pause = self.pause()
            if pause and (yield Wait(pause, gather=True)):
                break
            notices, replies = self.received(stream.receive(), stream.last_pong)
            for reply in replies:
                receiver.replied(reply)
            if notices:
                receiver.noticed(notices)
        return self.over or ""

    def before_wait(self, sender: Sender) -> float:
        """Send the queued messages; return the most seconds to wait for the socket, if not :attr:`over` by then."""
        outgoing, heartbeat, clock = self._outgoing, self._heartbeat, self._clock
        while outgoing:
            sender.send_text(outgoing.popleft())
        now = clock.now()
        if heartbeat.lost(now):
            self.silent = self.over is None
            self.end(self.over or f"silent for {self._silence:g} s")
            return 0.0
        if heartbeat.ping_due(now):
            heartbeat.pinged(clock.exchange(), now)
            sender.ping()
        return heartbeat.next_check(now)

    def pause(self) -> float:
        """Return how long (seconds) to let frames gather before they are received: not at all where nothing has been
        for a while, or else until :attr:`~ats_sync.config.Config.drain_interval` after the last time."""
        return max(0.0, self._received + self._gathers - self._clock.now())

    def received(self, frames: list[bytes], pong: float | None) -> tuple[list[StoreEvent], list[dict[str, Any]]]:
        """Merge received frames; ``pong`` is when (steady) the last pong arrived. Return the notices of the store and
        the replies to our messages."""
        clock, link = self._clock, self.link
        now = self._received = clock.now()
        notices: list[StoreEvent] = []
        replies: list[dict[str, Any]] = []
        if frames:
            self._heartbeat.heard(now)
            notices, replies = self._store.ingest(frames, link)
            # Frames arrive in order, so everything sent before this one has arrived.
            try:
                event = scan_event_time(frames[-1])
            except DecodeError:
                pass
            else:
                clock.saw_event(event)
                exchange = clock.exchange()
                if event / 1000.0 <= exchange + FUTURE_EVENT:
                    link.advance(event / 1000.0, exchange)
                    lag = max(0.0, exchange - event / 1000.0)
                    self.lags[bisect_left(LAG_BOUNDS, lag)] += 1  # once a receive, however many frames it had
                    self.lag_sum += lag
        if pong != self._pong:
            self._pong = pong
            proved = self._heartbeat.ponged(now)
            if proved is not None:
                link.ponged(*proved, clock.exchange())
        return notices, replies
