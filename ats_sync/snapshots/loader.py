"""Loads the rows that were kept before a start into its series.

They are used once exchangeInfo has shown that the symbol still names the same contract; until then the series do not
get them.
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
from .records import Record, contract_refusal, is_demanded, is_kept, key_of, refusal

if TYPE_CHECKING:
    from ..runtime.runtime import Runtime

log = logging.getLogger(__name__)

LISTED_WITHIN = 10.0
"""How long (seconds) loading waits for the listings."""
READY_WITHIN = 10.0
"""How long (seconds) the loading of series that a start does not wait for is delayed until the others are ready."""
AT_ONCE = 64
"""How many series are loaded together."""


class Kept(Protocol):
    """A place where rows were kept before this start."""

    name: str
    """What the log calls it."""
    waits_for_streams: bool
    """Whether trades that are missing after these rows are left to the streams for a while: a request for them is
    expensive, and nothing reads them yet."""

    def has(self, key: Key) -> bool:
        """Return whether it may have rows of a series. Performs no I/O."""

    def records(self, keys: Collection[Key]) -> Iterator[tuple[Key, Record | str]]:
        """Yield its record of each of these series, or the reason why that cannot be used; nothing for those it
        lacks."""

    def begun(self, series: Series) -> None:
        """Note that a series has just been loaded from here."""

    def demanded(self) -> Iterator[Record]:
        """Yield its records of series that were followed because they were read."""


class _Read(NamedTuple):
    """What was read of one series, and checked."""

    kept: Kept
    series: Series
    record: Record
    restored: Restored


class Loader:
    """Loads the series of one launch.

    Used by the thread ``ats-snapshot``. Other threads only call :meth:`expect`, before a series is followed, and append
    to :attr:`later`, after it is.
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
        """A series is loaded from the first of ``sources`` that has rows of it. ``demand(key, rows)`` follows a series
        as if it were read; ``stop`` ends every wait once it is set and the runtime is notified."""
        self._clock = clock
        self._store = store
        self._sources = sources
        self._stop = stop
        self._demand = demand
        self._exchange = config.exchange
        self._runtime: Runtime | None = None
        self.resuming: Key | None = None
        """The series that is being followed again: it expects the rows that were kept of it."""
        self.later: deque[Sequence[Key]] = deque()
        """Series that have been followed since the start; other threads only append."""
        self.loaded: Mapping[Key, Kept] = {}
        """Where each series that was loaded had its rows from. Replaced as a whole."""

    def expect(self, keys: Sequence[Key]) -> None:
        """Make the series of these keys wait for the rows that were kept of them. Call it before they are followed."""
        kept = {key for key in keys if is_kept(key) and any(source.has(key) for source in self._sources)}
        symbols = {key.symbol for key in kept}
        for key in keys:
            series = self._store.get(key)
            # Series that a start does not wait for are delayed for every symbol of which anything was kept.
            if series is not None and (key in kept or (key.symbol in symbols and not _gates_start(key))):
                series.expecting = True

    def begin(self, runtime: Runtime) -> None:
        """Load the series of this runtime from now on."""
        self._runtime = runtime

    def load(self) -> None:
        """Load the series that expect it."""
        self._load_listings()
        if not self._store.symbols:
            self._follow_again()
        self._load_expecting(self._store.series)

    def load_later(self) -> None:
        """Load the series that have been followed since the last call."""
        keys: list[Key] = []
        while self.later:
            keys += self.later.popleft()
        self._load_expecting(keys)

    def _load_expecting(self, keys: Iterable[Key]) -> None:
        """Load those of these series that expect it."""
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
            if rest:  # a start does not wait for these
                self._wait_until_ready()
            for keys in _batches(rest):
                self._begin(keys, self._read(keys, refused), refused)
        self._proceed(expecting)
        if refused:
            log.warning(
                "%d of %d series in %s are fetched again, the first because %s",
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
        """Wait until nothing is missing that a start waits for; series followed in the meantime are loaded at once."""
        deadline = self._clock.now() + READY_WITHIN
        while self._wait_for(lambda: bool(self.later) or self._nothing_missing(), deadline) and self.later:
            self.load_later()

    def _follow_again(self) -> None:
        """Follow what was read before this start, if nothing is followed from the start."""
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
        """Return what was kept of these series, as far as it can be used."""
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
                    # (Records of another exchange, or too old, are not worth decoding; their age is checked again
                    # later.)
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
        """Wait until the condition holds after a turn of the engine; return False if it does not by ``deadline``
        (monotonic)."""
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
        """Load these series with what was read of them, and let the engine continue with them."""
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
        """Load nothing more, and let the engine continue with all series."""
        self._sources = ()
        self._proceed(self._store.series)

    def _proceed(self, keys: Iterable[Key]) -> None:
        """Let the engine continue with those of these series that still wait."""
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
