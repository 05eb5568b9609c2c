"""Loads what was kept before a start into its series: on the thread ``ats-snapshot``, before it writes.

What was loaded counts once exchangeInfo has shown that its name still belongs to the same contract; until then the
series know nothing of it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..clock import Clock
from ..config import Config
from ..feeds import FEEDS, LISTINGS, Key
from ..store.market import MarketStore
from ..store.series import Restored, Series
from ..venue.payload import DecodeError
from .records import Record, contract_refusal, exchange_of, is_demanded, is_kept, key_of, refusal

if TYPE_CHECKING:
    from ..runtime.runtime import Runtime

log = logging.getLogger(__name__)

LISTED_WITHIN = 10.0
"""How long (seconds) what was kept waits for the listings."""
READY_WITHIN = 10.0
"""How long (seconds) what a start does not wait for is put off until the rest is ready."""
AT_ONCE = 64
"""Series that are begun together."""


class Kept(Protocol):
    """Rows that were kept before this start, wherever that is."""

    name: str
    """Where they are kept, for the log."""
    waits_for_streams: bool
    """Whether what is missing after them is left to the streams for a while, since nobody reads it yet."""

    def has(self, key: Key) -> bool:
        """Return whether it may have rows of a series. Does no I/O."""

    def records(self, keys: Collection[Key]) -> Iterator[tuple[Key, Record | str]]:
        """Yield what it has of each of these series, or why that is of no use; nothing for those it lacks."""

    def begun(self, series: Series) -> None:
        """Note that a series has just begun with what it has of that."""

    def demanded(self) -> Iterator[Record]:
        """Yield what it has of series that were followed because they were read."""


class _Read(NamedTuple):
    """What was read of one series, and checked."""

    kept: Kept
    series: Series
    record: Record
    restored: Restored


class Loader:
    """Begins the series of one launch with what was kept.

    The thread ``ats-snapshot`` calls it; others only call :meth:`expect`, before a series is followed, and append to
    :attr:`later` after it is.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        sources: Sequence[Kept],
        stop: threading.Event,
        demand: Callable[[Key, int], None],
    ) -> None:
        """Of several ``sources`` the first counts that has rows of a series. ``demand(key, rows)`` follows a series as
        if it were read; ``stop`` ends every wait once it is set and the runtime is notified."""
        self._clock = clock
        self._store = store
        self._sources = sources
        self._stop = stop
        self._demand = demand
        self._exchange = exchange_of(config)
        self._runtime: Runtime | None = None
        self.resuming: Key | None = None
        """What is being followed again: it expects what was kept."""
        self.later: deque[Sequence[Key]] = deque()
        """Series that have been followed since the start; other threads only append."""
        self.loaded: Mapping[Key, Kept] = {}
        """Where the rows had been kept with which each series has begun. Replaced whole."""

    def expect(self, keys: Sequence[Key]) -> None:
        """Let the series of these keys wait for what was kept of them. Before they are followed."""
        kept = {key for key in keys if is_kept(key) and any(source.has(key) for source in self._sources)}
        symbols = {key.symbol for key in kept}
        for key in keys:
            series = self._store.get(key)
            # What a start does not wait for is put off for every symbol of which there is something.
            if series is not None and (key in kept or (key.symbol in symbols and not _gates_start(key))):
                series.expecting = True

    def begin(self, runtime: Runtime) -> None:
        """The series belong to the launch of this runtime."""
        self._runtime = runtime

    def load(self) -> None:
        """Begin the series that expect it with what was kept."""
        self._load_listings()
        if not self._store.symbols:
            self._follow_again()
        self._load_expecting(self._store.series)

    def load_later(self) -> None:
        """Begin the series that were followed since the last time."""
        keys: list[Key] = []
        while self.later:
            keys += self.later.popleft()
        self._load_expecting(keys)

    def _load_expecting(self, keys: Iterable[Key]) -> None:
        """Begin those of these series that expect it."""
        expecting = [key for key in keys if (series := self._store.get(key)) is not None and series.expecting]
        if not expecting:
            return
        before = self.loaded
        first = sorted(filter(_gates_start, expecting), key=_warm_up_order)
        rest = [key for key in expecting if not _gates_start(key)]
        refused: dict[str, int] = {}
        deadline = self._clock.now() + LISTED_WITHIN
        read = []
        for keys in _batches(first):
            read.append((keys, self._read(keys, refused)))
            while read and self._is_listed():
                self._begin(*read.pop(0), refused)
        if self._wait_for(self._is_listed, deadline):
            for keys, found in read:
                self._begin(keys, found, refused)
            if rest:  # no start waits for these
                self._wait_until_ready()
            for keys in _batches(rest):
                self._begin(keys, self._read(keys, refused), refused)
        self._proceed(expecting)
        if refused:
            log.warning(
                "%d of %d series in %s are begun again, the first because %s",
                sum(refused.values()),
                len(expecting),
                self._names(self._sources),
                next(iter(refused)),
            )
        if new := [kept for key, kept in self.loaded.items() if key not in before]:
            log.info("%d of %d series were loaded from %s", len(new), len(expecting), self._names(new))

    @staticmethod
    def _names(sources: Iterable[Kept]) -> str:
        return " and ".join(dict.fromkeys(source.name for source in sources))

    def _wait_until_ready(self) -> None:
        """Wait until nothing is missing that a start waits for; what is followed meanwhile is loaded at once."""
        deadline = self._clock.now() + READY_WITHIN
        while self._wait_for(lambda: bool(self.later) or self._nothing_missing(), deadline) and self.later:
            self.load_later()

    def _follow_again(self) -> None:
        """Follow what was read before this start, where nothing is followed from the start."""
        if not self._wait_for(self._is_listed, self._clock.now() + LISTED_WITHIN):
            return
        now = self._clock.exchange_ms()
        for record in (record for source in self._sources for record in source.demanded()):
            key = key_of(record)
            if key is None or not is_kept(key) or not is_demanded(record, self._exchange, now):
                continue
            if self._stop.is_set() or self._store.is_gone(key.symbol):
                continue
            self.resuming = key
            self._demand(key, record.demanded)
        self.resuming = None

    def _load_listings(self) -> None:
        read = self._read([LISTINGS], {}).get(LISTINGS)
        if read is not None and not refusal(read.record, self._exchange, self._clock.exchange_ms()):
            read.restored.begin()

    def _read(self, keys: Sequence[Key], refused: dict[str, int]) -> dict[Key, _Read]:
        """Return what was kept of these series, as far as it is of use."""
        found: dict[Key, _Read] = {}
        left = list(keys)
        for source in self._sources:
            for key, kept in source.records([key for key in left if source.has(key)]):
                if self._stop.is_set():
                    return found
                series = self._store.get(key)
                if series is None:
                    continue
                restored, why = None, kept if isinstance(kept, str) else ""
                if not isinstance(kept, str):
                    # (What is of another exchange, or too old, is not worth decoding; of when it is, is looked at
                    # again.)
                    why = "" if kept.exchange == self._exchange else refusal(kept, self._exchange, kept.written)
                    try:
                        restored = series.prepare(kept.parts) if not why else None
                    except DecodeError as error:
                        why = str(error)
                    if restored is not None:
                        found[key] = _Read(source, series, kept, restored)
                if why:
                    refused[why] = refused.get(why, 0) + 1
            left = [key for key in left if key not in found]
        return found

    def _is_listed(self) -> bool:
        """Return whether the listings have come, and with them the exchange's time."""
        return self._store.listings.get() is not None and self._clock.synchronised

    def _nothing_missing(self) -> bool:
        assert self._runtime is not None
        return not self._runtime.still_missing(None)

    def _wait_for(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Wait until the condition holds after a turn of the engine; return False where it does not until ``deadline``
        (steady)."""
        runtime = self._runtime
        assert runtime is not None
        with runtime.changed:
            while not condition():
                left = deadline - self._clock.now()
                if left <= 0 or runtime.stopped or self._stop.is_set():
                    return False
                runtime.changed.wait(left)
        return True

    def _begin(self, keys: Sequence[Key], found: Mapping[Key, _Read], refused: dict[str, int]) -> None:
        """Begin these series with what was read of them, and have the engine go on with them."""
        begun: dict[Key, Kept] = {}
        info = self._store.listings.get()
        onboarded = info.value.onboarded if info is not None else {}
        now = self._clock.exchange_ms()
        for key, read in found.items():
            event = self._store.contracts.get(key.symbol)
            announced = event.onboarded if event is not None else 0
            why = refusal(read.record, self._exchange, now)
            why = why or contract_refusal(read.record, read.restored.until, onboarded.get(key.symbol, 0), announced)
            if why:
                refused[why] = refused.get(why, 0) + 1
            elif self._store.get(key) is read.series:
                read.restored.begin()
                read.kept.begun(read.series)
                begun[key] = read.kept
        self.loaded = {**self.loaded, **begun}
        symbols = {key.symbol for key, kept in self.loaded.items() if kept.waits_for_streams}
        for key in keys:
            series = self._store.get(key)
            if series is not None and key.symbol in symbols:
                series.leave_to_stream()
        self._proceed(keys)

    def give_up(self) -> None:
        """Load nothing more: have the engine go on with all series."""
        self._sources = ()
        self._proceed(self._store.series)

    def _proceed(self, keys: Iterable[Key]) -> None:
        """Have the engine go on with those of these series that still wait."""
        waiting = [key for key in keys if (series := self._store.get(key)) is not None and series.expecting]
        if waiting and self._runtime is not None:
            self._runtime.restored(waiting)


def _gates_start(key: Key) -> bool:
    return FEEDS[key.kind].gates_start


def _warm_up_order(key: Key) -> int:
    return FEEDS[key.kind].warm_up_order


def _batches(keys: list[Key]) -> Iterator[list[Key]]:
    for begin in range(0, len(keys), AT_ONCE):
        yield keys[begin : begin + AT_ONCE]
