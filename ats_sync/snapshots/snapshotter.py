"""The thread ``ats-snapshot``: loads what was written by the last run, then writes what has changed.

No other thread waits for it, and none notifies it of changes: once a minute it compares a change mark of each series
with that of its last write. Loaded rows are used once exchangeInfo has shown that the symbol still names the same
contract; until then the series do not get them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..clock import Clock
from ..config import Config
from ..feeds import FEEDS, Key, Kind
from ..status import SnapshotStatus
from ..store.market import MarketStore
from ..store.series import Restored, Series
from ..venue.payload import DecodeError
from .directory import Directory, InUse
from .records import (
    Record,
    contract_refusal,
    exchange_of,
    file_name,
    folder_of,
    is_demanded,
    is_kept,
    key_of,
    pack,
    refusal,
    unpack,
)
from .schedule import WriteSchedule

if TYPE_CHECKING:
    from ..runtime.runtime import Runtime

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
LISTED_WITHIN = 10.0
"""How long (seconds) loading waits for the listings."""
READY_WITHIN = 10.0
"""How long (seconds) the loading of series that a start does not wait for is delayed until the others are ready."""
AT_ONCE = 64
"""How many series are loaded together."""
TRY_EVERY = 10.0
"""How often (seconds) a directory that is in use is tried again."""
MARGIN = 0.2
"""Seconds reserved at the end of close() for the last write to finish."""
LISTINGS = Key(Kind.LISTINGS)


def _nothing(key: Key, rows: int) -> None:
    """Follow nothing."""


class _Read(NamedTuple):
    """What was read of one series, and checked."""

    series: Series
    record: Record
    restored: Restored


class Snapshotter:
    """Keeps the rows of one launch. If the directory cannot be used, it logs this once and keeps nothing; if another
    manager uses it, this one takes over when that one has ended. (What is followed by then is not loaded.)
    """

    def __init__(
        self, config: Config, clock: Clock, store: MarketStore, demand: Callable[[Key, int], None] = _nothing
    ) -> None:
        """``demand(key, rows)`` follows a series as if it were read."""
        assert config.state_dir is not None
        self._config = config
        self._clock = clock
        self._store = store
        self._demand = demand
        self._exchange = exchange_of(config)
        self._path = f"{config.state_dir}/{folder_of(config)}"
        self._directory: Directory | None = None
        self._runtime: Runtime | None = None
        self.resuming: Key | None = None
        """The series that is being followed again: it expects its rows from the snapshot."""
        self._stop = threading.Event()
        self._wake = threading.Event()  # set with _stop, and when something is followed later
        self._later: deque[Sequence[Key]] = deque()
        """Series that have been followed since the start; each entry is added before _wake is set."""
        self._deadline = 0.0  # until when (monotonic) the last rows may be written; set before _stop
        self._thread: threading.Thread | None = None
        # Written only by the thread, each replaced as a whole; status() reads them.
        self._problem = ""
        self._written_at: float | None = None
        self._loaded: frozenset[Key] = frozenset()
        self._names: set[str] = set()
        self._marks: dict[Key, tuple[Series, object]] = {}
        self._failed = False
        self._try_again_at: float | None = None
        """When (monotonic) the directory is tried again; None if it is locked here or cannot be used."""
        self._take()

    def _take(self) -> None:
        """Lock the directory, or note why that is impossible."""
        directory = None
        try:
            directory = Directory(self._path)
            self._names = directory.names()
            self._directory, self._try_again_at = directory, None
        except InUse as error:
            if self._try_again_at is None:
                self._problem = str(error)
                log.warning("keeping no rows in %s until it is free: %s", self._path, error)
            self._try_again_at = self._clock.now() + TRY_EVERY
        except OSError as error:
            if directory is not None:
                directory.release()
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._problem = error.strerror or str(error)
        log.warning("keeping no rows in %s for the next start: %s", self._path, self._problem)
        self._try_again_at = None
        if self._directory is not None:
            self._directory.release()
            self._directory = None

    def _try_again(self) -> None:
        """Lock the directory if a retry is due and the others have released it."""
        if self._try_again_at is not None and self._clock.now() >= self._try_again_at:
            self._take()
            if self._directory is not None:
                self._problem = ""
                log.info("keeping rows in %s from now on: it is free", self._path)

    # --- life ------------------------------------------------------------------------------------

    def expect(self, keys: Sequence[Key]) -> None:
        """Make the series of these keys wait for their rows from the snapshot. Call it before they are followed."""
        if self._directory is None or (self._thread is not None and not self._thread.is_alive()):
            return
        kept = {key for key in keys if is_kept(key) and file_name(key) in self._names}
        symbols = {key.symbol for key in kept}
        for key in keys:
            series = self._store.get(key)
            # Series that a start does not wait for are delayed for every symbol that has anything in the snapshot.
            if series is not None and (key in kept or (key.symbol in symbols and not _gates_start(key))):
                series.expecting = True

    def start(self, runtime: Runtime) -> None:
        """Start the thread if the directory can be used, now or later."""
        if self._directory is None and self._try_again_at is None:
            return
        self._runtime = runtime
        thread = threading.Thread(target=self._run, name="ats-snapshot", daemon=True)
        try:
            thread.start()
        except RuntimeError as failure:
            self._give_up(OSError(f"its thread could not be started: {failure}"))
            self._proceed(self._store.series)
            return
        self._thread = thread

    def load(self, keys: Sequence[Key]) -> None:
        """Load those of these series that expect it from the snapshot. Call it after they are followed."""
        if self._thread is not None and self._thread.is_alive():
            self._later.append(keys)
            self._wake.set()

    def stop(self, deadline: float) -> None:
        """Make the thread write what has changed, until ``deadline`` (monotonic), and end; do not wait for it."""
        self._deadline = deadline
        self._stop.set()
        self._wake.set()
        if self._thread is None and self._directory is not None:
            self._directory.release()
        elif self._runtime is not None:
            with self._runtime.changed:
                self._runtime.changed.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for the thread until ``deadline`` (monotonic)."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - self._clock.now()))
            if thread.is_alive():
                log.warning("the disk is slow: %s still writes after close()", thread.name)

    def status(self) -> SnapshotStatus:
        """Return where the rows are kept, how many were loaded, and when the last were written."""
        loaded, series = self._loaded, self._store.series
        unaudited = sum(series[key].unaudited for key in loaded if key in series)
        return SnapshotStatus(self._path, self._problem, self._written_at, len(loaded), unaudited)

    def _run(self) -> None:
        try:
            if (directory := self._directory) is not None:
                self._load(directory)
            schedule = WriteSchedule(self._clock.now())
            while not self._stop.is_set():
                self._clock.wait(self._wake, LOOK_EVERY)
                self._wake.clear()
                if self._stop.is_set():
                    break
                self._try_again()
                due = schedule.due(self._kept(), self._clock.now())
                if (directory := self._directory) is None:
                    self._later.clear()  # nothing expects it
                    continue
                if self._later:
                    self._load_later(directory)
                self._write(directory, due)
            if directory is not None:
                self._write(directory, sorted(self._kept(), key=_write_order), until=self._deadline - MARGIN)
        except Exception:
            log.exception("keeping no more rows in %s for the next start", self._path)
            self._problem = "an error in this library; its log has the details"
            self._proceed(self._store.series)
        finally:
            if (directory := self._directory) is not None:
                directory.release()

    # --- loading ---------------------------------------------------------------------------------

    def _load(self, directory: Directory) -> None:
        """Load the series that expect it from the snapshot."""
        self._load_listings(directory, {})
        if not self._store.symbols:
            self._follow_again(directory)
        self._load_expecting(directory, self._store.series)

    def _load_later(self, directory: Directory) -> None:
        """Load the series that have been followed since the last call."""
        later: list[Key] = []
        while self._later:
            later += self._later.popleft()
        self._load_expecting(directory, later)

    def _load_expecting(self, directory: Directory, keys: Iterable[Key]) -> None:
        """Load those of these series that expect it."""
        expecting = [key for key in keys if (series := self._store.get(key)) is not None and series.expecting]
        before = len(self._loaded)
        first = sorted(filter(_gates_start, expecting), key=_warm_up_order)
        rest = [key for key in expecting if not _gates_start(key)]
        refused: dict[str, int] = {}
        deadline = self._clock.now() + LISTED_WITHIN
        read = []
        for keys in _batches(first):
            read.append((keys, self._read(directory, keys, refused)))
            while read and self._is_listed():
                self._begin(*read.pop(0), refused)
        if self._wait_for(self._is_listed, deadline):
            for keys, found in read:
                self._begin(keys, found, refused)
            if rest:  # a start does not wait for these
                self._wait_until_ready(directory)
            for keys in _batches(rest):
                self._begin(keys, self._read(directory, keys, refused), refused)
        self._proceed(expecting)
        if refused:
            log.warning(
                "%d of %d series in %s are fetched again, the first because %s",
                sum(refused.values()),
                len(expecting),
                self._path,
                next(iter(refused)),
            )
        if len(self._loaded) > before:
            log.info("%d of %d series were loaded from %s", len(self._loaded) - before, len(expecting), self._path)

    def _wait_until_ready(self, directory: Directory) -> None:
        """Wait until nothing is missing that a start waits for; series followed in the meantime are loaded at once."""
        deadline = self._clock.now() + READY_WITHIN
        while self._wait_for(lambda: bool(self._later) or self._nothing_missing(), deadline) and self._later:
            self._load_later(directory)

    def _follow_again(self, directory: Directory) -> None:
        """Follow what was read before this start, if nothing is followed from the start."""
        if not self._wait_for(self._is_listed, self._clock.now() + LISTED_WITHIN):
            return
        now = self._clock.exchange_ms()
        for name in sorted(self._names):
            try:
                record = unpack(directory.read(name))
            except (OSError, DecodeError):
                continue  # it is read again, and reported, if it is followed
            key = key_of(record)
            if key is None or not is_kept(key) or not is_demanded(record, self._exchange, now):
                continue
            if self._stop.is_set() or self._store.is_gone(key.symbol):
                continue
            self.resuming = key
            self._demand(key, record.demanded)
        self.resuming = None

    def _load_listings(self, directory: Directory, refused: dict[str, int]) -> None:
        if file_name(LISTINGS) not in self._names:
            return
        read = self._read(directory, [LISTINGS], refused).get(LISTINGS)
        if read is not None and not refusal(read.record, self._exchange, self._clock.exchange_ms()):
            read.restored.begin()

    def _read(self, directory: Directory, keys: Iterable[Key], refused: dict[str, int]) -> dict[Key, _Read]:
        """Return what the files of these series contain, as far as it can be used."""
        found: dict[Key, _Read] = {}
        for key in keys:
            series = self._store.get(key)
            if self._stop.is_set():
                break
            if series is None:
                continue
            try:
                record = unpack(directory.read(file_name(key)))
                # (Records of another exchange, or too old, are not worth decoding; their age is checked again later.)
                why = "" if record.exchange == self._exchange else refusal(record, self._exchange, record.written)
                restored = series.prepare(record.parts) if not why else None
            except FileNotFoundError:
                continue
            except DecodeError as error:
                why, restored = str(error), None
            except OSError as error:
                why, restored = error.strerror or str(error), None
            if restored is not None:
                found[key] = _Read(series, record, restored)
            elif why:
                refused[why] = refused.get(why, 0) + 1
        return found

    def _is_listed(self) -> bool:
        """Return whether the listings have arrived, and with them the exchange's time."""
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

    def _begin(self, keys: list[Key], found: dict[Key, _Read], refused: dict[str, int]) -> None:
        """Begin these series with the rows that were read, and let the engine continue with them."""
        runtime = self._runtime
        assert runtime is not None
        begun = []
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
                self._marks[key] = read.series, read.series.dump_mark()  # this state is on disk
                begun.append(key)
        self._loaded = self._loaded.union(begun)
        symbols = {key.symbol for key in self._loaded}
        for key in keys:
            series = self._store.get(key)
            if series is not None and key.symbol in symbols:
                series.leave_to_stream()
        self._proceed(keys)

    def _proceed(self, keys: Iterable[Key]) -> None:
        """Let the engine continue with those of these series that still wait."""
        waiting = [key for key in keys if (series := self._store.get(key)) is not None and series.expecting]
        if waiting and self._runtime is not None:
            self._runtime.restored(waiting)

    # --- writing ---------------------------------------------------------------------------------

    def _kept(self) -> list[Key]:
        return [key for key in self._store.series if is_kept(key)]

    def _write(self, directory: Directory, keys: Iterable[Key], until: float | None = None) -> None:
        """Write those of these series that have changed; no write starts after ``until`` (monotonic)."""
        runtime, store = self._runtime, self._store
        assert runtime is not None
        # In one turn of the engine, so that what it knows of a contract belongs to the series that are in the store.
        kept = runtime.query(
            lambda engine, at: [
                (series, engine.listings.onboarded(key.symbol), key in engine.demand)
                for key in keys
                if (series := store.get(key)) is not None
            ]
        )
        if len(self._marks) > len(store.series):
            self._marks = {key: mark for key, mark in self._marks.items() if key in store.series}
        for series, onboarded, demanded in kept:
            if until is not None and self._clock.now() >= until:
                break
            try:
                written = self._write_one(directory, series, onboarded, demanded=demanded)
            except OSError as error:
                self._note(error)
                return
            if written:
                self._note(None)

    def _write_one(self, directory: Directory, series: Series, onboarded: int, *, demanded: bool) -> bool:
        """Write a series if it has changed; return whether it was written."""
        key, mark = series.key, series.dump_mark()
        if mark is None or self._marks.get(key) == (series, mark):
            return False
        if not (self._clock.synchronised and self._clock.proven()):
            return False  # its time would not be certain
        if key.symbol and not onboarded:
            return False  # its contract would not be certain
        parts = tuple(series.dump())
        if not parts:
            return False
        now = self._clock.exchange_ms()
        rows = max(1, series.state(now).rows) if demanded else 0
        record = Record(self._exchange, onboarded if key.symbol else 0, now, parts, rows)
        directory.write(file_name(key), pack(record))
        self._names.add(file_name(key))
        self._marks[key] = series, mark
        self._written_at = self._clock.wall()
        return True

    def _note(self, failure: OSError | None) -> None:
        """Log once that writing fails, and once that it works again."""
        if failure is not None:
            self._problem = failure.strerror or str(failure)
            if not self._failed:
                log.warning("rows cannot be written to %s for the next start: %s", self._path, self._problem)
        elif self._failed:
            self._problem = ""
            log.info("writing rows to %s again", self._path)
        self._failed = failure is not None


def _gates_start(key: Key) -> bool:
    return FEEDS[key.kind].gates_start


def _warm_up_order(key: Key) -> int:
    return FEEDS[key.kind].warm_up_order


def _batches(keys: list[Key]) -> Iterator[list[Key]]:
    for begin in range(0, len(keys), AT_ONCE):
        yield keys[begin : begin + AT_ONCE]


def _write_order(key: Key) -> int:
    return FEEDS[key.kind].write_order or 0
