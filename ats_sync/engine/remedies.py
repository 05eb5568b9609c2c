"""What to do about streams that have died alone: subscribe again, then move, then leave them to REST for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import Enum

from ..feeds import Key
from ..store.market import MarketStore
from ..store.series import Series
from .liveness import SilentStreamDetector
from .moment import Moment
from .state import State

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
    """Suspects the streams that the detector names. ``pending`` collects what is to be done about them."""

    def __init__(
        self, store: MarketStore, states: Mapping[Key, State], suspected: Callable[[State], None] = lambda state: None
    ) -> None:
        self._store = store
        self._states = states
        self._suspected = suspected  # called with each series that is not trusted any longer
        self._detector = SilentStreamDetector(store, states)
        self.pending: list[tuple[Key, Remedy]] = []
        """Dead streams and what to do about them, since last taken."""
        self.quarantined: dict[Key, float] = {}
        """Streams that no remedy helped, and until when (steady) they are left alone."""

    @property
    def unsure(self) -> list[Key]:
        """Series that REST should confirm, since the last look."""
        return self._detector.unsure

    @property
    def lacking(self) -> list[Key]:
        """Series that surely lack something their stream need not have delivered, since the last look."""
        return self._detector.lacking

    def take_counting_again(self) -> list[str]:
        """Return the symbols whose ids have restarted since the last call."""
        symbols = list(self._detector.counting_again)
        self._detector.counting_again.clear()
        return symbols

    def lacks(self, key: Key, at: Moment) -> bool:
        """Return whether an answer did not bring that."""
        return self._detector.lacks(key, at)

    def due(self) -> float:
        """Return when (steady) :meth:`look` has something to do next."""
        return self._detector.due()

    def look(self, at: Moment) -> None:
        """Find the streams that have died alone, and those given up that may be tried again."""
        for key, reason in self._detector.look(at):
            self._suspect(key, reason, at)
        for key, until in list(self.quarantined.items()):
            series = self._streamed(key)
            state = self._states.get(key)
            if series is None or state is None:
                del self.quarantined[key]
            elif at.steady >= until or series.received > state.frames_at_quarantine:
                del self.quarantined[key]
                state.remedies = 0
                self.pending.append((key, Remedy.RESUBSCRIBE))

    def look_again(self, key: Key) -> None:
        """Note that a series has changed otherwise than by frames and answers."""
        self._detector.look_again(key.symbol)

    def refute(self, key: Key, at: Moment) -> bool:
        """Suspect a series that is about to go live where its siblings show that its stream is dead; return whether
        they do."""
        if self._store.derivations.root_of(key) != key:
            return False  # it lives by the stream of another, which is looked at itself
        reason = self._detector.silent(key, at)
        if reason:
            self._suspect(key, reason, at)
        return bool(reason)

    def forget(self, key: Key) -> None:
        """Count from zero: its stream begins again, or is not followed any more."""
        self.quarantined.pop(key, None)

    def renew(self, key: Key, listed: int) -> None:
        """Forget the evidence: the name belongs to a new contract, which was ``listed`` then (exchange ms, 0 where that
        is not known)."""
        self.forget(key)
        self._detector.forget(key.symbol, listed)

    def _suspect(self, key: Key, reason: str, at: Moment) -> None:
        state, series = self._states.get(key), self._streamed(key)
        if state is None or series is None or state.link is None or state.delisted:
            return
        series.suspect(reason)
        self._suspected(state)
        for each in self._store.derivations.derived_from(key):
            derived, waiting = self._store.get(each), self._states.get(each)
            if derived is not None and waiting is not None:
                derived.suspect(reason)
                waiting.link = waiting.due = None
                self._suspected(waiting)
        if at.steady - state.remedied > FORGIVEN_AFTER:
            state.remedies = 0
        state.remedied = at.steady
        state.remedies += 1
        state.link = None
        state.due = None
        log.info("%s: %s; remedy %d", key, reason, state.remedies)
        if state.remedies <= len(IN_TURN):
            self.pending.append((key, IN_TURN[state.remedies - 1]))
        else:
            series.suspect("its stream is dead and no remedy helped: REST answers")
            state.frames_at_quarantine = series.received
            self.quarantined[key] = at.steady + GIVEN_UP_FOR

    def _streamed(self, key: Key) -> Series | None:
        """Return the series of a key where it has a stream to itself."""
        series = self._store.get(key)
        return series if series is not None and series.feed.own_stream else None
