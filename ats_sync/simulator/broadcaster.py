"""Which client gets which stream: the open connections, their subscriptions, and the fan-out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from aiohttp import web

from .connection import Pings, StreamConnection
from .faulty_transport import FaultyTransport
from .limits import Bucket
from .literals import Cut, Refusal, Route
from .market import Frame, Market
from .names import ROUTES, SPOT, UNROUTED, delivers
from .settings import Settings
from .stats import ConnectionInfo
from .wire import Wire, wire_of, ws_frame

_MAX_CLIENT_MESSAGE = 1024 * 1024
_CLOSED_RETENTION = 200


class Target:
    """The route and the streams that the path of a handshake names."""

    def __init__(self, route: str, combined: bool, names: list[str]) -> None:
        self.route = route
        self.combined = combined
        self.names = names

    @classmethod
    def parse(cls, spot: bool, raw_path: str, query: str | None) -> Target | None:
        """Return the target of ``/<route>/stream[?streams=a/b]`` or ``/<route>/ws[/a/b]``, or None for any other path.

        Paths of the spot host have no route.
        """
        parts = [unquote(part) for part in raw_path.split("/") if part]
        if spot:
            route = SPOT
        elif parts and parts[0] in ROUTES:
            route = parts.pop(0)
        else:
            route = UNROUTED
        if not parts or parts[0] not in ("ws", "stream"):
            return None
        combined = parts[0] == "stream"
        names = parts[1:]
        if combined:
            if names:
                return None
            names = [name for name in (query or "").split("/") if name]
        return cls(route, combined, names)


class Broadcaster:
    """The streams of both hosts. Everything runs on the event loop's thread."""

    def __init__(self, market: Market, settings: Settings, now: Callable[[], int]) -> None:
        self._market = market
        self._settings = settings
        self._now = now
        self.connections: dict[int, StreamConnection] = {}
        self.closed: deque[ConnectionInfo] = deque(maxlen=_CLOSED_RETENTION)
        self._tables: tuple[dict[str, list[StreamConnection]], dict[str, list[StreamConnection]]] = ({}, {})
        self.last_frames: dict[tuple[bool, str], Frame] = {}
        """The newest frame of each stream that has been sent to any client."""
        self._numbers = 0
        self._frames_of_closed = 0
        self.silent_everywhere: set[str] = set()
        self.refused_streams: dict[str, Refusal] = {}
        """Names that cause a whole SUBSCRIBE to be refused, and how: see the control ``refuse_stream``."""
        self.handshake_fault: int | str | None = None
        self.handshake_left: int | None = None
        self.hanging = 0
        self.unhang = asyncio.Event()
        self.pings = Pings(settings.ping_interval, settings.ping_deadline)
        self.spot_pings = Pings(settings.spot_ping_interval, settings.spot_ping_deadline)
        self.max_age = settings.max_age
        self._attempts = Bucket(settings.connection_attempts, round(settings.attempts_window * 1000))
        self.attempts_refused = 0
        self.banned_until = 0

    # -- handshakes

    def admit(self) -> bool:
        """Count one attempt to connect; return False if it must be reset."""
        now = self._now()
        used = self._attempts.add(now, 1)
        if used <= self._attempts.limit or now < self.banned_until:
            return True
        self.attempts_refused += 1
        if used - self._attempts.limit > self._settings.attempts_patience:
            self.banned_until = now + round(self._settings.ban_seconds * 1000)
        return False

    def reset_limits(self) -> None:
        """Forget attempts and the ban."""
        self._attempts = Bucket(self._attempts.limit, self._attempts.window)
        self.banned_until = 0

    async def handle(self, request: web.BaseRequest, spot: bool) -> web.StreamResponse:
        """Answer one handshake, and serve the connection that follows."""
        fault = self._take_handshake_fault()
        if fault == "hang":
            self.hanging += 1
            try:
                await self.unhang.wait()
            finally:
                self.hanging -= 1
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)
        if self._now() < self.banned_until:
            fault = 403
        if isinstance(fault, int):
            return web.Response(status=fault, text="<html><body>refused</body></html>", content_type="text/html")
        target = Target.parse(spot, request.rel_url.raw_path, request.query.get("streams"))
        if target is None:
            return web.Response(status=404, text="<html><body>404 Not Found</body></html>", content_type="text/html")
        socket = web.WebSocketResponse(
            autoclose=False, autoping=False, compress=False, max_msg_size=_MAX_CLIENT_MESSAGE
        )
        if not socket.can_prepare(request).ok:
            return web.Response(status=400, text="not a WebSocket handshake")
        await socket.prepare(request)
        transport = request.transport
        if not isinstance(transport, FaultyTransport):
            return socket
        connection = self._open(target, transport)
        try:
            for name in target.names:
                if not connection.add(name):
                    break
            await connection.run(socket)
        finally:
            self._remove(connection)
        return socket

    def set_handshake_fault(self, answer: int | str | None, count: int | None) -> None:
        """Answer the next ``count`` handshakes (None: all) with a status, or never ("hang"); None: normally."""
        self.handshake_fault, self.handshake_left = answer, count
        if answer != "hang":
            self.unhang.set()
            self.unhang = asyncio.Event()

    def set_pings(self, interval: float | None, deadline: float | None) -> None:
        """Set the pings of both hosts' connections (None: as in the settings)."""
        settings = self._settings
        self.pings = Pings(interval or settings.ping_interval, deadline or settings.ping_deadline)
        self.spot_pings = Pings(interval or settings.spot_ping_interval, deadline or settings.spot_ping_deadline)

    def _take_handshake_fault(self) -> int | str | None:
        fault = self.handshake_fault
        if fault is not None and self.handshake_left is not None:
            self.handshake_left -= 1
            if self.handshake_left <= 0:
                self.handshake_fault = self.handshake_left = None
        return fault

    def _open(self, target: Target, transport: FaultyTransport) -> StreamConnection:
        self._numbers += 1
        connection = StreamConnection(
            number=self._numbers,
            route=target.route,
            combined=target.combined,
            transport=transport,
            settings=self._settings,
            subscriptions=self,
            opened_at=self._now(),
        )
        self.connections[connection.number] = connection
        return connection

    def _remove(self, connection: StreamConnection) -> None:
        if self.connections.pop(connection.number, None) is None:
            return
        for name in connection.names:
            self.leave(connection, name)
        self._frames_of_closed += connection.frames_sent
        self.closed.append(connection.info())

    # -- subscriptions

    def join(self, connection: StreamConnection, stream: str) -> None:
        """Deliver ``stream`` to ``connection``, unless its route or a fault prevents it."""
        if not delivers(connection.route, stream):
            return
        if stream in self.silent_everywhere or stream in connection.barred:
            connection.dropped.add(stream)
            return
        table, subscribed = self._of(connection.spot)
        members = table.setdefault(stream, [])
        if connection not in members:
            members.append(connection)
        subscribed.add(stream)

    def leave(self, connection: StreamConnection, stream: str) -> None:
        """Stop delivering ``stream`` to ``connection``."""
        table, subscribed = self._of(connection.spot)
        members = table.get(stream)
        if members is None or connection not in members:
            return
        members.remove(connection)
        if not members:
            del table[stream]
            subscribed.discard(stream)
            self.last_frames.pop((connection.spot, stream), None)

    def refuses(self, streams: list[str]) -> tuple[str, Refusal] | None:
        """Return the first of ``streams`` that is refused, and how, or None if a SUBSCRIBE of them is accepted."""
        refused = self.refused_streams
        return next(((name, refused[name]) for name in streams if name in refused), None)

    def announce_shutdown(self, seconds: float, wrapped: bool) -> int:
        """Announce to every spot connection that its server closes, and close it ``seconds`` later."""
        event = f'{{"e":"serverShutdown","E":{self._now()}}}'
        if wrapped:
            event = f'{{"stream":"","data":{event}}}'
        chosen = self.chosen(SPOT)
        for connection in chosen:
            connection.push(ws_frame(event.encode()))
            connection.flush()
            asyncio.get_running_loop().call_later(seconds, connection.close, "server shutdown", 1001)
        return len(chosen)

    def _of(self, spot: bool) -> tuple[dict[str, list[StreamConnection]], set[str]]:
        return self._tables[spot], self._market.spot_subscribed if spot else self._market.subscribed

    def subscribed(self, route: str) -> list[str]:
        """Return the streams delivered to connections on ``route``."""
        return [
            name
            for name, members in self._tables[route == SPOT].items()
            if any(member.route == route for member in members)
        ]

    def drop_stream(self, stream: str, *, spot: bool, sticky: bool, everywhere: bool) -> int:
        """Silence one stream on the connections that get it now; return on how many."""
        if everywhere:
            self.silent_everywhere.add(stream)
        members = list(self._tables[spot].get(stream, ()))
        for connection in members:
            self.leave(connection, stream)
            connection.dropped.add(stream)
            if sticky:
                connection.barred.add(stream)
        return len(members)

    def restore_stream(self, stream: str | None) -> int:
        """Undo :meth:`drop_stream` for one stream, or for all; return how many subscriptions deliver again."""
        if stream is None:
            self.silent_everywhere.clear()
        else:
            self.silent_everywhere.discard(stream)
        restored = 0
        for connection in self.connections.values():
            names = list(connection.dropped) if stream is None else [stream]
            for name in names:
                connection.barred.discard(name)
                if name in connection.dropped:
                    connection.dropped.discard(name)
                    self.join(connection, name)
                    restored += 1
            if stream is None:
                connection.barred.clear()
        return restored

    def clear_faults(self) -> None:
        """End the faults of streams, handshakes, pings and connection ages."""
        self.restore_stream(None)
        self.refused_streams.clear()
        self.set_handshake_fault(None, None)
        self.max_age = self._settings.max_age
        self.set_pings(None, None)
        self.lag(0.0, None)

    # -- delivery

    def deliver(self, items: Iterable[Frame | Wire]) -> None:
        """Queue every item for its subscribers, its bytes built once."""
        tables, last = self._tables, self.last_frames
        for item in items:
            members = tables[item.spot].get(item.stream)
            if not members:
                continue
            if isinstance(item, Frame):
                last[item.spot, item.stream] = item
                if len(members) == 1:
                    only = members[0]
                    text = item.payload
                    if only.combined:
                        text = f'{{"stream":"{item.stream}","data":{text}}}'
                    only.outbox.append(ws_frame(text.encode()))
                    continue
                item = wire_of(item)
            for connection in members:
                connection.outbox.append(item.combined if connection.combined else item.bare)

    def flush(self) -> None:
        """Write everything queued, with one write per connection."""
        for connection in list(self.connections.values()):
            if connection.outbox:
                connection.flush()

    def check_time(self) -> None:
        """Ping, and close connections because of their age or a missing pong."""
        now = time.monotonic()
        for connection in list(self.connections.values()):
            connection.check_time(now, self.spot_pings if connection.spot else self.pings, self.max_age)

    # -- cuts

    def chosen(self, route: str | None, number: int | None = None) -> list[StreamConnection]:
        """Return the open connections on ``route`` (None: on any), or only the one with that number."""
        return [
            connection
            for connection in self.connections.values()
            if (route is None or connection.route == route)
            and (number is None or connection.number == number)
            and connection.open
            and not connection.transport.half_open
        ]

    def cut(self, route: Route | None, how: Cut, number: int | None = None) -> int:
        """Cut connections; return how many."""
        chosen = self.chosen(route, number)
        for connection in chosen:
            if how == "close":
                connection.close("going away", 1001)
            elif how == "reset":
                connection.closed_why = "reset by a fault"
                connection.transport.abort()
            elif how == "half_open":
                connection.closed_why = "half open by a fault"
                connection.flush()
                connection.transport.go_half_open()
            else:
                connection.closed_why = "closed by a fault without a close frame"
                connection.transport.close()
        return len(chosen)

    def lag(self, seconds: float, route: str | None, number: int | None = None) -> int:
        """Delay everything sent to open connections by ``seconds``; return how many connections."""
        chosen = self.chosen(route, number)
        for connection in chosen:
            connection.flush()
            connection.transport.lag = seconds
        return len(chosen)

    @property
    def frames_sent(self) -> int:
        """Number of data frames and control answers written so far."""
        return self._frames_of_closed + sum(item.frames_sent for item in self.connections.values())
