"""The stream threads: each owns one connection and pumps its frames into the store."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any, Protocol

from ..clock import Clock
from ..config import Config
from ..engine.heartbeat import Heartbeat
from ..errors import AtsSyncError
from ..store.link import Link
from ..store.market import MarketStore
from ..store.notices import Notice
from ..transport.sockets import Guard
from ..transport.stream import StreamClosed, WebSocketStream
from ..venue.envelope import scan_event_time
from ..venue.payload import DecodeError

log = logging.getLogger(__name__)

MOST_UNSENT = 1000
FUTURE_EVENT = 1.0


class StreamEvents(Protocol):
    """Who is told what happens on a connection; called on the stream's own thread."""

    def stream_opened(self, stream: StreamThread) -> None: ...

    def stream_lost(self, stream: StreamThread, reason: str, error: AtsSyncError | None) -> None: ...

    def stream_replied(self, number: int, message: dict[str, Any]) -> None: ...

    def store_noticed(self, notices: list[Notice]) -> None: ...


class StreamThread(threading.Thread):
    """One connection from connecting to its end. Never calls REST, never takes a lock of the engine."""

    def __init__(
        self,
        number: int,
        url: str,
        link: Link,
        config: Config,
        clock: Clock,
        store: MarketStore,
        events: StreamEvents,
    ) -> None:
        super().__init__(name=f"ats-stream-{link.route}-{number}", daemon=True)
        self.number = number
        self.link = link
        self._url = url
        self._config = config
        self._clock = clock
        self._store = store
        self._events = events
        self._guard = Guard(clock)
        self._ending = threading.Event()
        self._stop_reason = ""
        self._stream: WebSocketStream | None = None
        self._outgoing: deque[str] = deque(maxlen=MOST_UNSENT)

    # --- from other threads ------------------------------------------------------------------------

    def send(self, text: str) -> None:
        """Send a message soon."""
        self._outgoing.append(text)
        stream = self._stream
        if stream is not None:
            stream.wake()

    def stop(self, reason: str) -> None:
        """End the connection at once, also in mid-handshake."""
        self._stop_reason = reason
        self._ending.set()
        self.link.up = False
        self._guard.shutdown()
        stream = self._stream
        if stream is not None:
            stream.wake()

    # --- on this thread ------------------------------------------------------------------------------

    def run(self) -> None:
        error: AtsSyncError | None = None
        try:
            self._connect()
            self._events.stream_opened(self)
            reason = self._pump()
        except StreamClosed as closed:
            reason = f"closed by the exchange: {closed}" if closed.code else str(closed)
        except AtsSyncError as failure:
            error = failure
            reason = str(failure)
        except Exception as failure:
            # A fault of ours; untold, the engine would think this connection alive for ever.
            log.exception("a stream thread failed")
            reason = repr(failure)
        finally:
            self.link.up = False
            stream = self._stream
            if stream is not None:
                stream.close()
        self._events.stream_lost(self, self._stop_reason or reason, error)

    def _connect(self) -> None:
        timeout = 2 * self._config.connect_timeout
        self._stream = WebSocketStream.connect(self._url, self._config, self._clock, self._guard, timeout=timeout)

    def _pump(self) -> str:
        stream, clock, store, link = self._stream, self._clock, self._store, self.link
        assert stream is not None
        heartbeat = Heartbeat(self._config.ping_interval, self._config.silence_limit, clock.now())
        pong = stream.last_pong
        pause = self._config.drain_interval
        while not self._ending.is_set():
            while self._outgoing:
                stream.send_text(self._outgoing.popleft())
            now = clock.now()
            if heartbeat.lost(now):
                return f"silent for {self._config.silence_limit:g} s"
            if heartbeat.ping_due(now):
                heartbeat.pinged(clock.exchange())
                stream.ping()
            if not stream.wait(heartbeat.next_check(now)):
                continue
            if pause and clock.wait(self._ending, pause):
                break
            frames = stream.receive()
            now = clock.now()
            if frames:
                heartbeat.heard(now)
                notices, replies = store.ingest(frames, link)
                self._prove(frames[-1])
                for reply in replies:
                    self._events.stream_replied(self.number, reply)
                if notices:
                    self._events.store_noticed(notices)
            if stream.last_pong != pong:
                pong = stream.last_pong
                proved = heartbeat.ponged(now)
                if proved is not None:
                    link.proved(proved, clock.exchange())
        return self._stop_reason

    def _prove(self, frame: bytes) -> None:
        """A frame proves that everything sent before it has arrived."""
        try:
            event = scan_event_time(frame)
        except DecodeError:
            return
        self._clock.saw_event(event)
        exchange = self._clock.exchange()
        self.link.proved(min(event / 1000.0, exchange + FUTURE_EVENT), exchange)
