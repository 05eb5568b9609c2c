"""The last things that happened to the data, for people: what was lost, repaired, refused, degraded and restored.

Pure: it compares what was seen at one moment with what was seen before. Times are epoch seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from ..status import ConnectionStatus, Overall

MOST = 50
TOGETHER = 10.0
"""Repairs that are no further apart (seconds) are one entry."""
RENEWED = 0.5
"""A connection that is open since a moment so much (seconds) later has been made again."""


class What(str, Enum):
    """What happened."""

    LOST = "lost"
    CONNECTED = "connected"
    REPAIRED = "repaired"
    LIMITED = "limited"
    DEGRADED = "degraded"
    LIVE = "live"
    STARTING = "starting"
    STOPPED = "stopped"
    CONTRACT = "contract"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened at ``at``; of repairs, the newest of ``count``. ``number`` grows from entry to entry."""

    number: int
    at: float
    what: What
    subject: str
    reason: str
    count: int = 1


class Journal:
    """Keeps the newest :data:`MOST` entries. Not thread-safe."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MOST)
        self._number = 0
        self._changed = 0
        self._state: Overall | None = None
        self._connections: dict[str, ConnectionStatus] = {}
        self._lost: dict[str, float] = {}
        self._repairs = 0
        self._blocked: dict[str, float] = {}
        self._contracts: dict[str, str] = {}

    def entries(self) -> list[Entry]:
        """Return all, oldest first."""
        return list(self._entries)

    def take_new(self) -> list[Entry]:
        """Return those that are new or have changed since the last call, oldest first."""
        found = [entry for entry in self._entries if entry.number >= self._changed]
        self._changed = self._number
        return found

    def state(self, at: float, state: Overall, reason: str) -> None:
        """Note the overall state and its reason."""
        before, self._state = self._state, state
        if state is not before and not (before is None and state is Overall.STOPPED):
            self._add(at, What(state.value), "", reason)

    def connections(self, at: float, connections: Iterable[ConnectionStatus]) -> None:
        """Note all connections that exist."""
        found = {each.name: each for each in connections}
        for name, now in found.items():
            before = self._connections.get(name)
            was, is_open = before is not None and _is_open(before), _is_open(now)
            renewed = was and is_open and before is not None and now.since > before.since + RENEWED
            if was and (renewed or not is_open):
                self._add(at, What.LOST, name, now.last_error)
                self._lost[name] = at
            if is_open and (renewed or not was):
                gone = self._lost.pop(name, None)
                self._add(at, What.CONNECTED, name, "" if gone is None else f"after {max(0.0, at - gone):.0f} s")
        self._connections = found
        self._lost = {name: at for name, at in self._lost.items() if name in found}

    def repairs(self, at: float, count: int, newest: str, reason: str) -> None:
        """Note the number of repairs so far; ``newest`` was the last one, ``reason`` why series were not live."""
        more, self._repairs = count - self._repairs, count
        if more <= 0:
            return
        last = self._entries[-1] if self._entries else None
        if last is not None and last.what is What.REPAIRED and at - last.at <= TOGETHER:
            self._entries[-1] = replace(
                last, at=at, subject=newest, reason=reason or last.reason, count=last.count + more
            )
            self._changed = min(self._changed, last.number)
        else:
            self._add(at, What.REPAIRED, newest, reason, more)

    def limited(self, at: float, blocked: Mapping[str, float], reasons: Mapping[str, str]) -> None:
        """Note the hosts that said to wait, until when, and what they said."""
        for host, until in blocked.items():
            if until > self._blocked.get(host, 0.0) + 1.0:
                self._add(at, What.LIMITED, host, reasons.get(host, ""))
        self._blocked = dict(blocked)

    def contracts(self, at: float, contracts: Mapping[str, str]) -> None:
        """Note the followed symbols that do not trade normally, in the exchange's own words."""
        for symbol, status in contracts.items():
            if self._contracts.get(symbol) != status:
                self._add(at, What.CONTRACT, symbol, status)
        for symbol in self._contracts.keys() - contracts.keys():
            self._add(at, What.CONTRACT, symbol, "TRADING")
        self._contracts = dict(contracts)

    def _add(self, at: float, what: What, subject: str, reason: str, count: int = 1) -> None:
        self._entries.append(Entry(self._number, at, what, subject, reason, count))
        self._number += 1


def _is_open(connection: ConnectionStatus) -> bool:
    return connection.state.startswith("open")
