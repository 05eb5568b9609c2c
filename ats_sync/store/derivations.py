"""Which series of candles are derived from which, and which are derived no longer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ..feeds import FEEDS, Key
from ..venue.intervals import divides, most_within, nominal_length
from .derived import SPARE, DerivedKlines
from .series import Change, Series, StoreEvent


def source_of(interval: str, intervals: Iterable[str], most: int) -> str | None:
    """Return from which of these intervals the candles of ``interval`` are derived, None where from none: the largest
    that divides it, if one of its candles consists of at most ``most`` rows of it."""
    dividing = [each for each in intervals if divides(each, interval) and most_within(each, interval) <= most]
    return max(dividing, key=nominal_length, default=None)


class Derivations:
    """Those of one market. What changes them is called under the lock of the market; any thread may look things up.

    ``kept`` is how many rows of every series are kept at least, 0 where nothing is derived.
    """

    def __init__(self, kept: int) -> None:
        self._most = kept - SPARE
        # Replaced whole, never changed in place.
        self._series: Mapping[Key, Series] = {}
        self._derived: dict[Key, tuple[DerivedKlines, ...]] = {}  # by the series they are derived from
        self._separate: dict[Key, str] = {}  # series that are derived no longer, and why
        self._separated: list[Key] = []  # those of which the engine does not know yet

    # --- under the lock of the market ------------------------------------------------------------

    def plan(self, added: Collection[Key], known: Iterable[Key]) -> dict[Key, Key | None]:
        """Return from which series each new one is to be derived, None where from none, the sources before what is
        derived from them; ``known`` are those that there are."""
        if self._most <= 0:
            return dict.fromkeys(added)
        followed: dict[str, set[str]] = {}
        for key in (*known, *added):
            if FEEDS[key.kind].derivable:
                followed.setdefault(key.symbol, set()).add(key.interval)
        sources: dict[Key, Key | None] = {}
        for key in sorted(added, key=lambda key: nominal_length(key.interval)):
            interval = None
            if FEEDS[key.kind].derivable and key not in self._separate:
                interval = source_of(key.interval, followed[key.symbol], self._most)
            sources[key] = None if interval is None else key._replace(interval=interval)
        return sources

    def sort(self, series: Mapping[Key, Series]) -> list[DerivedKlines]:
        """Sort what is derived by its sources, now that these are the market's series; return what has lost its source,
        and has a stream of its own from now on."""
        derived: dict[Key, list[DerivedKlines]] = {}
        orphaned: list[DerivedKlines] = []
        for each in series.values() if self._most > 0 else ():
            if isinstance(each, DerivedKlines) and (source := each.source) is not None:
                if series.get(source.key) is source:
                    derived.setdefault(source.key, []).append(each)
                else:
                    self._separate_one(each)
                    orphaned.append(each)
        self._separate = {key: why for key, why in self._separate.items() if key in series}
        self._derived = {key: tuple(found) for key, found in derived.items()}
        self._series = series
        return orphaned

    def separate(self) -> list[DerivedKlines]:
        """Return what is to have a stream of its own by what was found of it, an ordinary series from now on."""
        apart = [each for group in self._derived.values() for each in group if each.apart]
        for each in apart:
            self._separate_one(each)
        return apart

    def take_separated(self) -> list[Key]:
        """Return the series that have just begun to have streams of their own, each once."""
        separated, self._separated = self._separated, []
        return separated

    def _separate_one(self, series: DerivedKlines) -> None:
        self._separate[series.key] = series.separate()
        self._separated.append(series.key)

    # --- on any thread ---------------------------------------------------------------------------

    def may_change(self) -> bool:
        """Return whether :meth:`separate` or :meth:`take_separated` may return anything."""
        return bool(self._derived or self._separated)

    def advance(self, key: Key) -> list[StoreEvent]:
        """Let what is derived from a series close with it; return what may have closed, and what lacks something that
        only REST can show."""
        events: list[StoreEvent] = []
        for series in self._all_derived_from(key):
            if series.advance():
                events.append(StoreEvent(Change.CLOSED, series.key))
            if series.apart:
                events.append(StoreEvent(Change.GAP, series.key))
        return events

    def derived_from(self, key: Key) -> list[Key]:
        """Return the series that are derived from one, directly or not, each after its source."""
        return [each.key for each in self._all_derived_from(key)]

    def _all_derived_from(self, key: Key) -> list[DerivedKlines]:
        found: list[DerivedKlines] = []
        for each in self._derived.get(key, ()):
            found += [each, *self._all_derived_from(each.key)]
        return found

    def root_of(self, key: Key) -> Key:
        """Return the key of the series whose stream feeds this one: its own, where it is not derived."""
        sources = self.sources_of(key)
        return sources[-1] if sources else key

    def sources_of(self, key: Key) -> list[Key]:
        """Return what a series is derived from, and what that is derived from, up to the series that has a stream."""
        sources: list[Key] = []
        series = self._series.get(key)
        while series is not None and series.source is not None:
            series = series.source
            sources.append(series.key)
        return sources

    def are_any(self) -> bool:
        """Return whether :meth:`derivation` may have anything to say."""
        return bool(self._derived or self._separate)

    def derivation(self, key: Key) -> str:
        """Return what is to be said of a series that is derived, or is derived no longer; "" of all others."""
        series = self._series.get(key) if self._derived else None
        if series is not None and series.source is not None:
            return f"derived from {series.source.key.interval}"
        return self._separate.get(key, "")
