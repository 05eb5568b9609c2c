"""The candles of many symbols as one table: what a scan of the whole market computes with."""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from .errors import AtsSyncError, InvalidArgument, NotInMemory
from .feeds import Key
from .queries.candles import KlineColumns
from .reads import Reads, as_read, memory_only, reads_memory_only
from .store.remembered import Column
from .tables import COLUMNS, WHOLE, Candles, frame_of, load

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Errors: TypeAlias = Literal["raise", "name"]
AT_ONCE = 64
"""The most symbols that wait for REST at the same time, each on a thread."""
_WHOLES = [index for index, name in enumerate(COLUMNS) if name in WHOLE]


class KlineBatch:
    """The newest candles of some symbols on one interval. It belongs to the caller."""

    columns = COLUMNS
    """What the last axis of :attr:`array` holds, in order."""

    def __init__(
        self,
        symbols: tuple[str, ...],
        array: np.ndarray[Any, np.dtype[np.float64]],
        errors: Mapping[str, AtsSyncError],
    ) -> None:
        self.symbols = symbols
        """What the first axis of :attr:`array` holds, in order."""
        self.array = array
        """float64 of the shape (symbols, rows, columns), oldest first. Times (ms) are exact. A symbol whose history is
        shorter has NaN in front, one of :attr:`errors` has nothing else."""
        self.errors = dict(errors)
        """What a read of each symbol that is not fresh raised."""

    def __repr__(self) -> str:
        symbols, rows, _ = self.array.shape
        return f"KlineBatch({symbols} symbols, {rows} rows, {len(self.errors)} errors)"

    def frame(self) -> pd.DataFrame:
        """Return a DataFrame with the columns of :meth:`~ats_sync.DataManager.get_klines_frame`, indexed by ``symbol``
        and ``open_time`` (UTC); without the rows that are NaN, and so without the symbols of :attr:`errors`.

        :class:`~ats_sync.errors.MissingExtra` where pandas is not installed.
        """
        numpy, pandas = load("numpy", "arrays"), load("pandas", "frames")
        there = ~numpy.isnan(self.array[:, :, 0])
        of, _ = numpy.nonzero(there)
        frame = frame_of(dict(zip(COLUMNS, self.array.transpose(2, 0, 1)[:, there], strict=True)))
        names = pandas.Categorical.from_codes(of, categories=list(self.symbols))
        frame.index = pandas.MultiIndex.from_arrays([names, frame.index], names=["symbol", "open_time"])
        return frame


def read_batch(reads: Reads, keys: Sequence[Key], limit: int, max_age: float | None, errors: Errors) -> KlineBatch:
    """Return the newest ``limit`` candles of every key: those that are fresh in memory first, the others by REST, side
    by side.

    Raises the first symbol's error where ``errors`` is "raise", once all have been tried.
    """
    if errors not in ("raise", "name"):
        raise InvalidArgument(f"errors must be 'raise' or 'name', not {errors!r}")
    numpy = load("numpy", "arrays")
    table = numpy.full((len(keys), len(COLUMNS), limit), numpy.nan)

    def fill(place: int, candles: Candles) -> None:
        if not candles:
            return
        if isinstance(candles[0], array):
            # (One copy; the whole numbers are written again as what they are.)
            block = numpy.frombuffer(b"".join(cast("Sequence[Column]", candles)), dtype="i8").reshape(len(COLUMNS), -1)
            count = block.shape[1]
            if count:
                room = table[place, :, limit - count :]
                room[:] = block.view("f8")
                for whole in _WHOLES:
                    room[whole] = block[whole]
        else:
            table[place, :, limit - len(candles) :] = numpy.array(candles, dtype="f8").T

    def read(place: int) -> None:
        # (The last known candles that an error carries must not get into the table.)
        fill(place, reads.read(KlineColumns(keys[place], limit, max_age), as_read))

    failed: dict[int, AtsSyncError] = {}
    with memory_only():
        for place in range(len(keys)):
            try:
                read(place)
            except AtsSyncError as error:
                failed[place] = error
    if not reads_memory_only():
        waiting = [place for place, error in failed.items() if isinstance(error, NotInMemory)]
        for place in waiting:
            del failed[place]
        failed |= _side_by_side(read, waiting)
    if failed and errors == "raise":
        raise failed[min(failed)]
    symbols = tuple(key.symbol for key in keys)
    return KlineBatch(symbols, table.transpose(0, 2, 1), {symbols[place]: failed[place] for place in sorted(failed)})


def _side_by_side(read: Callable[[int], None], places: Iterable[int]) -> dict[int, AtsSyncError]:
    """Read these, each of which waits for REST, on some threads and this one; return the errors."""
    left = deque(places)
    failed: dict[int, AtsSyncError] = {}

    def work() -> None:
        while True:
            try:
                place = left.popleft()
            except IndexError:
                return
            try:
                read(place)
            except AtsSyncError as error:
                failed[place] = error

    threads: list[threading.Thread] = []
    try:
        for number in range(1, min(len(left), AT_ONCE)):
            thread = threading.Thread(target=work, name=f"ats-batch-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                break  # those that run, and this one, do it all
            threads.append(thread)
        work()
        for thread in threads:
            thread.join()
    finally:
        left.clear()  # whoever is interrupted leaves nothing to be read
    return failed
