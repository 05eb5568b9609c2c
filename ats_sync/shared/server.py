"""What the server of a shared store says of itself, and whether it will do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError

LEAST = {"Valkey": (7, 2), "Redis": (6, 2)}
"""The oldest versions that will do."""
FORMAT = 1
"""The number of the layout of everything that this version of ats_sync writes: part of each key."""
FORMATS_KEY = "ats:formats"
"""A hash: the formats that were written, and the server's time (ms) when each was last in use."""
IN_USE = 120_000
"""How long (ms) a format counts as used after that."""


class ServerInfo(NamedTuple):
    """A server that will do."""

    name: str
    """``Valkey`` or ``Redis``."""
    version: tuple[int, ...]
    run_id: str
    """Another one after each start of the server."""
    policy: str
    """``maxmemory-policy``: anything but ``noeviction`` may silently delete what was written."""

    @property
    def evicts(self) -> bool:
        return self.policy not in ("noeviction", "")


def checked(info: Mapping[str, Any], where: str) -> ServerInfo:
    """Return what ``INFO`` says. Raises :class:`~ats_sync.errors.ConfigError` for a server that will not do."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    text = str(info.get("valkey_version" if name == "Valkey" else "redis_version", ""))
    version = tuple(int(part) for part in text.split(".") if part.isdigit())
    mode = str(info.get("redis_mode") or info.get("server_mode") or "")
    if mode == "sentinel":
        raise ConfigError(
            f"{where} is a Sentinel, not the shared store itself; write redis+sentinel://host:port/service"
        )
    if mode == "cluster":
        raise ConfigError(f"{where} is a cluster, whose scripts cannot use keys of several slots; use a single server")
    if version < LEAST[name]:
        needed = " or ".join(f"{each} {'.'.join(map(str, least))}" for each, least in LEAST.items())
        raise ConfigError(f"{where} runs {name} {text or 'of an unknown version'}; the shared store needs {needed}")
    return ServerInfo(
        name,
        version,
        str(info.get("run_id", "")),
        str(info.get("maxmemory_policy", "")),
    )


def check_format(formats: Mapping[bytes, bytes], now_ms: int, where: str, *, writes: bool) -> None:
    """Raise :class:`~ats_sync.errors.ConfigError` where programs with another format use the store: whoever writes is
    alone with its format, and a reader needs one who writes its own."""
    used = {int(number) for number, seen in formats.items() if now_ms - int(seen) < IN_USE}
    others = sorted(used - {FORMAT})
    if others and (writes or FORMAT not in used):
        raise ConfigError(
            f"{where} is in use by programs of ats_sync that write format {', '.join(map(str, others))}, and this one "
            f"knows format {FORMAT}; install one version everywhere, or give this program another database number"
        )
