"""The statistics of a simulated exchange."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class RequestRecord(NamedTuple):
    """One REST request as it arrived."""

    time: int
    """Exchange time of arrival, ms."""
    host: str
    """"fapi", "spot" or "dapi"."""
    path: str
    params: dict[str, str]
    status: int
    """The status of the answer; 0 without one (never answered, cut, or still in progress)."""
    weight: int
    used_weight: int
    """The minute's used weight of the host, this request included."""
    waited: int | None
    """How many ms before its arrival a 429 or 418 was sent whose Retry-After still applied, or None."""
    number: int = 0
    """Its index among the requests of all hosts, from 0 on."""


@dataclass(frozen=True)
class ConnectionInfo:
    """One stream connection."""

    number: int
    route: str
    """"public", "market", "private", "unrouted" or "spot"."""
    opened_at: int
    open: bool
    subscriptions: int
    messages: int
    """Received from the client, control frames included."""
    busiest_second: int
    """The largest number of them in one second."""
    frames_sent: int
    bytes_sent: int
    closed_why: str
    """Empty while it is open, or if the client left without a close frame."""


@dataclass(frozen=True)
class HostStats:
    """REST statistics of one host."""

    requests: int
    requests_by_path: dict[str, int]
    used_weight: int
    """In the current minute."""
    max_weight: int
    """In any minute so far."""
    weight_by_minute: dict[int, int]
    """Start of the minute (exchange ms) to the weight used in it."""
    refused_429: int
    refused_418: int
    during_retry_after: int
    """Requests that arrived while the Retry-After of a 429 or 418 still applied."""
    while_banned: int
    """Those of them that arrived during a ban."""
    banned_until: int


@dataclass(frozen=True)
class SimulatorStats:
    """A snapshot of everything counted since the start."""

    time: int
    """Exchange time, ms."""
    fapi: HostStats
    spot: HostStats
    dapi: HostStats
    """COIN-M; its weight is also that of ``fapi`` if both share a minute."""
    connections_now: int
    """Open stream connections, futures and spot."""
    connections_max: int
    """The most at one moment."""
    connection_attempts: int
    """Connections accepted by the stream ports, not counting refused ones."""
    attempts_refused: int
    """Reset because of too many attempts."""
    frames_sent: int
    faults_active: list[str]
    behind_ms: int
    """How far the market is behind the clock: more than a few tens of ms means that the machine is too slow."""
    connections: list[ConnectionInfo] = field(default_factory=list)
    """Open ones, then the last 200 closed ones."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for :meth:`from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SimulatorStats:
        """Return the statistics that :meth:`to_json` wrote, even after a round trip through JSON."""
        plain = dict(values)
        for host in ("fapi", "spot", "dapi"):
            inner = dict(plain[host])
            inner["weight_by_minute"] = {int(at): used for at, used in inner["weight_by_minute"].items()}
            plain[host] = HostStats(**inner)
        plain["connections"] = [ConnectionInfo(**item) for item in plain["connections"]]
        return cls(**plain)
