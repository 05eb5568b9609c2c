"""Writes to disk what has changed of the series since it was last written."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..clock import Clock
from ..feeds import Key
from ..store.market import MarketStore
from ..store.series import Series
from .directory import Directory
from .records import Record, file_name, pack

if TYPE_CHECKING:
    from ..runtime.runtime import Runtime

log = logging.getLogger(__name__)


class Writer:
    """Used by one thread. Any thread may read what is public: each is replaced whole."""

    def __init__(self, exchange: tuple[str, ...], path: str, clock: Clock, store: MarketStore) -> None:
        """``path`` is what the log calls the directory."""
        self._exchange = exchange
        self._path = path
        self._clock = clock
        self._store = store
        self.names: set[str] = set()
        """The names of all files in the directory."""
        self._marks: dict[Key, tuple[Series, object]] = {}
        """Of each series the marks of what is on disk."""
        self.written_at: float | None = None
        """When (epoch seconds) something was last written, None before the first time."""
        self.problem = ""
        """Why writing fails, "" where it does not."""

    def note_loaded(self, series: Series) -> None:
        """Note that what a series knows now is what is on disk."""
        self._marks[series.key] = series, series.dump_mark()

    def write(self, runtime: Runtime, directory: Directory, keys: Iterable[Key], until: float | None = None) -> None:
        """Write those of these series that have changed; none is begun after ``until`` (steady)."""
        store = self._store
        # In one turn of the engine, so that what it knows of a contract is about the very series that are in the store.
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
                self._note_failure(error)
                return
            if written:
                self._note_success()

    def _write_one(self, directory: Directory, series: Series, onboarded: int, *, demanded: bool) -> bool:
        """Write a series where it has changed; return whether it has."""
        key, mark = series.key, series.dump_mark()
        if mark is None or self._marks.get(key) == (series, mark):
            return False
        if not (self._clock.synchronised and self._clock.proven()):
            return False  # the time of its rows would not be known
        if key.symbol and not onboarded:
            return False  # the contract of its rows would not be known
        parts = tuple(series.dump())
        if not parts:
            return False
        now = self._clock.exchange_ms()
        rows = max(1, series.state(now).rows) if demanded else 0
        record = Record(self._exchange, onboarded if key.symbol else 0, now, parts, rows)
        directory.write(file_name(key), pack(record))
        self.names.add(file_name(key))
        self._marks[key] = series, mark
        self.written_at = self._clock.wall()
        return True

    def _note_failure(self, failure: OSError) -> None:
        """Log once that writing fails."""
        if not self.problem:
            log.warning("rows cannot be written to %s for the next start: %s", self._path, reason_of(failure))
        self.problem = reason_of(failure)

    def _note_success(self) -> None:
        """Log once that writing works again."""
        if self.problem:
            self.problem = ""
            log.info("writing rows to %s again", self._path)


def reason_of(failure: OSError) -> str:
    """Return in words why the disk could not be used."""
    return failure.strerror or str(failure) or type(failure).__name__
