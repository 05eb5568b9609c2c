"""What to do about streams that have died alone: subscribe again, then move, then leave them to REST for a while."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import Enum

from ..feeds import Key
from ..store.book import BookSeries
from ..store.depth import DepthBook
from ..store.klines import KlineSeries
from ..store.market import MarketStore
from ..store.open_interest import OpenInterestSeries
from ..store.trades import TradeRing
from .moment import Moment
from .state import State
from .witness import Witnesses

log = logging.getLogger(__name__)

FORGIVEN_AFTER = 120.0
"""A stream that lived this long after a remedy counts as well again."""
GIVEN_UP_FOR = 300.0
"""How long a stream that no remedy helped is left alone, its series served by REST."""


class Remedy(Enum):
    """What to do about a stream that is dead."""

    RESUBSCRIBE = "resubscribe"
    MOVE = "move to another connection"


IN_TURN = (Remedy.RESUBSCRIBE, Remedy.MOVE)


class Remedies:
    """Suspects the streams that the witnesses name. ``wanted`` collects what is to be done about them."""

    def __init__(self, store: MarketStore, states: Mapping[Key, State]) -> None:
        self._store = store
        self._states = states
        self._witnesses = Witnesses(store, states)
        self.wanted: list[tuple[Key, Remedy]] = []
        """Dead streams and what to do about them, since last taken."""
        self.given_up: dict[Key, float] = {}
        """Streams that no remedy helped, and until when (steady) they are left alone."""

    @property
    def unsure(self) -> list[Key]:
        """Series that REST should confirm, since the last look."""
        return self._witnesses.unsure

    def due(self) -> float:
        """When (steady) :meth:`look` has something to do next."""
        return self._witnesses.due()

    def look(self, at: Moment) -> None:
        """Find the streams that have died alone, and those given up that may be tried again."""
        for key, reason in self._witnesses.look(at):
            self._suspect(key, reason, at)
        for key, until in list(self.given_up.items()):
            series = streamed(self._store, key)
            state = self._states.get(key)
            if series is None or state is None:
                del self.given_up[key]
            elif at.steady >= until or series.received > state.heard_when_given_up:
                del self.given_up[key]
                state.remedies = 0
                self.wanted.append((key, Remedy.RESUBSCRIBE))

    def refute(self, key: Key, at: Moment) -> bool:
        """Suspect a series that is about to go live where its siblings show that its stream is dead; return whether
        they do."""
        reason = self._witnesses.silent(key, at)
        if reason:
            self._suspect(key, reason, at)
        return bool(reason)

    def forget(self, key: Key) -> None:
        """Its stream begins again, or is wanted no longer."""
        self.given_up.pop(key, None)

    def renew(self, key: Key) -> None:
        """Its name belongs to a new contract: what was told of the old one is no evidence."""
        self.forget(key)
        self._witnesses.forget(key.symbol)

    def _suspect(self, key: Key, reason: str, at: Moment) -> None:
        state, series = self._states.get(key), streamed(self._store, key)
        if state is None or series is None or state.link is None or state.dead:
            return
        series.suspect(reason)
        if at.steady - state.remedied > FORGIVEN_AFTER:
            state.remedies = 0
        state.remedied = at.steady
        state.remedies += 1
        state.link = None
        state.due = None
        log.info("%s: %s; remedy %d", key, reason, state.remedies)
        if state.remedies <= len(IN_TURN):
            self.wanted.append((key, IN_TURN[state.remedies - 1]))
        else:
            series.suspect("its stream is dead and no remedy helped: REST answers")
            state.heard_when_given_up = series.received
            self.given_up[key] = at.steady + GIVEN_UP_FOR


def streamed(store: MarketStore, key: Key) -> KlineSeries | TradeRing | BookSeries | DepthBook | None:
    """The series of a key where it has a stream of its own."""
    series = store.get(key)
    return None if isinstance(series, OpenInterestSeries) else series
