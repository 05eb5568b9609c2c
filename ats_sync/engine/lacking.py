"""How many candle series are followed, and how many of those that were live need a repair, for which room is kept.

Most of them lack nothing, so they are not all examined: a series to which something may have happened is noted, and
only noted ones are examined, until they lack nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..feeds import Cause, Key
from ..store.market import MarketStore
from .state import State


class LackingCandles:
    """Counts the candle series in ``states``."""

    def __init__(self, store: MarketStore, states: Mapping[Key, State]) -> None:
        self._store = store
        self._states = states
        self._noted: dict[Key, State] = {}
        self._followed: int | None = None  # None: to be counted again

    def note(self, state: State) -> None:
        """Examine a series at the next counts: a repair was scheduled for it, or it is no longer live."""
        if _counts(state):
            self._noted[state.key] = state

    def note_all(self) -> None:
        """Examine every series at the next count, since a connection has ended: many have lost their stream at once."""
        for state in self._states.values():
            self.note(state)

    def recount(self) -> None:
        """Count the followed series again: some were added, dropped or delisted."""
        self._followed = None

    def count(self) -> tuple[int, int]:
        """Return how many are followed, and how many of those that were live need a repair."""
        if self._followed is None:
            self._followed = sum(self._is_followed(state) for state in self._states.values())
        lacking, states, series = 0, self._states, self._store.series
        for key, state in list(self._noted.items()):
            if state.delisted or key not in series or key not in states or states[key] is not state:
                del self._noted[key]
                continue
            link = series[key].link
            repairing = state.cause is Cause.REPAIR and (state.due is not None or state.fetching is not None)
            if repairing or link is None or not link.up:
                lacking += state.live_once
            else:
                del self._noted[key]
        return self._followed, lacking

    def _is_followed(self, state: State) -> bool:
        return _counts(state) and not state.delisted and self._store.get(state.key) is not None


def _counts(state: State) -> bool:
    return state.feed.closes and not state.feed.spot
