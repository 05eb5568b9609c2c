"""The server: one thread with an event loop, which answers from memory; reads that wait are done by a few others."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
import zlib
from types import TracebackType
from typing import Final

from aiohttp import web

from ..errors import AtsSyncError, NotInMemory, NotRunning
from ..manager import DataManager
from ..reads import memory_only
from ..venue.endpoints import Bucket, Host
from ..venue.responses import UNKNOWN, USED_WEIGHT_HEADER, error_body
from .admission import Admission
from .answers import Answers
from .page import Page, page
from .pool import Pool
from .replies import Reply, failed
from .routes import PUBLIC, Route, route
from .viewers import Renderer, Viewers
from .views import Views

log = logging.getLogger(__name__)

DEFAULT_PORT = 8787
PAGE_PATH, EVENTS_PATH = "/", "/events"
MOST_CONNECTIONS = 256
MOST_THREADS = 32
IDLE_TIMEOUT = 75.0
"""Seconds in which a client must have sent a whole request."""
WRITE_TIMEOUT = 30.0
"""Seconds in which a client must have taken a whole response."""
CLOSE_TIMEOUT = 2.0
_SWEEP_EVERY = 1.0
_LEAST_COMPRESSED = 1024
_COMPRESSED_ON_THE_LOOP = 128 * 1024
"""Bytes; more would delay the other clients."""
_PIECE = 128 * 1024
"""Bytes of a response that wait in the socket's buffer at most, so that slow readers do not fill the memory."""
_VIEWER_BUFFER = 64 * 1024
_USAGE_KEPT = 0.05
_WAITING: Final = float("inf")


class Endpoint:
    """Serves what ``manager`` follows over HTTP; ``port`` 0 is any free one.

    A ``host`` that other machines reach needs a ``token``. The manager is the caller's: it may be started later, and
    is not closed with the endpoint.
    """

    def __init__(
        self, manager: DataManager, host: str = "127.0.0.1", port: int = DEFAULT_PORT, *, token: str | None = None
    ) -> None:
        self._host, self._port = host, port
        self._admission = Admission(host, token)
        self._manager = manager
        self._views = Views(manager)
        self._answers = Answers(lambda: manager.rest_text, manager.config)
        self._lock = threading.Lock()  # guards the four below
        self._running: _Running | None = None
        self.url = ""
        """The base URL, empty before :meth:`start`."""

    def start(self) -> Endpoint:
        """Listen, and answer from now on. OSError where the port is taken or the host name does not resolve."""
        with self._lock:
            if self._running is None:
                listener = _listen(self._host, self._port)
                host, port = listener.getsockname()[:2]
                self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
                try:
                    self._running = _Running(listener, self._admission, self._answers, self._views, self._manager)
                except BaseException:
                    listener.close()
                    raise
        return self

    def wait(self) -> None:
        """Return when the endpoint has been closed."""
        running = self._running
        if running is not None:
            running.thread.join()

    def close(self) -> None:
        """Stop listening, cut the connections and end the threads, within two seconds. May be called again."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.close(time.monotonic() + CLOSE_TIMEOUT)
        self._views.close()

    def __enter__(self) -> Endpoint:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server((str(address[0]), port), family=family, backlog=MOST_CONNECTIONS)


class _Busy(asyncio.Protocol):
    """What a client meets where there are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        body = error_body(UNKNOWN, f"this endpoint serves at most {MOST_CONNECTIONS} connections at once")
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Retry-After: 1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        transport.close()


class _Running:
    """One run of the endpoint, from its listening socket to its end."""

    def __init__(
        self,
        listener: socket.socket,
        admission: Admission,
        answers: Answers,
        views: Views,
        manager: DataManager,
    ) -> None:
        self._listener = listener
        self._admission = admission
        self._answers = answers
        self._views = views
        self._manager = manager
        self._pool = Pool("ats-endpoint", MOST_THREADS)
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._web: web.Server
        self._since: dict[object, tuple[float, float]] = {}
        """For each connection, since when it does what it does, and how long it may."""
        self._page = page()
        self._renderer = Renderer(Page(manager))
        self._viewers = Viewers(self._loop, self._renderer.wake)
        self._under_way: dict[str, asyncio.Future[Reply]] = {}
        self._usage: dict[Bucket, tuple[float, str]] = {}
        self.thread = threading.Thread(target=self._run, name="ats-endpoint", daemon=True)
        try:
            self.thread.start()
            self._renderer.start(self._viewers)
        except BaseException:
            if self.thread.ident is None:
                self._loop.close()
            else:
                self.close(time.monotonic() + CLOSE_TIMEOUT)
            raise

    # --- life -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        loop = self._loop
        try:
            loop.run_until_complete(self._serve())
        except Exception:
            log.exception("the endpoint has failed")
        finally:
            self._listener.close()
            loop.close()

    async def _serve(self) -> None:
        self._web = web.Server(self._handle, access_log=None, keepalive_timeout=IDLE_TIMEOUT, lingering_time=2.0)
        server = await self._loop.create_server(self._accept, sock=self._listener)
        sweeper = self._loop.create_task(self._sweep())
        await self._ended.wait()
        self._viewers.close()
        sweeper.cancel()
        server.close()
        await self._web.shutdown(0.2)
        for future in self._under_way.values():
            future.cancel()
        await asyncio.gather(sweeper, *self._under_way.values(), return_exceptions=True)

    def close(self, deadline: float) -> None:
        threads = self._pool.close()
        self._renderer.stop()
        if self._renderer.thread.ident is not None:
            threads.append(self._renderer.thread)
        try:
            self._loop.call_soon_threadsafe(self._ended.set)
        except RuntimeError:
            log.debug("the endpoint had ended before it was closed")
        for thread in (self.thread, *threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> asyncio.BaseProtocol:
        if len(self._web.connections) >= MOST_CONNECTIONS:
            return _Busy()
        connection = self._web()
        self._since[connection] = time.monotonic(), IDLE_TIMEOUT
        return connection

    async def _sweep(self) -> None:
        """Cut the connections of clients that send or take one byte now and then."""
        while True:
            await asyncio.sleep(_SWEEP_EVERY)
            now = time.monotonic()
            living = set(self._web.connections)
            for connection in [each for each in self._since if each not in living]:
                del self._since[connection]
            for connection in living:
                since, most = self._since.get(connection, (now, IDLE_TIMEOUT))
                if now - since > most and connection.transport is not None:
                    log.info("a connection was cut: its client is too slow")
                    connection.transport.abort()

    # --- one request ----------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        self._since[connection] = time.monotonic(), _WAITING
        try:
            reply = await self._reply(request)
            if reply is None:
                return await self._stream(request)
        except AtsSyncError as error:
            reply = failed(error, time.time())
        except Exception:
            log.exception("a request could not be answered: %s", request.path[:200])
            reply = Reply(500, error_body(UNKNOWN, "the endpoint has failed; its log says why"))
        self._since[connection] = time.monotonic(), WRITE_TIMEOUT
        response = await self._send(request, reply)
        self._since[connection] = time.monotonic(), IDLE_TIMEOUT
        return response

    async def _reply(self, request: web.BaseRequest) -> Reply | None:
        """Return the reply to a request, None to one for the page's events."""
        path = request.path
        refusal = self._admission.refusal(request.method, request.headers, holds_data=path != PAGE_PATH)
        if refusal is not None:
            return refusal
        if path == PAGE_PATH:
            return self._page
        if path == EVENTS_PATH:
            if self._viewers.admit():
                return None
            return Reply(
                503,
                error_body(UNKNOWN, f"{self._viewers.count} viewers follow this page already"),
                retry_after=5,
            )
        view = self._views.paths.get(path)
        if view is not None:
            return await self._elsewhere(f"{path}", view)
        routed = route(path, request.rel_url.raw_query_string)
        if isinstance(routed, Reply):
            return routed
        try:
            with memory_only():
                return self._answers.answer(routed)
        except NotInMemory:
            return await self._elsewhere(routed.target, lambda: self._patiently(routed))

    def _patiently(self, routed: Route) -> Reply:
        return self._answers.answer(routed)

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send the page's events, to a viewer that was admitted, until it goes or the endpoint closes."""
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "Server": "ats-sync"}
        response = web.StreamResponse(headers=headers)
        response.force_close()
        transport = request.transport
        try:
            if transport is not None:
                # What one that does not read costs: so much here, and as much in asyncio.
                connection = transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _VIEWER_BUFFER)
            await response.prepare(request)
            if request.method != "HEAD":
                await self._viewers.serve(response)
                await response.write_eof()
        except (TimeoutError, asyncio.TimeoutError):
            log.info("a viewer of the page was dropped: it does not read")
            if transport is not None:
                transport.abort()
        except OSError:
            log.debug("a viewer of the page has gone")
        finally:
            self._viewers.leave()
        return response

    async def _elsewhere(self, name: str, work: object) -> Reply:
        """Return what ``work()`` returns on another thread, once for all who ask for the same at the same time."""
        future = self._under_way.get(name)
        if future is None:
            future = asyncio.wrap_future(self._pool.run(work), loop=self._loop)  # type: ignore[arg-type]
            self._under_way[name] = future
            future.add_done_callback(lambda done: self._under_way.pop(name, None))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if future.cancelled():
                raise NotRunning("the endpoint is closing") from None
            raise

    async def _send(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        body = reply.body
        headers = {"Content-Type": reply.content_type, "Server": "ats-sync", **dict(reply.headers)}
        if reply.source:
            headers["X-Ats-Source"] = reply.source
        if reply.age is not None:
            headers["Age"] = str(int(reply.age))
        if reply.retry_after is not None:
            headers["Retry-After"] = str(reply.retry_after)
        if reply.allow:
            headers["Allow"] = reply.allow
        if reply.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="ats_sync"'
        headers[USED_WEIGHT_HEADER] = self._used(PUBLIC.get(request.path, Host.FUTURES))
        if len(body) >= _LEAST_COMPRESSED:
            headers["Vary"] = "Accept-Encoding"
            if _takes_gzip(request.headers.get("Accept-Encoding", "")):
                headers["Content-Encoding"] = "gzip"
                if len(body) <= _COMPRESSED_ON_THE_LOOP:
                    body = _gzip(body)
                else:
                    body = await asyncio.wrap_future(self._pool.run(lambda: _gzip(reply.body)), loop=self._loop)
        if len(body) <= _PIECE or request.method == "HEAD":
            response: web.StreamResponse = web.Response(status=reply.status, body=body, headers=headers)
            await response.prepare(request)
        else:
            response = web.StreamResponse(status=reply.status, headers=headers)
            response.content_length = len(body)
            await response.prepare(request)
            for start in range(0, len(body), _PIECE):
                await response.write(body[start : start + _PIECE])
        await response.write_eof()
        return response

    def _used(self, host: Host) -> str:
        """Return the weight that this address has used in the last minute."""
        bucket = Bucket.SPOT if host is Host.SPOT else Bucket.FUTURES
        now = time.monotonic()
        known = self._usage.get(bucket)
        if known is None or now - known[0] > _USAGE_KEPT:
            known = self._usage[bucket] = now, str(self._manager.rest_text.usage(bucket).cost)
        return known[1]


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(","):
        name, _, quality = each.partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()
