"""One client on the streams: its subscriptions, its messages, its limits."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from .faulty_transport import FaultyTransport
from .literals import Refusal
from .settings import Settings
from .stats import ConnectionInfo
from .wire import PING, PONG, close_frame, ws_frame

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_CLOSE_WAIT = 1.0
_BIG_MESSAGE_GRACE = 1.0


class Subscriptions(Protocol):
    """The object that delivers streams to connections."""

    def join(self, connection: StreamConnection, stream: str) -> None:
        """Deliver ``stream`` to ``connection`` from now on."""

    def leave(self, connection: StreamConnection, stream: str) -> None:
        """Stop delivering ``stream`` to ``connection``."""

    def refuses(self, streams: list[str]) -> tuple[str, Refusal] | None:
        """Return the first of ``streams`` that is refused, and how, or None if a SUBSCRIBE of them is accepted."""


@dataclass(frozen=True)
class Pings:
    """How a host pings: every ``interval`` seconds, and a pong is due ``deadline`` seconds after a ping."""

    interval: float
    deadline: float


@dataclass(eq=False)
class StreamConnection:
    """A WebSocket after its handshake. Frames wait in ``outbox`` until :meth:`flush`."""

    number: int
    route: str
    combined: bool
    transport: FaultyTransport
    settings: Settings
    subscriptions: Subscriptions
    opened_at: int
    """Exchange time, ms."""
    names: dict[str, None] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    """Streams of this connection that a fault has silenced."""
    barred: set[str] = field(default_factory=set)
    """Streams that stay silent on this connection even when it subscribes to them again."""
    outbox: list[bytes] = field(default_factory=list)
    messages: int = 0
    busiest_second: int = 0
    """The maximum number of messages in one second."""
    frames_sent: int = 0
    bytes_sent: int = 0
    closed_why: str = ""

    def __post_init__(self) -> None:
        self.born = time.monotonic()
        self._last_ping = self.born
        self._pong_due: float | None = None
        self._unanswered: set[bytes] = set()
        """Payloads of pings since the last good pong."""
        self._recent: deque[float] = deque()
        self._big_until = 0.0
        self._close_sent = False

    @property
    def spot(self) -> bool:
        """Whether it is a connection to the spot exchange."""
        return self.route == "spot"

    @property
    def open(self) -> bool:
        """Whether frames still reach the client."""
        return self.transport.alive and not self._close_sent and not self.transport.peer_gone

    def info(self) -> ConnectionInfo:
        """Return the connection's entry in the statistics."""
        return ConnectionInfo(
            number=self.number,
            route=self.route,
            opened_at=self.opened_at,
            open=self.open,
            subscriptions=len(self.names),
            messages=self.messages,
            busiest_second=self.busiest_second,
            frames_sent=self.frames_sent,
            bytes_sent=self.bytes_sent,
            closed_why=self.closed_why,
        )

    # -- out

    def push(self, wire: bytes) -> None:
        """Queue one frame."""
        self.outbox.append(wire)

    def flush(self) -> None:
        """Write the queued frames; if the reader is too slow for the send buffer, cut the connection instead."""
        outbox = self.outbox
        if not outbox:
            return
        self.outbox = []
        if not self.open or self.transport.half_open:
            return
        unsent = self.transport.get_write_buffer_size()
        bound = self.settings.send_buffer * (8 if self.transport.frozen else 1)
        if unsent > bound and time.monotonic() > self._big_until:
            self.closed_why = "slow reader"
            self.transport.abort()
            return
        size = sum(map(len, outbox))
        if unsent <= bound < unsent + size:
            # One message larger than the buffer is not the reader's fault: it gets some time to take it.
            self._big_until = time.monotonic() + _BIG_MESSAGE_GRACE
        self.frames_sent += len(outbox)
        self.bytes_sent += size
        self.transport.send(outbox)

    def reply(self, message: dict[str, Any]) -> None:
        """Queue a control answer behind the frames before it, and write both."""
        self.push(ws_frame(json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()))
        self.flush()

    def close(self, why: str, code: int = 1008) -> None:
        """Close with a close frame, then close the TCP connection."""
        if self._close_sent or not self.transport.alive:
            return
        self.closed_why = self.closed_why or why
        self.flush()
        self._close_sent = True
        self.transport.send([close_frame(code, why)])
        asyncio.get_running_loop().call_later(_CLOSE_WAIT, self.transport.close)

    def check_time(self, now: float, pings: Pings, max_age: float) -> None:
        """Ping, and close for age or a missing pong; ``now`` is monotonic."""
        if not self.open or self.transport.half_open:
            return
        if now - self.born >= max_age:
            self.close("age limit", 1001)
        elif self._pong_due is not None and now >= self._pong_due:
            self.close("no pong")
        elif now - self._last_ping >= pings.interval:
            self._last_ping = now
            if self._pong_due is None:
                self._pong_due = now + pings.deadline
            payload = str(time.time_ns() // 1_000_000).encode()
            self._unanswered.add(payload)
            self.transport.send([ws_frame(payload, PING)])

    # -- in

    async def run(self, socket: web.WebSocketResponse) -> None:
        """Read until the client leaves or the connection is closed."""
        while True:
            message = await socket.receive()
            kind = message.type
            if kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG):
                if self._close_sent:
                    continue
                self.messages += 1
                if self._too_fast():
                    self.close("Too many requests")
                elif kind == WSMsgType.PING:
                    self.flush()
                    self.transport.send([ws_frame(bytes(message.data), PONG)])
                elif kind == WSMsgType.PONG:
                    # A pong that answers no ping is allowed, but does not keep the connection open.
                    if bytes(message.data) in self._unanswered:
                        self._unanswered.clear()
                        self._pong_due = None
                else:
                    self.take(message.data)
                continue
            if kind == WSMsgType.CLOSE:
                if not self._close_sent:
                    self._close_sent = True
                    self.closed_why = self.closed_why or "closed by the client"
                    self.transport.send([close_frame(int(message.data or 1000))])
                self.transport.close()
            elif kind == WSMsgType.ERROR:
                self.closed_why = self.closed_why or f"protocol error: {message.data}"
                self.transport.close()
            return

    def _too_fast(self) -> bool:
        limit = self.settings.spot_messages_per_second if self.spot else self.settings.messages_per_second
        now = time.monotonic()
        recent = self._recent
        while recent and now - recent[0] >= 1.0:
            recent.popleft()
        recent.append(now)
        self.busiest_second = max(self.busiest_second, len(recent))
        return len(recent) > limit

    def take(self, text: str | bytes) -> None:
        """Carry out one client message."""
        try:
            request = json.loads(text)
        except ValueError as error:
            self.reply({"code": 2, "msg": f"Invalid request: {error}"})
            return
        if not isinstance(request, dict):
            self.reply({"code": 2, "msg": "Invalid request: request must be a JSON object"})
            return
        method, params, number = request.get("method"), request.get("params", []), request.get("id")
        if method not in _METHODS:
            expected = ", ".join(f"`{name}`" for name in _METHODS)
            self.reply({"code": 2, "msg": f"Invalid request: unknown variant `{method}`, expected one of {expected}"})
            return
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | str)):
            self.reply({"code": 2, "msg": "Invalid request: request ID must be an unsigned integer or a string"})
            return
        if method == "LIST_SUBSCRIPTIONS":
            self.reply({"result": list(self.names), "id": number})
            return
        if not isinstance(params, list):
            self.reply({"code": 2, "msg": "Invalid request: params must be an array"})
            return
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            self._property(method, params, number)
            return
        if not all(isinstance(name, str) for name in params):
            self.reply({"code": 2, "msg": "Invalid request: stream names must be strings"})
            return
        size = len(text.encode()) if isinstance(text, str) else len(text)
        if len(params) > self.settings.max_names or size > self.settings.max_message:
            if self.settings.oversized == "close":
                self.close("Payload too long", 1009)
            return
        if method == "SUBSCRIBE" and (refused := self.subscriptions.refuses(params)) is not None:
            why = {"code": 2, "msg": f"Invalid request: invalid stream {refused[0]}"}
            if refused[1] == "error":
                self.reply({"error": why, "id": number})
            elif refused[1] == "anonymous":
                self.reply(why)
            return
        change: Callable[[str], bool] = self.add if method == "SUBSCRIBE" else self.remove
        for name in params:
            if not change(name):
                return
        self.reply({"result": None, "id": number})

    def _property(self, method: str, params: list[Any], number: int | str | None) -> None:
        if not params or params[0] != "combined":
            self.reply({"code": 2, "msg": "Invalid request: unknown property"})
        elif method == "GET_PROPERTY":
            self.reply({"result": self.combined, "id": number})
        elif len(params) == 2 and isinstance(params[1], bool):
            self.flush()
            self.combined = params[1]
            self.reply({"result": None, "id": number})
        else:
            self.reply({"code": 2, "msg": "Invalid request: property value must be a boolean"})

    def add(self, name: str) -> bool:
        """Subscribe to one stream; return False if that closed the connection."""
        if name in self.names:
            return True
        if len(self.names) >= self.settings.max_streams:
            # Measured: this is the answer to the 1025th stream, and all 1024 are lost.
            self.reply({"error": {"code": 4, "msg": "Too many subscriptions"}})
            self.close("Too many subscriptions")
            return False
        self.names[name] = None
        self.dropped.discard(name)
        self.subscriptions.join(self, name)
        return True

    def remove(self, name: str) -> bool:
        """Unsubscribe from one stream; return True, even for an unknown one."""
        if name in self.names:
            del self.names[name]
            self.dropped.discard(name)
            self.subscriptions.leave(self, name)
        return True
