"""A WebSocket connection that returns whole text messages, many at a time, without blocking."""

from __future__ import annotations

import http.client
import selectors
import socket
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri
from urllib3.exceptions import HTTPError
from websocket import (
    WebSocket,
    WebSocketBadStatusException,
    WebSocketConnectionClosedException,
    WebSocketException,
    WebSocketTimeoutException,
)

from ..clock import Clock
from ..config import Config
from ..errors import (
    ConnectionFailed,
    MalformedAnswer,
    NotRunning,
    RequestError,
    RequestTimeout,
)
from ..venue.responses import classify
from .adapter import open_tunnel, proxy_for
from .failures import translated
from .frames import FrameReader, StreamClosed
from .sockets import NO_DELAY, CancelScope, open_socket, tls_context
from .tls import MAX_RECORD, RECEIVE_SIZE, SocketTransport, TlsTransport

__all__ = ["StreamClosed", "WebSocketStream"]

READS_PER_CALL = 4
"""The maximum number of buffers of RECEIVE_SIZE that one call of receive() fills."""

_PORTS = {"ws": 80, "wss": 443}
_SWITCHING_PROTOCOLS = 101
_NORMAL = 1000
_NETWORK_TROUBLE = (OSError, HTTPError, http.client.HTTPException, WebSocketException)


class WebSocketStream:
    """Belongs to one thread; only :meth:`wake` and :meth:`shutdown` may be called from others.

    ``frames_received`` counts the text messages returned, ``bytes_received`` all bytes after decryption, ``ignored``
    the binary messages dropped; ``last_pong`` is when the last pong arrived, in seconds of ``clock.now()``.
    """

    def __init__(self, websocket: WebSocket, transport: SocketTransport, clock: Clock, scope: CancelScope) -> None:
        self._websocket = websocket
        self._transport = transport
        self._clock = clock
        self._scope = scope
        self._reader = FrameReader(websocket, self._on_pong)
        self._ended: StreamClosed | None = None
        self._buffer = memoryview(bytearray(RECEIVE_SIZE + MAX_RECORD))
        self.last_pong: float | None = None
        self.frames_received = 0
        self.bytes_received = 0
        transport.settimeout(0)
        self._selector = selectors.DefaultSelector()
        self._watched = selectors.EVENT_READ
        self._wake_in, wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        wake_out.setblocking(False)
        self._wake_out: socket.socket | None = wake_out
        self._wake_lock = threading.Lock()  # guards _wake_out, which other threads use, against close()
        self._selector.register(transport.fileno(), selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)

    @classmethod
    def connect(cls, url: str, config: Config, clock: Clock, scope: CancelScope, *, timeout: float) -> WebSocketStream:
        """Connect, through a proxy if there is one, and shake hands, all within ``timeout`` seconds.

        Raises a RequestError: HostNotFound, RequestTimeout, ConnectionFailed (also for an untrusted
        certificate or after ``scope.shutdown()``), AccessDenied, RateLimited, ExchangeFailure, RequestRejected
        or MalformedAnswer.
        """
        parts = urlsplit(url)
        what = f"WebSocket {parts.scheme}://{parts.netloc}{parts.path}"
        host = parts.hostname or ""
        scope.deadline = clock.now() + timeout
        transport: SocketTransport | None = None
        try:
            transport = _open_transport(url, host, parts.port or _PORTS[parts.scheme], config, scope, timeout)
            websocket = _shake_hands(url, transport, what, clock)
            return cls(websocket, transport, clock, scope)
        except BaseException as error:
            if transport is not None:
                transport.close()
            if isinstance(error, RequestError) or not isinstance(error, _NETWORK_TROUBLE):
                raise
            raise _connect_failure(error, what, host, scope, timeout) from error
        finally:
            scope.deadline = None

    @property
    def ignored(self) -> int:
        return self._reader.ignored

    def fileno(self) -> int:
        return self._transport.fileno()

    def receive(self) -> list[bytes]:
        """Return the payloads of the text messages that have arrived, in order, each valid UTF-8; often several,
        perhaps none. Never blocks, and returns about 1 MB at most: the rest is left for the next call.

        Raises StreamClosed once the stream has ended and everything it delivered has been returned.
        """
        if self._ended is not None:
            raise self._ended
        messages: list[bytes] = []
        buffer, transport = self._buffer, self._transport
        try:
            for _ in range(READS_PER_CALL):
                count = transport.recv_into(buffer)
                if count == 0:
                    raise StreamClosed(None, self._why_at_end())
                self.bytes_received += count
                self._reader.feed(bytes(buffer[:count]), messages)
                if count < RECEIVE_SIZE and not transport.buffered:
                    break
        except BlockingIOError:
            pass
        except StreamClosed as closed:
            self._ended = closed
        except OSError as error:
            self._ended = StreamClosed(None, self._why_at_end() if self._scope.stopped else str(error))
        self.frames_received += len(messages)
        if self._ended is not None and not messages:
            raise self._ended
        return messages

    def wait(self, timeout: float | None) -> bool:
        """Wait for something to :meth:`receive`, until :meth:`wake`, or for ``timeout`` seconds; return whether there
        is something.

        It also sends bytes that could not be sent before, after which it may return False early.
        """
        transport = self._transport
        if self._ended is not None or transport.buffered or transport.failure is not None:
            return True
        if (self._watched & selectors.EVENT_WRITE != 0) != bool(transport.unsent):
            self._watched ^= selectors.EVENT_WRITE
            self._selector.modify(transport.fileno(), self._watched)
        readable = False
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._wake_in:
                self._wake_in.recv(4096)
                continue
            if events & selectors.EVENT_WRITE and transport.unsent:
                transport.flush()
            if events & selectors.EVENT_READ:
                readable = True
        return readable

    def wake(self) -> None:
        """End the current or the next :meth:`wait`. May be called from any thread, also after close()."""
        with self._wake_lock:
            if self._wake_out is not None:
                try:
                    self._wake_out.send(b"\0")
                except BlockingIOError:
                    pass  # A wake-up is pending already.

    def send_text(self, text: str) -> None:
        """Send a message; bytes that the peer does not accept at once are sent during :meth:`wait`.

        receive() reports a broken connection. Raises NotRunning after close().
        """
        self._check_open()
        self._websocket.send_text(text)

    def ping(self) -> None:
        """Send a ping; its pong sets ``last_pong``."""
        self._check_open()
        self._websocket.ping()

    def shutdown(self) -> None:
        """End this connection at once, from any thread: receive() raises StreamClosed. To cancel an attempt to connect,
        shut down its scope instead."""
        self._scope.shut(self._transport.raw)

    def close(self) -> None:
        """Send a close frame without waiting for an answer, and close the socket. May be called again."""
        with self._wake_lock:
            wake_out, self._wake_out = self._wake_out, None
        if wake_out is None:
            return
        if self._ended is None:
            self._websocket.send_close(_NORMAL)
            self._ended = StreamClosed(None, "closed by this program")
        self._selector.close()
        self._wake_in.close()
        wake_out.close()
        self._transport.close()

    def _check_open(self) -> None:
        if self._wake_out is None:
            raise NotRunning("this stream is closed")

    def _on_pong(self) -> None:
        self.last_pong = self._clock.now()

    def _why_at_end(self) -> str:
        if self._scope.stopped:
            return "shut down by this program"
        return "ended in the middle of a message" if self._reader.inside_frame else "ended without a close frame"


def _open_transport(
    url: str, host: str, port: int, config: Config, scope: CancelScope, timeout: float
) -> SocketTransport:
    secure = urlsplit(url).scheme == "wss"
    context = tls_context(config.ca_file)
    proxy = proxy_for(url, config)
    limit = min(timeout, config.connect_timeout)
    if proxy is None:
        sock = open_socket(host, port, scope, timeout=limit, options=NO_DELAY)
    else:
        sock = open_tunnel(proxy, host, port, scope, context, timeout=limit)
    if not secure:
        return SocketTransport(sock)
    try:
        transport = TlsTransport(sock, context, host)
        transport.handshake()
    except BaseException:
        sock.close()
        raise
    return transport


def _shake_hands(url: str, transport: SocketTransport, what: str, clock: Clock) -> WebSocket:
    websocket = WebSocket(enable_multithread=False)
    headers: Mapping[str, str]
    try:
        # websocket-client would follow a redirect on its own connection.
        websocket.connect(  # type: ignore[no-untyped-call]
            requote_uri(url),
            socket=transport,
            suppress_origin=True,
            redirect_limit=0,
            header=["User-Agent: ats-sync"],
        )
    except WebSocketBadStatusException as error:
        status, body, headers = error.status_code, error.resp_body or b"", error.resp_headers or {}
    except WebSocketException:
        if websocket.handshake_response is None:
            raise
        status, body, headers = websocket.handshake_response.status, b"", websocket.handshake_response.headers
    except (ValueError, IndexError) as error:
        # websocket-client raises these if the head of the response is garbage.
        raise MalformedAnswer(f"{what}: the answer is not a WebSocket handshake: {error}") from error
    else:
        status, body, headers = websocket.getstatus() or 0, b"", websocket.getheaders() or {}
    if status == _SWITCHING_PROTOCOLS:
        return websocket
    problem = classify(
        status,
        body,
        CaseInsensitiveDict(headers),
        now_wall=clock.wall(),
        now_exchange=clock.exchange(),
        what=what,
    )
    raise problem or MalformedAnswer(f"{what}: HTTP {status} instead of an upgrade", status=status)


def _connect_failure(error: Exception, what: str, host: str, scope: CancelScope, timeout: float) -> RequestError:
    if scope.stopped:
        return ConnectionFailed(f"{what}: shut down by this program")
    if scope.expired or isinstance(error, WebSocketTimeoutException):
        return RequestTimeout(f"{what}: not connected within {timeout:g} s")
    if isinstance(error, WebSocketConnectionClosedException):
        return ConnectionFailed(f"{what}: the connection was closed before the handshake was complete")
    if isinstance(error, WebSocketException):
        return MalformedAnswer(f"{what}: the answer is not a WebSocket handshake: {error}")
    return translated(error, what, host)
