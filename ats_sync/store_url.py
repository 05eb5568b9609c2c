"""Where the shared store is: its URL, taken apart and checked, without ever showing a password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from .errors import ConfigError

FORMS = (
    "redis://[[user]:password@]host[:port][/database], the same with rediss:// (TLS), valkey:// or valkeys:// (TLS), "
    "unix://[[user]:password@]/path/to/socket[?db=N], or "
    "redis+sentinel://[[user]:password@]host[:port],host[:port]/service[/database]"
)
"""The URLs that are accepted."""
_TLS = {
    "redis": False,
    "valkey": False,
    "rediss": True,
    "valkeys": True,
    "redis+sentinel": False,
    "valkey+sentinel": False,
    "rediss+sentinel": True,
    "valkeys+sentinel": True,
}
_PORT, _SENTINEL_PORT = 6379, 26379
_MOST_DATABASE = 65_535
_FILES = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_OPTIONS = _FILES | {"db", "sentinel_username", "sentinel_password"}


@dataclass(frozen=True)
class StoreUrl:
    """A checked URL. Neither ``repr()`` nor ``str()`` shows a password."""

    addresses: tuple[tuple[str, int], ...] = ()
    """Host and port of the server, or of every Sentinel; none for a Unix socket."""
    path: str = ""
    """The Unix socket."""
    tls: bool = False
    service: str = ""
    """The name under which the Sentinels know the server; empty without Sentinels."""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    """For the Sentinels themselves, where they ask for a user or a password too."""
    sentinel_password: str | None = field(default=None, repr=False)
    files: Mapping[str, str] = field(default_factory=dict, hash=False)
    """``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``: PEM files for TLS."""

    @classmethod
    def parse(cls, url: object, name: str = "shared") -> StoreUrl:
        """Return the parts of a URL of one of these :data:`FORMS`. Raises :class:`~ats_sync.errors.ConfigError`, whose
        text shows no part of the URL: in a URL that is not understood, any part may be the password."""
        if not isinstance(url, str):
            raise ConfigError(f"{name} must be a URL: {FORMS}; it is {type(url).__name__}")
        try:
            return cls._parse(url)
        except _NotAStore as reason:
            raise ConfigError(f"{name} is not the URL of a shared store: {reason}; accepted are {FORMS}") from None
        except ValueError:
            # Its text shows the part that is wrong.
            raise ConfigError(f"{name} is not a URL; accepted are {FORMS}") from None

    @classmethod
    def _parse(cls, url: str) -> StoreUrl:
        if any(character.isspace() or not character.isprintable() for character in url):
            raise _NotAStore("it contains a space or a control character")
        parts = urlsplit(url)
        if parts.fragment or "#" in url:
            raise _NotAStore("it contains '#', which is written %23 in a password")
        options = _options(parts)
        username, password, place = _credentials(parts.netloc)
        found: dict[str, object] = {
            "username": username,
            "password": password,
            "files": {name: options[name] for name in sorted(_FILES & options.keys())},
        }
        if parts.scheme == "unix":
            if place or len(parts.path) < 2:
                raise _NotAStore("a Unix socket has an absolute path and no host: unix:///path/to/socket")
            if "sentinel_username" in options or "sentinel_password" in options or found["files"]:
                raise _NotAStore("a Unix socket has neither Sentinels nor TLS")
            database = _database(options.get("db", "0"))
            return cls(path=unquote(parts.path), database=database, **found)  # type: ignore[arg-type]
        if parts.scheme not in _TLS:
            raise _NotAStore("its scheme is unknown")
        found["tls"] = tls = _TLS[parts.scheme]
        if found["files"] and not tls:
            raise _NotAStore("it names files for TLS, so its scheme must be that of TLS (rediss, valkeys)")
        steps = [unquote(step) for step in parts.path.split("/")[1:] if step]
        if parts.scheme.endswith("+sentinel"):
            if not steps:
                raise _NotAStore("the name of the service is missing behind the Sentinels")
            found["service"] = steps.pop(0)
            found["sentinel_username"] = options.get("sentinel_username")
            found["sentinel_password"] = options.get("sentinel_password")
            found["addresses"] = tuple(_address(each, _SENTINEL_PORT) for each in place.split(","))
        else:
            if "sentinel_username" in options or "sentinel_password" in options:
                raise _NotAStore("it has options for Sentinels without naming any")
            found["addresses"] = (_address(place, _PORT),)
        if len(steps) > 1 or (steps and "db" in options):
            raise _NotAStore("nothing but one database number may follow")
        found["database"] = _database(steps[0] if steps else options.get("db", "0"))
        return cls(**found)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """Return the URL without its passwords, for people."""
        user = f"{self.username}@" if self.username else ""
        if self.path:
            return f"unix://{user}{self.path}" + (f"?db={self.database}" if self.database else "")
        scheme = ("rediss" if self.tls else "redis") + ("+sentinel" if self.service else "")
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.addresses)
        service = f"/{self.service}" if self.service else ""
        return f"{scheme}://{user}{hosts}{service}" + (f"/{self.database}" if self.database else "")


class _NotAStore(ValueError):
    """Why a URL is refused; shows no part of it."""


def _options(parts: SplitResult) -> dict[str, str]:
    found = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    if found.keys() - _OPTIONS:
        raise _NotAStore(
            f"behind '?' it has another option than {', '.join(sorted(_OPTIONS))} ('?' is written %3F in a password)"
        )
    return found


def _credentials(netloc: str) -> tuple[str | None, str | None, str]:
    """Return user, password and what follows them."""
    before, at, place = netloc.rpartition("@")
    if "@" in before:
        raise _NotAStore("it contains a second '@', which is written %40 in a password")
    if not at:
        return None, None, place
    username, _, password = before.partition(":")
    if ":" in password:
        raise _NotAStore("it contains a second ':' before '@', which is written %3A in a password")
    return unquote(username) or None, unquote(password) or None, place


def _address(place: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        raise _NotAStore("the name of a host is missing")
    return parts.hostname, parts.port or port


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > _MOST_DATABASE:
        raise _NotAStore("the database must be a number")
    return int(text)
