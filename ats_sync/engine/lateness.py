"""Connections that deliver, and too late: which of them are to be replaced."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ..store.link import Link
from .moment import Moment

LINK_LATE = 2.5
"""A connection whose newest proof of life is older than this (seconds) is late."""
LATE_FOR = 10.0
"""One that has been late for this long (seconds) does not catch up by itself."""
CATCHING_UP = 0.7
"""A lag that has shrunk to this part of what it was is a backlog that drains."""
REPLACE_AGAIN = 60.0
"""The first pause (seconds) before another late connection of a route is replaced; it doubles up to the longest."""
REPLACE_LONGEST = 3600.0
ON_TIME_FOR = 120.0
"""A route that has been on time for this long (seconds) begins with the first pause again."""


@dataclass(slots=True)
class _Late:
    since: float
    by: float


@dataclass(slots=True)
class _Route:
    replaced: int = 0
    next: float = -math.inf
    on_time_since: float = math.inf


class Lateness:
    """How long which connection has been late, and how often one was replaced for it.

    Where the fresh connection lags as well, the lag is the exchange's, and replacing is left off for longer and longer.
    """

    def __init__(self) -> None:
        self._late: dict[Link, _Late] = {}
        self._routes: dict[str, _Route] = {}
        self._confirmed = -math.inf

    def clock_confirmed(self, at: Moment) -> None:
        """Note that the exchange has confirmed its time."""
        self._confirmed = at.steady

    def keep(self, links: Iterable[Link]) -> None:
        """Forget every link but these."""
        kept = set(links)
        self._late = {link: late for link, late in self._late.items() if link in kept}

    def lag(self, link: Link, at: Moment) -> float:
        """Return how late (seconds) a link surely is, 0 where it is on time."""
        age = link.age((at.exchange - at.uncertain) / 1000.0)
        return age if age > LINK_LATE else 0.0

    def judge(self, link: Link, at: Moment) -> str:
        """Return why the connection is to be replaced now, "" where it is not.

        It is only once ``/time`` has confirmed, since the lag began, that it is not this machine's clock that is off.
        """
        lag, route = self.lag(link, at), self._routes.setdefault(link.route, _Route())
        if not lag:
            self._late.pop(link, None)
            route.on_time_since = min(route.on_time_since, at.steady)
            if at.steady - route.on_time_since >= ON_TIME_FOR:
                route.replaced = 0
            return ""
        route.on_time_since = math.inf
        late = self._late.setdefault(link, _Late(at.steady, lag))
        if lag < late.by * CATCHING_UP:
            late.since, late.by = at.steady, lag
        confirmed = at.proven and self._confirmed > late.since
        if at.steady - late.since < LATE_FOR or not confirmed or at.steady < route.next:
            return ""
        route.next = at.steady + min(REPLACE_LONGEST, REPLACE_AGAIN * 2.0 ** min(route.replaced, 16))
        route.replaced += 1
        del self._late[link]
        return f"it lags by {lag:.1f} s and does not catch up"
