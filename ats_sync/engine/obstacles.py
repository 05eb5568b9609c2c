"""The obstacles to readiness: failures that no success has followed yet.

A latch would blame a hiccup of hours ago. Here every success clears the failures of its host (or route, for streams),
and only failures of followed series count, never those of a path that a user requested.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..errors import (
    AccessDenied,
    AtsSyncError,
    CertificateRejected,
    ConfigError,
    HostNotFound,
    ProxyRefused,
    RequestRejected,
)
from ..venue.endpoints import Host, Route

ATTEMPTS = 3
"""Failures in a row, of a kind that never passes by itself, after which waiting is hopeless."""
NOT_FOUND = 404


@dataclass(slots=True)
class Trouble:
    """Failures in a row: the newest error, how many they are, and how many in a row can never pass by themselves."""

    error: AtsSyncError
    count: int
    hopeless: int


class Obstacles:
    """The current failures of each host (REST) and each route (streams)."""

    def __init__(self) -> None:
        self._troubles: dict[Host | Route, Trouble] = {}
        self._answered: set[Host | Route] = set()

    def failed(self, where: Host | Route, error: AtsSyncError) -> None:
        """An attempt failed."""
        before = self._troubles.get(where)
        never = never_works(error) or _barred(where, error)
        hopeless = (before.hopeless if before is not None else 0) + 1 if never else 0
        self._troubles[where] = Trouble(error, (before.count if before is not None else 0) + 1, hopeless)

    def succeeded(self, where: Host | Route) -> int:
        """An attempt succeeded, which clears earlier failures. Return how many there were in a row."""
        trouble = self._troubles.pop(where, None)
        self._answered.add(where)
        return trouble.count if trouble is not None else 0

    def present(self, where: Host | Route) -> AtsSyncError | None:
        """Return the error of the newest attempt, None if it succeeded."""
        trouble = self._troubles.get(where)
        return trouble.error if trouble is not None else None

    def hopeless(self, places: Collection[Host | Route] | None = None) -> AtsSyncError | None:
        """Return the error that makes waiting for something from these places (None: from any) hopeless, None if
        waiting may help.

        A REST host that denies access (403, 451) from the first request on is hopeless at once; where the streams deny
        it, REST still serves.
        """
        for where, trouble in self._troubles.items():
            if places is not None and where not in places:
                continue
            at_once = _barred(where, trouble.error) and where not in self._answered
            if at_once or trouble.hopeless >= ATTEMPTS:
                return trouble.error
        return None


def _barred(where: Host | Route, error: AtsSyncError) -> bool:
    return isinstance(error, AccessDenied) and isinstance(where, Host)


def never_works(error: AtsSyncError) -> bool:
    """Return whether only a change of settings, of this machine or of its network can help."""
    if isinstance(error, HostNotFound):
        return not error.temporary
    if isinstance(error, RequestRejected):
        return error.code is None and (error.status == NOT_FOUND or 300 <= (error.status or 0) < 400)
    return isinstance(error, (CertificateRejected, ProxyRefused, ConfigError))
