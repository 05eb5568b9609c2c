"""The thread ``ats-snapshot``: loads what was kept before this start, then writes what has changed.

No other thread waits for it, and none notifies it of changes: once a minute it compares a change mark of each series
with that of its last write.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..clock import Clock
from ..config import Config
from ..feeds import FEEDS, Key
from ..status import SnapshotStatus
from ..store.market import MarketStore
from ..store.series import Series
from ..venue.payload import DecodeError
from .directory import Directory, InUse
from .loader import Kept, Loader
from .records import Record, file_name, folder_of, is_kept, unpack
from .schedule import WriteSchedule
from .writer import Writer, reason_of

if TYPE_CHECKING:
    from ..runtime.runtime import Runtime

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
TRY_EVERY = 10.0
"""How often (seconds) a directory that is in use is tried again."""
MARGIN = 0.2
"""Seconds reserved at the end of close() for the last write to finish."""


def _nothing(key: Key, rows: int) -> None:
    """Follow nothing."""


class _Files:
    """Rows that earlier starts wrote to a directory, available while this process has it locked."""

    waits_for_streams = True

    def __init__(self, path: str, writer: Writer) -> None:
        self.name = path
        self.directory: Directory | None = None
        self._writer = writer

    def has(self, key: Key) -> bool:
        return self.directory is not None and file_name(key) in self._writer.names

    def records(self, keys: Iterable[Key]) -> Iterator[tuple[Key, Record | str]]:
        directory = self.directory
        for key in keys:
            if directory is None:
                return
            try:
                yield key, unpack(directory.read(file_name(key)))
            except FileNotFoundError:
                continue
            except DecodeError as error:
                yield key, str(error)
            except OSError as error:
                yield key, reason_of(error)

    def begun(self, series: Series) -> None:
        self._writer.note_loaded(series)

    def demanded(self) -> Iterator[Record]:
        for name in sorted(self._writer.names):
            if (directory := self.directory) is None:
                return
            try:
                record = unpack(directory.read(name))
            except (OSError, DecodeError):
                continue  # it is read again, and reported, if it is followed
            if record.demanded > 0:
                yield record


class Snapshotter:
    """Loads the rows that earlier launches kept, and keeps those of this one.

    If the directory cannot be used, it logs this once and keeps nothing; if another manager uses it, this one takes
    over when that one has ended. (What is followed by then is not loaded.) Without a directory it only loads.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        demand: Callable[[Key, int], None] = _nothing,
        left: Kept | None = None,
    ) -> None:
        """``demand(key, rows)`` follows a series as if it were read; rows from ``left`` are preferred to those in the
        directory."""
        self._clock = clock
        self._store = store
        self._path = f"{config.state_dir}/{folder_of(config)}" if config.state_dir is not None else ""
        self._writer = Writer(config.exchange, self._path, clock, store)
        self._files = _Files(self._path, self._writer)
        self._runtime: Runtime | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()  # set with _stop, and when something is followed later
        self._loads = left is not None
        sources: list[Kept] = [left] if left is not None else []
        if config.state_dir is not None:
            sources.append(self._files)
        self._loader = Loader(config, clock, store, sources, self._stop, demand)
        self._deadline = 0.0  # until when (monotonic) the last rows may be written; set before _stop
        self._thread: threading.Thread | None = None
        # Written only by the thread, replaced as a whole; status() reads it.
        self._problem = ""
        self._try_again_at: float | None = None
        """When (monotonic) the directory is tried again; None if it is locked here or cannot be used."""
        if config.state_dir is not None:
            self._take()

    @property
    def _directory(self) -> Directory | None:
        return self._files.directory

    @property
    def resuming(self) -> Key | None:
        """The series that is being followed again: it expects the rows that were kept of it."""
        return self._loader.resuming

    def _take(self) -> None:
        """Lock the directory, or note why that is impossible."""
        directory = None
        try:
            directory = Directory(self._path)
            self._writer.names = directory.names()
            self._files.directory, self._try_again_at = directory, None
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
        self._problem = reason_of(error)
        log.warning("keeping no rows in %s for the next start: %s", self._path, self._problem)
        self._try_again_at = None
        if self._directory is not None:
            self._directory.release()
            self._files.directory = None

    def _try_again(self) -> None:
        """Lock the directory if a retry is due and the others have released it."""
        if self._try_again_at is not None and self._clock.now() >= self._try_again_at:
            self._take()
            if self._directory is not None:
                self._problem = ""
                log.info("keeping rows in %s from now on: it is free", self._path)

    # --- life ------------------------------------------------------------------------------------

    def expect(self, keys: Sequence[Key]) -> None:
        """Make the series of these keys wait for the rows that were kept of them. Call it before they are followed."""
        if self._thread is None or self._thread.is_alive():
            self._loader.expect(keys)

    def start(self, runtime: Runtime) -> None:
        """Start the thread if there is something to load, or if the directory can be used, now or later."""
        if self._directory is None and self._try_again_at is None and not self._loads:
            return
        self._runtime = runtime
        self._loader.begin(runtime)
        thread = threading.Thread(target=self._run, name="ats-snapshot", daemon=True)
        try:
            thread.start()
        except RuntimeError as failure:
            if self._path:
                self._give_up(OSError(f"its thread could not be started: {failure}"))
            else:
                log.warning("loading no rows: the thread could not be started: %s", failure)
            self._loader.give_up()
            return
        self._thread = thread

    def load(self, keys: Sequence[Key]) -> None:
        """Load those of these series that expect it. Call it after they are followed."""
        if self._thread is not None and self._thread.is_alive():
            self._loader.later.append(keys)
            self._wake.set()

    def stop(self, deadline: float) -> None:
        """Have what has changed written, until ``deadline`` (steady), and the thread ended; do not wait for it."""
        self._deadline = deadline
        self._stop.set()
        self._wake.set()
        if self._thread is None and self._directory is not None:
            self._directory.release()
        elif self._runtime is not None:
            with self._runtime.changed:
                self._runtime.changed.notify_all()

    def join(self, deadline: float) -> None:
        """Wait for the thread until ``deadline`` (steady)."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - self._clock.now()))
            if thread.is_alive():
                log.warning("the disk is slow: %s still writes after close()", thread.name)

    def status(self) -> SnapshotStatus:
        """Return where the rows are kept, how many were loaded, and when the last were written."""
        loaded, series = self._loader.loaded, self._store.series
        unaudited = sum(series[key].unaudited for key in loaded if key in series)
        problem, written_at = self._problem or self._writer.problem, self._writer.written_at
        return SnapshotStatus(self._path, problem, written_at, len(loaded), unaudited)

    def _run(self) -> None:
        runtime = self._runtime
        assert runtime is not None
        try:
            self._loader.load()
            schedule = WriteSchedule(self._clock.now())
            while not self._stop.is_set():
                writes = self._directory is not None or self._try_again_at is not None
                self._clock.wait(self._wake, LOOK_EVERY if writes else None)
                self._wake.clear()
                if self._stop.is_set():
                    break
                self._try_again()
                due = schedule.due(self._kept(), self._clock.now())
                if self._loader.later:
                    self._loader.load_later()
                if (directory := self._directory) is not None:
                    self._writer.write(runtime, directory, due)
            if (directory := self._directory) is not None:
                last = sorted(self._kept(), key=_write_order)
                self._writer.write(runtime, directory, last, until=self._deadline - MARGIN)
        except Exception:
            log.exception("loading and keeping no more rows")
            self._problem = "an error in this library; its log has the details"
            self._loader.give_up()
        finally:
            if (directory := self._directory) is not None:
                directory.release()

    def _kept(self) -> list[Key]:
        return [key for key in self._store.series if is_kept(key)]


def _write_order(key: Key) -> int:
    return FEEDS[key.kind].write_order or 0
