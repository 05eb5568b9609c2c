"""Comparisons of what a reader got with what was true: every function raises :class:`BrokenPromise`.

``since`` and ``until`` (ms): the answer must contain everything that the exchange had reported by ``since``, and
nothing that it had not made by ``until``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ats_sync.venue.books import Book
from ats_sync.venue.intervals import next_open, open_time
from ats_sync.venue.trades import Trade
from ats_sync.venue.values import Mark

from .exchange import BrokenPromise
from .reported import BookTruth, KlineTruth, Position, TradeTruth

FINAL_REPORTED_AFTER = 2_100
"""A candle's last change is reported at most this long (ms) after its close."""
AHEAD = 400
"""By so much (ms) our idea of the exchange's time may be ahead."""
FLAT_FOR = 65_000
"""A candle that REST does not show may be served, flat, for so long (ms) after its close."""
NEVER: tuple[int, ...] = ()

Row = list[Any]


def check_invariants(rows: Sequence[Row], interval: str, truth: KlineTruth, times: Sequence[int] = NEVER) -> None:
    """Check that open times increase by the interval, except where REST showed no candle at one of ``times``, and that
    prices are in order."""
    for before, after in pairwise(rows):
        expected = next_open(interval, before[0])
        while expected < after[0] and any(truth.hidden(expected, time) for time in times):
            expected = next_open(interval, expected)
        if expected != after[0]:
            raise BrokenPromise(f"a hole or a duplicate: {before[0]} is followed by {after[0]} in {interval}")
    for row in rows:
        opened, o, h, low, c = row[0], *map(float, row[1:5])
        if not low <= min(o, c) <= max(o, c) <= h:
            raise BrokenPromise(f"not a candle: {row}")
        if row[6] != next_open(interval, opened) - 1:
            raise BrokenPromise(f"a wrong close time: {row}")


def check_klines(
    rows: Sequence[Row],
    interval: str,
    truth: KlineTruth,
    *,
    since: int,
    until: int,
    last_reported: tuple[int, Position] | None,
    closed: int | None = None,
) -> None:
    """``last_reported``: open time and position that the newest candle must at least have reached; ``closed``: candles
    that ended before that time must be final (default: ``since``)."""
    first = truth.first_at(until)
    if not rows:
        if truth.first_at(since) is not None and first is not None:
            raise BrokenPromise("no rows at all")
        return
    if first is None or rows[0][0] < first:
        raise BrokenPromise(f"older than its contract, which begins with {first}: {rows[0]}")
    check_invariants(rows, interval, truth, (since, until))
    newest = rows[-1][0]
    if newest > until + AHEAD:
        raise BrokenPromise(f"a candle that opens {newest - until} ms from now: {rows[-1]}")
    lacking = next_open(interval, newest)
    while lacking <= open_time(interval, since):
        if truth.first_at(since) is not None and not truth.hidden(lacking, since) and not truth.hidden(lacking, until):
            raise BrokenPromise(f"the newest row opened at {newest}, the exchange is at {since} or later")
        lacking = next_open(interval, lacking)
    if last_reported is not None:
        opened, reported = last_reported
        held = next((row for row in reversed(rows) if row[0] == opened), None)
        if held is None:
            if opened > newest:
                raise BrokenPromise(f"the candle of {opened}, reported before {since}, is not there yet")
        elif (truth.position(held) or (0, held[8])) < reported:
            raise BrokenPromise(f"{reported} of {opened} was reported before {since}, {held} is older; now {until}")
    previous: Row | None = None
    for row in rows:
        _check_row(row, previous, interval, truth, since if closed is None else closed, until)
        previous = row


def _check_row(row: Row, previous: Row | None, interval: str, truth: KlineTruth, since: int, until: int) -> None:
    opened = row[0]
    versions = truth.versions.get(opened)
    if truth.hidden(opened, since) and truth.hidden(opened, until) and next_open(interval, opened) + FLAT_FOR <= since:
        raise BrokenPromise(f"REST does not show this candle: {row}")
    if next_open(interval, opened) + FINAL_REPORTED_AFTER <= since:
        if versions is not None and row != versions[-1].row:
            raise BrokenPromise(f"a closed candle differs from REST: {row}, the truth is {versions[-1].row}")
        return
    if row[8] == 0:
        right = previous is None or row[1] == row[2] == row[3] == row[4] == previous[4]
        if previous is not None and next_open(interval, previous[0]) != opened:
            # What REST does not show may have traded, and then only REST shows at which price.
            flat = [version.row for version in versions or () if not version.trades]
            right = row in flat if flat else right
        if not right:
            raise BrokenPromise(f"a flat candle that is none: {previous}, {row}")
        return
    if versions is None:
        raise BrokenPromise(f"an invented candle: {row}")
    same = [version for version in versions if version.trades == row[8]]
    if not any(version.row == row and version.visible <= until for version in same):
        raise BrokenPromise(f"never was: {row}; known: {same or versions[-3:]}")


def check_trades(trades: Sequence[Trade], truth: TradeTruth, *, last_reported: Position, until: int) -> None:
    """Check that trades are consecutive, true, and reach ``last_reported`` at least; none may come where a new contract
    has not traded."""
    for before, after in pairwise(trades):
        if after.id != before.id + 1:
            raise BrokenPromise(f"a hole or a duplicate: trade {before.id} is followed by {after.id}")
    newest = (truth.epoch(until), -1)
    for trade in (*trades[:2], *trades[-3:]):
        position = truth.position(
            trade.id, trade.time, p=trade.price, q=trade.quantity, l=trade.last_trade, m=trade.buyer_is_maker
        )
        if position is None:
            raise BrokenPromise(f"never was: {trade}; the truth is {truth.known.get((trade.id, trade.time))}")
        newest = position
    if newest < last_reported:
        raise BrokenPromise(f"trades up to {last_reported} were reported, the newest served is {newest}")


def check_book(book: Book, truth: BookTruth, *, last_reported: Position, limit: int = 20) -> None:
    position = truth.position(book.update_id, book.time)
    if position < last_reported:
        raise BrokenPromise(f"the book stands at {position}, {last_reported} was reported")
    levels = truth.levels.get(position)
    if levels is not None and (book.bids[:limit], book.asks[:limit]) != levels():
        raise BrokenPromise(f"a book that never was: {book}")


def same_touch(book: Book, truth: BookTruth, reported: Position) -> bool:
    """Return whether the best prices and quantities are those of the state ``reported``."""
    levels = truth.levels.get(reported)
    bids, asks = levels() if levels is not None else ([], [])
    return book.bids[:1] == bids[:1] and book.asks[:1] == asks[:1]


def check_mark(mark: Mark, marks: dict[tuple[str, int], str], *, since: int) -> None:
    if mark.time < since:
        raise BrokenPromise(f"a mark price of {mark.time}, the bound is {since}")
    known = marks.get((mark.symbol, mark.time))
    if known is not None and known != mark.mark_price:
        raise BrokenPromise(f"never was: {mark}; the truth is {known}")
