"""Settings: frozen, checked when made, readable from the environment."""

# Without postponed annotations, so that typing.get_type_hints() works although the class shows as ats_sync.Config.
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from urllib.parse import urlsplit

from .arguments import real_number, whole_number
from .errors import ConfigError
from .store_url import StoreUrl

_ENVIRONMENT = {
    "BINANCE_FAPI_BASE": "fapi_base",
    "BINANCE_SPOT_BASE": "spot_base",
    "BINANCE_FSTREAM_BASE": "fstream_base",
    "BINANCE_SPOT_STREAM_BASE": "spot_stream_base",
    "ATS_SYNC_SHARED": "shared",
    "ATS_SYNC_EGRESS": "egress",
    "ATS_SYNC_STATE_DIR": "state_dir",
}
ROLES = ("reader", "collector", "alone")
_HTTP = ("http", "https")
_WS = ("ws", "wss")
_EGRESS = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True)
class Config:
    """All settings. Times are seconds; weights are the exchange's request weight.

    Proxies are those of the environment (``HTTP_PROXY``, ``HTTPS_PROXY``, ``NO_PROXY``) unless
    ``proxies`` is given, for REST and for streams alike.
    """

    fapi_base: str = "https://fapi.binance.com"
    spot_base: str = "https://api.binance.com"
    fstream_base: str = "wss://fstream.binance.com"
    spot_stream_base: str = "wss://stream.binance.com:9443"
    ca_file: str | None = None
    """A PEM file of certificate authorities to trust instead of the usual ones."""
    proxies: Mapping[str, str] | None = field(default=None, hash=False)
    """``{"http": url, "https": url}``; None reads the environment, an empty mapping uses none."""

    state_dir: str | os.PathLike[str] | None = None
    """The directory in which rows are kept for the next start (see :mod:`ats_sync.snapshots`), made where it is not
    there; None keeps none. ``~`` and relative paths are resolved when the settings are made."""

    read_timeout: float = 10.0
    """The longest a read may take: waiting for budget, the request, its retries."""
    shim_timeout: float = 75.0
    """The same for calls through the shim: a first scan may weigh more than a minute allows, so old code waits."""
    request_timeout: float = 10.0
    """The longest one HTTP request may take, from connecting to the last byte."""
    connect_timeout: float = 5.0
    close_timeout: float = 2.0
    """The longest ``close()`` may take."""

    max_klines: int = 500
    max_trades: int = 1000
    max_open_interest: int = 300
    max_liquidations: int = 1000
    """Liquidation orders kept for each symbol."""
    warmup_klines: int = 500
    """Candles requested at the start: 500 weigh 2, 501 weigh 5."""
    open_interest_periods: tuple[str, ...] = ("1h",)
    """Periods polled from the start; others are followed from their first read on. Both as far as their polls
    fit into the limit that open interest and the ratios share; each read of what does not fit is a request."""
    decode_ahead: bool = True
    """Whether rows are decoded while they are warmed up, so that a first scan is as fast as later ones. Of use to those
    who call ``get_klines`` and ``get_agg_trades`` in this process."""
    derive_intervals: bool = False
    """Experimental. Whether one candle stream a symbol is subscribed, and larger candles are summed from smaller ones
    (see :mod:`ats_sync.store.derived`). Not for a collector."""

    futures_weight_limit: int = 2400
    spot_weight_limit: int = 6000
    weight_share: float = 0.8
    """The part of a host's limit this process may use; the rest is for other programs on this address."""
    repair_share: float = 0.1
    """The part of the limit, within ``weight_share``, reserved for reads and repairs."""
    max_rest_threads: int = 64

    shared: str | None = field(default=None, repr=False)
    """The URL of a shared store (Valkey or Redis), None without one. See :mod:`ats_sync.store_url` for its forms."""
    role: str = "reader"
    """What a manager is where ``shared`` is set: a ``reader``, which takes its data from the shared store and follows
    nothing; a ``collector``, which follows the exchange and writes for all readers while it leads; or ``alone``: it
    follows the exchange for itself, and shares nothing but the account of requests."""
    flush: float = 0.05
    """How often a collector writes what has changed: a smaller value adds CPU and saves lag."""
    take_over: bool = False
    """Whether a collector has the one that leads hand over to it: once all of its series are fresh, at the latest five
    minutes after its start."""
    shard: str = "1/1"
    """Which part of all symbols a collector has, such as ``2/3``: with several shards, each has its own leader."""
    egress: str = "default"
    """The address of this host that its requests come from: processes of one shared store and one ``egress`` count
    their requests together. To be set where a host, or two hosts of one store, have several addresses."""
    shared_fraction: float = 0.2
    """The part of ``weight_share`` that this process uses at most while the shared store cannot be reached. Where more
    processes of its ``egress`` were seen in the store lately than that allows for, it is one part in their number."""

    max_streams_per_connection: int = 1024
    reconnect_min: float = 1.0
    reconnect_max: float = 15.0
    healthy_after: float = 60.0
    """A connection that lasted this long has its back-off reset."""
    connection_max_age: float = 23 * 3600.0
    """A connection is replaced, without a gap, before it reaches this age (the exchange closes it after 24 hours): each
    one at another age, so that they are not all replaced at once."""
    ping_interval: float = 1.0
    """A connection on which nothing arrived for this long is pinged."""
    silence_limit: float = 6.0
    """A connection without a frame or pong for this long is closed. (Reads stop trusting it sooner.)"""
    drain_interval: float = 0.02
    """Least time between two receives on a connection. What comes to a quiet one is received at once; on a busy one
    frames gather for up to this long, which saves CPU. 0 receives everything at once. In a collector, whose readers
    wait for ``flush`` as well, no longer than a quarter of that."""

    @property
    def exchange(self) -> tuple[str, ...]:
        """What identifies the exchange: its base URLs."""
        return self.fapi_base, self.spot_base, self.fstream_base, self.spot_stream_base

    @property
    def gathers(self) -> float:
        """For how long (seconds) the frames of a busy connection gather."""
        is_collector = self.shared is not None and self.role == "collector"
        return min(self.drain_interval, self.flush / 4.0) if is_collector else self.drain_interval

    def __post_init__(self) -> None:
        for name, schemes in (
            ("fapi_base", _HTTP),
            ("spot_base", _HTTP),
            ("fstream_base", _WS),
            ("spot_stream_base", _WS),
        ):
            object.__setattr__(self, name, _checked_url(name, getattr(self, name), schemes))
        for name in (
            "read_timeout",
            "shim_timeout",
            "request_timeout",
            "connect_timeout",
            "close_timeout",
            "reconnect_min",
            "reconnect_max",
            "healthy_after",
            "connection_max_age",
            "ping_interval",
            "silence_limit",
        ):
            self._check_number(name, above=0.0)
        self._check_number("drain_interval", least=0.0, most=1.0)
        for name, most in (
            ("max_klines", 1500),
            ("warmup_klines", 1500),
            ("max_trades", 100_000),
            ("max_open_interest", 500),
            ("max_liquidations", 100_000),
            ("futures_weight_limit", 1_000_000),
            ("spot_weight_limit", 1_000_000),
            ("max_rest_threads", 256),
            ("max_streams_per_connection", 1024),
        ):
            value = whole_number(getattr(self, name))
            if value is None or not 1 <= value <= most:
                raise ConfigError(f"{name} must be a whole number from 1 to {most}, not {getattr(self, name)!r}")
            object.__setattr__(self, name, value)
        self._check_number("weight_share", above=0.0, most=1.0)
        self._check_number("repair_share", least=0.0, most=1.0)
        if self.repair_share >= self.weight_share:
            raise ConfigError("repair_share must be smaller than weight_share, of which it is a part")
        if self.reconnect_min > self.reconnect_max:
            raise ConfigError("reconnect_min must not be larger than reconnect_max")
        if self.ping_interval >= self.silence_limit:
            raise ConfigError("ping_interval must be smaller than silence_limit, or every quiet stream is cut")
        self._check_number("shared_fraction", above=0.0, most=1.0)
        if self.shared is not None:
            StoreUrl.parse(self.shared)
        if self.role not in ROLES:
            raise ConfigError(f"role must be one of {', '.join(map(repr, ROLES))}, not {self.role!r}")
        for name in ("decode_ahead", "derive_intervals"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if self.derive_intervals and self.shared is not None and self.role == "collector":
            raise ConfigError("derive_intervals is not for a collector: readers do not learn what a sum rests on")
        self._check_number("flush", above=0.0, most=1.0)
        _check_shard(self.shard)
        if not isinstance(self.egress, str) or not _EGRESS.fullmatch(self.egress):
            raise ConfigError(
                f"egress must be a name of up to 64 letters, digits, '.', '_', ':' or '-', not {self.egress!r}"
            )
        if self.ca_file is not None and not os.path.isfile(self.ca_file):
            raise ConfigError(f"ca_file: there is no file {self.ca_file!r}")
        if self.state_dir is not None:
            object.__setattr__(self, "state_dir", _checked_directory("state_dir", self.state_dir))
        periods = self.open_interest_periods
        if not isinstance(periods, (tuple, list)) or not all(isinstance(period, str) for period in periods):
            raise ConfigError(f"open_interest_periods must be a tuple such as ('1h',), not {periods!r}")
        object.__setattr__(self, "open_interest_periods", tuple(periods))
        proxies = self.proxies
        texts = isinstance(proxies, Mapping) and all(isinstance(url, str) for url in proxies.values())
        if proxies is not None and not texts:
            raise ConfigError(f"proxies must be a mapping such as {{'https': url}}, or None, not {self.proxies!r}")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: object) -> "Config":
        """Return settings from ``BINANCE_FAPI_BASE``, ``BINANCE_SPOT_BASE``, ``BINANCE_FSTREAM_BASE``,
        ``BINANCE_SPOT_STREAM_BASE``, ``ATS_SYNC_SHARED``, ``ATS_SYNC_EGRESS`` and ``ATS_SYNC_STATE_DIR`` where they are
        set, the defaults otherwise; ``overrides`` win.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, object] = {
            name: environ[variable] for variable, name in _ENVIRONMENT.items() if environ.get(variable)
        }
        values.update(overrides)
        unknown = set(values) - {each.name for each in fields(cls)}
        if unknown:
            raise ConfigError(f"no such setting: {', '.join(sorted(unknown))}")
        return cls(**values)  # type: ignore[arg-type]

    def _check_number(
        self, name: str, *, above: float | None = None, least: float | None = None, most: float | None = None
    ) -> None:
        given = getattr(self, name)
        value = real_number(given)
        wrong = value is None or not math.isfinite(value)
        if value is None or wrong or (above is not None and value <= above) or (least is not None and value < least):
            bound = f"above {above:g}" if above is not None else f"of at least {least:g}"
            raise ConfigError(f"{name} must be a number {bound}, not {given!r}")
        if most is not None and value > most:
            raise ConfigError(f"{name} must not be above {most:g}, it is {given!r}")
        object.__setattr__(self, name, value)


def _check_shard(text: object) -> None:
    parts = text.split("/") if isinstance(text, str) else []
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts):
        raise ConfigError(f"shard must be a part of all symbols such as '2/3', not {text!r}")
    number, count = map(int, parts)
    if not 1 <= number <= count or [str(number), str(count)] != parts:
        raise ConfigError(f"shard {text!r} is none: the parts of 3 are '1/3', '2/3' and '3/3'")


def _checked_directory(name: str, path: object) -> str:
    """Return the absolute path of a directory that is there or could be made."""
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"{name} must be the path of a directory, not {path!r}")
    text = os.fspath(path)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ConfigError(f"{name} must be the path of a directory, not {path!r}")
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise ConfigError(f"{name}: {text!r} names a home directory that is not known here; write the whole path")
    absolute = above = os.path.abspath(expanded)
    while not os.path.lexists(above) and os.path.dirname(above) != above:
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise ConfigError(f"{name}: {above!r} is not a directory; name one that is there or can be made")
    return absolute


def _checked_url(name: str, url: object, schemes: tuple[str, ...]) -> str:
    example = f"{schemes[1]}://host[:port]"
    if not isinstance(url, str):
        raise ConfigError(f"{name} must be a URL such as {example}, not {url!r}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{name} {url!r} is not a URL: {error}") from None
    if parts.scheme not in schemes or not host or "?" in url or "#" in url or any(map(str.isspace, url)):
        raise ConfigError(f"{name} must be a URL such as {example}, not {url!r}")
    return url.rstrip("/")
