"""The settings of a simulated exchange. Limits default to those of the real exchange; each names its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

OVERSIZED = ("drop", "close")
_POSITIVE = (
    "tick", "activity", "ban_seconds", "attempts_window", "ping_interval", "ping_deadline", "spot_ping_interval",
    "spot_ping_deadline", "max_age", "max_streams", "messages_per_second", "spot_messages_per_second", "send_buffer",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Times are in seconds unless noted otherwise. The child process receives the settings as JSON."""

    symbols: int | tuple[str, ...] = 200
    seed: int = 7
    start: int | None = None
    """Exchange time at the beginning, ms; None: this machine's time."""
    tls: bool = False
    latency: float = 0.0
    """Added to every REST answer, half before it is computed and half after; requests wait in parallel."""
    activity: float = 1.0
    """Scales the number of trades per second."""
    ports: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Ports of futures REST, spot REST, futures streams, spot streams; 0 lets the system choose."""
    control_port: int = 0
    """Port of the controls over HTTP; 0 lets the system choose."""
    extensions: tuple[str, ...] = ()
    """Modules that the serving process imports and whose controls it also serves (see ``controls.control``)."""

    coin_margined: int = 3
    """Number of COIN-M contracts whose rows the all-market streams of marks and tickers also contain, as they have
    since 2026-06-30."""
    resting_marks: bool = True
    """Whether a delisted contract keeps its row, unchanged, in the mark stream (130 did on 2026-10-07)."""

    weight_limit: int = 2400
    """Weight per minute. Source: exchangeInfo."""
    spot_weight_limit: int = 6000
    """Source: spot exchangeInfo."""
    sliding_weight: bool = False
    """Whether the weight of the last 60 s counts, instead of that of the UTC clock minute, which was measured on
    2026-10-07."""
    weight_header: bool = True
    """Whether answers report the used weight."""
    weight_header_lag: float = 0.0
    """How old the reported count is."""
    coin_margined_shares_weight: bool = True
    """Whether COIN-M requests (``/dapi/…``, on the port of futures REST), and the weight that a COIN-M program on this
    address spends, count in the futures' minute. Source: the exchange's notice of 2026-06-30."""
    funding_limit: int = 500
    """Requests to fundingRate and fundingInfo together in 5 minutes. Source: documented."""
    oi_limit: int = 1000
    """Requests to openInterestHist and the other series of ``/futures/data`` in 5 minutes. Source: documented."""
    kline_weights: tuple[tuple[int, int], ...] = ((100, 1), (500, 2), (1000, 5), (1500, 10))
    """Weight of ``/fapi/v1/klines`` up to and including each limit. Source: measured 2026-10-07 (the page puts 100 and
    500 one band higher)."""
    kline_weight_without_limit: int = 5
    """Source: measured 2026-10-07."""
    depth_weights: tuple[tuple[int, int], ...] = ((5, 2), (10, 2), (20, 2), (50, 2), (100, 5), (500, 10), (1000, 20))
    """The limits of ``/fapi/v1/depth`` and their weights. Source: documented."""
    depth_weight_without_limit: int = 1
    """Weight of a request for 500 levels without a limit. Source: measured 2026-10-07, undocumented."""
    agg_trades_weight: int = 20
    """Source: documented."""
    trading_schedule_weight: int = 5
    """Source: documented."""
    trade_history: float = 48 * 3600.0
    """How far back a window of aggTrades may begin; before that: -4166. Source: the exchange's error text."""
    data_history: float = 30 * 86_400.0
    """How far back the series of ``/futures/data`` go. Source: documented (one month)."""
    wrong_weight_header: bool = True
    """Whether bookTicker and ticker/price of v2 answer with a wrong used-weight header. Source: documented."""
    ban_seconds: float = 120.0
    """Length of the first ban; each further one is twice as long, up to 3 days."""
    ban_patience: int = 5
    """Requests forgiven during the Retry-After of a 429; the next one is a 418."""

    max_streams: int = 1024
    """Streams per connection; one more is an error, and the connection is closed. Source: measured 2026-10-07."""
    messages_per_second: int = 15
    """Messages of a client per second, including pings and pongs; one more closes the connection. Source: measured
    2026-10-07 (15 in a row are answered, 40 are not); the page allows 10, which clients should respect: see
    ``ConnectionInfo.busiest_second``."""
    spot_messages_per_second: int = 5
    """Source: documented."""
    oversized: str = "drop"
    """For a SUBSCRIBE of more than ``max_names`` names or ``max_message`` bytes: "drop" it silently, or "close"."""
    max_names: int = 400
    max_message: int = 4088
    """Bytes of a client message on a stream connection. Source: seen at the exchange."""
    connection_attempts: int = 300
    """Stream connections that may be opened in ``attempts_window`` seconds; more are reset when they are accepted."""
    attempts_window: float = 300.0
    attempts_patience: int = 20
    """Attempts that are reset before the address is banned: 403 at the handshake for ``ban_seconds``."""
    ping_interval: float = 180.0
    ping_deadline: float = 600.0
    """A futures stream connection without a pong for this long after a ping is closed."""
    spot_ping_interval: float = 20.0
    spot_ping_deadline: float = 60.0
    max_age: float = 24 * 3600.0
    """Every stream connection is closed at this age."""
    send_buffer: int = 8 * 1024 * 1024
    """Unsent bytes that a stream connection may have before it is cut."""
    tick: float = 0.01
    """Real time between two runs of the market."""

    def __post_init__(self) -> None:
        if isinstance(self.symbols, int) and (isinstance(self.symbols, bool) or self.symbols < 1):
            raise ValueError(f"symbols must be a number of at least 1 or names, not {self.symbols!r}")
        if isinstance(self.symbols, tuple) and not self.symbols:
            raise ValueError("symbols must not be empty")
        if self.oversized not in OVERSIZED:
            raise ValueError(f"oversized must be one of {OVERSIZED}, not {self.oversized!r}")
        if len(self.ports) != 4:
            raise ValueError("ports must be four: futures REST, spot REST, futures streams, spot streams")
        for name in ("latency", "weight_header_lag"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        for name in ("kline_weights", "depth_weights"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for :meth:`from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """Return the settings that :meth:`to_json` wrote; an unknown name is a TypeError."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise TypeError(f"unknown setting: {', '.join(unknown)}")
        return cls(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    """Return JSON's arrays as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
