"""Controls of ports and connections: cuts, freezes, refusals, trickles, pings, handshakes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

from ..literals import Cut, Route, What
from .control import control

if TYPE_CHECKING:
    from ..server import ExchangeServer


@control
def cut(
    server: ExchangeServer, route: Route | None = None, how: Cut = "close", *, connection: int | None = None
) -> int:
    """Cut the open stream connections: all, those on ``route``, or the one numbered ``connection``.

    "close": a close frame, then the TCP connection is closed. "drop": closed without a close frame. "reset": a TCP
    reset. "half_open": from now on no bytes are sent or read, while the TCP connection stays open, whatever the
    client does, until ``clear_faults``. Returns how many were cut. Clients may connect again at once.
    """
    return server.broadcaster.cut(route, how, connection)


@control
def lag(
    server: ExchangeServer, seconds: float | None, route: Route | None = None, *, connection: int | None = None
) -> int:
    """Make everything sent to open stream connections, including pongs, arrive ``seconds`` later (None: at once).

    In order, and permanently: a backlog in transit that never drains. All connections, those on ``route``, or the one
    numbered ``connection``; later connections do not lag. Returns how many were chosen.
    """
    if seconds is not None and not 0.0 < seconds <= 600.0:
        raise ValueError("seconds must be above 0 and at most 600")
    return server.broadcaster.lag(seconds or 0.0, route, connection)


@control
def freeze(server: ExchangeServer, seconds: float | None = None, what: What = "streams") -> None:
    """Stop reading and writing on every connection, new ones included; nothing is lost.

    What would have been sent is kept (up to eight send buffers, then a stream connection is cut) and sent, late, after
    the thaw. The system accepts new connections, but nothing answers them.
    """
    for listener in server.aimed_at(what):
        listener.set_frozen(True)
        server.after(f"thaw {listener.name}", seconds, functools.partial(listener.set_frozen, False))


@control
def thaw(server: ExchangeServer, what: What = "all") -> None:
    """End ``freeze``."""
    server.thaw(what)


@control
def refuse(
    server: ExchangeServer,
    seconds: float | None = None,
    what: What = "streams",
    how: Literal["refuse", "reset"] = "refuse",
) -> None:
    """Let no client connect; open connections stay (also ``cut`` them for an outage).

    "refuse": the port is closed (connection refused). "reset": connections are accepted and reset at once.
    """
    for listener in server.aimed_at(what):
        if how == "refuse":
            listener.refuse()
        else:
            listener.resetting = True
        server.after(f"accept {listener.name}", seconds, listener.accept_again)


@control
def accept(server: ExchangeServer, what: What = "all") -> None:
    """End ``refuse``."""
    server.accept(what)


@control
def trickle(
    server: ExchangeServer, bytes_per_second: float | None, what: What = "streams", *, seconds: float | None = None
) -> None:
    """Limit each connection to this many bytes per second (None: no limit), cutting through frames and TLS records.

    A stream connection whose backlog outgrows the send buffer is cut, like that of a slow reader.
    """
    if bytes_per_second is not None and bytes_per_second <= 0:
        raise ValueError("bytes_per_second must be above 0")
    server.trickle(bytes_per_second, what, seconds)


@control
def age_limit(server: ExchangeServer, seconds: float | None) -> None:
    """Close every stream connection at this age (None: the initial setting, 24 h by default)."""
    server.broadcaster.max_age = server.settings.max_age if seconds is None else seconds


@control
def ping_every(server: ExchangeServer, seconds: float | None, deadline: float | None = None) -> None:
    """Ping every stream connection every ``seconds``; without a pong in ``deadline`` seconds it is closed.

    None: the initial settings.
    """
    server.broadcaster.set_pings(seconds, deadline)


@control
def handshake(
    server: ExchangeServer,
    answer: int | Literal["hang"] | None,
    *,
    count: int | None = None,
    seconds: float | None = None,
) -> None:
    """Answer the next ``count`` (None: all) stream handshakes with an HTTP status, or never ("hang").

    None: normally; handshakes that hang are then cut.
    """
    if isinstance(answer, int) and not 400 <= answer <= 599:
        raise ValueError(f"answer must be an HTTP status from 400 to 599, not {answer!r}")
    server.broadcaster.set_handshake_fault(answer, count)
    server.after("handshake", seconds, lambda: server.broadcaster.set_handshake_fault(None, None))
