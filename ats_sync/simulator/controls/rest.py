"""Controls of REST: failures, bans, latency, a lagging replica, and other programs' weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..literals import Host, RestFaultKind
from .control import control

if TYPE_CHECKING:
    from ..server import ExchangeServer


@control
def fail_rest(
    server: ExchangeServer,
    kind: RestFaultKind,
    path: str | None = None,
    *,
    host: Host | None = None,
    count: int | None = None,
    seconds: float | None = None,
    retry_after: float = 5.0,
    delay: float = 1.0,
    code: int = -1001,
    status: int | None = None,
) -> None:
    """Make REST requests fail: all, those to ``path``, those to ``host``; the next ``count``, or for ``seconds``.

    "429": with ``Retry-After: retry_after``. "418": and a real ban of ``retry_after`` seconds. "500" "502" "503"
    "504": an HTML page. "403": a firewall's page. "451": the country is blocked. "timeout": never answered (cut by
    ``clear_faults``). "reset": TCP reset in the middle of the body. "trickle": a body that never ends, one byte at a
    time. "html": 200 with a page. "empty": 200 without a body. "truncated": the connection is closed in the middle of
    the body. "wrong_shape": 200 with other JSON. "slow": ``delay`` seconds late. "code": an error body with
    ``code`` (-1000, -1001, -1007 …) and ``status`` (400, or 408 for -1007). The first rule that matches decides;
    weight is counted as usual.
    """
    server.rest.faults.add(
        kind,
        path=path,
        host=host,
        count=count,
        seconds=seconds,
        retry_after=retry_after,
        delay=delay,
        code=code,
        status=status,
    )


@control
def ban(server: ExchangeServer, seconds: float, host: Host = "fapi") -> int:
    """Ban this address from one REST host; return the end of the ban (exchange ms)."""
    return server.request_log.hosts[host].limits.ban(server.clock.now(), seconds)


@control
def pardon(server: ExchangeServer) -> None:
    """End all bans, including the one for too many connections; used weight remains used."""
    for requests in server.request_log.hosts.values():
        requests.limits.pardon()
        requests.forget_refusals()
    server.broadcaster.reset_limits()


@control
def latency(server: ExchangeServer, seconds: float) -> None:
    """Add ``seconds`` to every REST answer from now on."""
    if seconds < 0:
        raise ValueError("seconds must not be negative")
    server.rest.latency = seconds


@control
def lagging_replica(server: ExchangeServer, seconds: float | None, *, share: float = 1.0) -> None:
    """Answer REST, or a ``share`` of the requests chosen at random, from an older state; None ends it.

    The replica first stands still until it is ``seconds`` behind, then follows at that distance.
    ``/time`` and ``/ping`` are not affected, nor is the control ``rest``.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError("share must be above 0 and at most 1")
    if seconds is not None and seconds <= 0:
        raise ValueError("seconds must be above 0")
    server.lag_replica(seconds, share)


@control
def spend_weight(server: ExchangeServer, weight: int, host: Host = "fapi") -> int:
    """Let another program on this address spend ``weight``; return the weight used in this minute."""
    if weight < 0:
        raise ValueError("weight must not be negative")
    return server.request_log.hosts[host].limits.spend(server.clock.now(), weight)
