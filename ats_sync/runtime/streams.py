"""The stream threads: each owns one connection and moves its frames into the store."""

from __future__ import annotations

import logging
import threading
from typing import Any, Protocol

from ..clock import Clock
from ..config import Config
from ..engine.stream_session import StreamSession
from ..errors import AtsSyncError
from ..store.link import Link
from ..store.market import MarketStore
from ..store.series import StoreEvent
from ..transport.sockets import CancelScope
from ..transport.stream import StreamClosed, WebSocketStream
from .counters import Traffic

log = logging.getLogger(__name__)


class StreamEvents(Protocol):
    """Receives the events of a connection, on the stream's own thread."""

    def stream_opened(self, stream: StreamThread) -> None: ...

    def stream_lost(self, stream: StreamThread, reason: str, error: AtsSyncError | None) -> None: ...

    def stream_replied(self, number: int, message: dict[str, Any]) -> None: ...

    def store_noticed(self, notices: list[StoreEvent]) -> None: ...


class StreamThread(threading.Thread):
    """Owns one connection from its handshake to its end. Never calls REST, never takes the engine's lock."""

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
        self._events = events
        self._scope = CancelScope(clock)
        self._ending = threading.Event()
        self._session = StreamSession(config, clock, store, link)
        self._stream: WebSocketStream | None = None
        self._planned = False
        self.ending = ""
        """How it has ended, in one of a few words; "" while it has not."""

    # --- from other threads ------------------------------------------------------------------------

    def send(self, text: str) -> None:
        """Queue a message and wake the thread to send it."""
        self._session.send(text)
        stream = self._stream
        if stream is not None:
            stream.wake()

    def traffic(self) -> Traffic:
        """Return what has come so far."""
        stream, session = self._stream, self._session
        return Traffic(
            self.link.frames, stream.bytes_received if stream is not None else 0, tuple(session.lags), session.lag_sum
        )

    def stop(self, reason: str, *, planned: bool = False) -> None:
        """End the connection at once, also during its handshake."""
        self._planned |= planned
        self._session.end(reason)
        self._ending.set()
        self._scope.shutdown()
        stream = self._stream
        if stream is not None:
            stream.wake()

    # --- on this thread ------------------------------------------------------------------------------

    def run(self) -> None:
        error: AtsSyncError | None = None
        try:
            self._connect()
            self._session.opened()
            self._events.stream_opened(self)
            reason = self._pump()
        except StreamClosed as closed:
            reason = f"closed by the exchange: {closed}" if closed.code else str(closed)
            self.ending = "closed" if closed.code else "broken"
        except AtsSyncError as failure:
            error = failure
            reason = str(failure)
            self.ending = "not connected"
        except Exception as failure:
            # A bug of ours; unreported, the engine would think this connection alive for ever.
            log.exception("a stream thread failed")
            reason = repr(failure)
            self.ending = "failed"
        finally:
            self.link.up = False
            stream = self._stream
            if stream is not None:
                stream.close()
        session = self._session
        if session.over is not None:
            self.ending = "planned" if self._planned else "silent" if session.silent else "given up"
        self._events.stream_lost(self, session.over or reason, error)

    def _connect(self) -> None:
        timeout = 2 * self._config.connect_timeout
        self._stream = WebSocketStream.connect(self._url, self._config, self._clock, self._scope, timeout=timeout)

    def _pump(self) -> str:
        stream = self._stream
        assert stream is not None
        session = self._session.run(stream, self)
        try:
            seconds, gather = next(session)
            while True:
                came = self._clock.wait(self._ending, seconds) if gather else stream.wait(seconds)
                seconds, gather = session.send(came)
        except StopIteration as over:
            return str(over.value)

    def replied(self, message: dict[str, Any]) -> None:
        """Pass on a reply to one of our messages."""
        self._events.stream_replied(self.number, message)

    def noticed(self, notices: list[StoreEvent]) -> None:
        """Pass on what the store has found."""
        self._events.store_noticed(notices)
