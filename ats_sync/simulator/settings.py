"""What a simulated exchange can be told when it starts; its limits default to the real exchange's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

OVERSIZED = ("drop", "close")


@dataclass(frozen=True)
class Settings:
    """Times in seconds unless a name says otherwise. Handed to the child process as JSON."""

    symbols: int | tuple[str, ...] = 200
    seed: int = 7
    start: int | None = None
    """Exchange time at the beginning, ms; None: this machine's time."""
    tls: bool = False
    latency: float = 0.0
    """Added to every REST answer, half before it is computed and half after; requests wait side by side."""
    activity: float = 1.0
    """Scales the number of trades a second."""
    ports: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Futures REST, spot REST, futures streams, spot streams; 0 lets the system choose."""
    control_port: int = 0
    """The controls over HTTP; 0 lets the system choose."""
    extensions: tuple[str, ...] = ()
    """Modules that the serving process imports, whose controls it serves too (see ``controls.control``)."""

    coin_margined: int = 3
    """COIN-M contracts whose rows the all-market streams of marks and tickers carry too, as since 2026-06-30."""
    resting_marks: bool = True
    """Whether a contract that has left keeps its row, at rest, in the mark stream (130 did on 2026-10-07)."""

    weight_limit: int = 2400
    spot_weight_limit: int = 6000
    funding_limit: int = 500
    """Requests to fundingRate and fundingInfo together in 5 minutes."""
    oi_limit: int = 1000
    """Requests to openInterestHist in 5 minutes."""
    ban_seconds: float = 120.0
    """The first ban; each further one is twice as long, up to 3 days."""
    ban_patience: int = 5
    """Requests forgiven while a 429 says to wait; the next one is a 418."""

    max_streams: int = 1024
    messages_per_second: int = 10
    spot_messages_per_second: int = 5
    oversized: str = "drop"
    """A SUBSCRIBE of more than ``max_names`` names or ``max_message`` bytes: "drop" it silently, or "close"."""
    max_names: int = 400
    max_message: int = 4088
    """Bytes of a client message on a stream connection. Source: seen at the exchange."""
    connection_attempts: int = 300
    """Stream connections opened in ``attempts_window`` seconds; more are reset as they are accepted."""
    attempts_window: float = 300.0
    attempts_patience: int = 20
    """Attempts reset before the address is banned: 403 at the handshake for ``ban_seconds``."""
    ping_interval: float = 180.0
    ping_deadline: float = 600.0
    """A futures stream connection without a pong for this long after a ping is closed."""
    spot_ping_interval: float = 20.0
    spot_ping_deadline: float = 60.0
    max_age: float = 24 * 3600.0
    """Every stream connection is closed at this age."""
    send_buffer: int = 8 * 1024 * 1024
    """Bytes a stream connection may have unsent before it is cut."""
    tick: float = 0.01
    """Real time between two runs of the market."""

    def __post_init__(self) -> None:
        if isinstance(self.symbols, int) and (isinstance(self.symbols, bool) or self.symbols < 1):
            raise ValueError(f"symbols must be a number of at least 1 or names, not {self.symbols!r}")
        if isinstance(self.symbols, tuple) and not self.symbols:
            raise ValueError("symbols is empty")
        if self.oversized not in OVERSIZED:
            raise ValueError(f"oversized must be one of {OVERSIZED}, not {self.oversized!r}")
        if len(self.ports) != 4:
            raise ValueError("ports are four: futures REST, spot REST, futures streams, spot streams")
        if self.latency < 0:
            raise ValueError("latency is negative")
        for name in ("tick", "activity", "ban_seconds", "attempts_window", "ping_interval", "ping_deadline"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")

    def to_json(self) -> dict[str, Any]:
        """Plain values, for :meth:`from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """The inverse of :meth:`to_json`; an unknown name is a TypeError."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise TypeError(f"unknown setting: {', '.join(unknown)}")
        plain = dict(values)
        for name in ("symbols", "ports", "extensions"):
            if isinstance(plain.get(name), list):
                plain[name] = tuple(plain[name])
        return cls(**plain)
