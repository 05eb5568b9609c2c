"""Whether an answer can be true: pure comparisons of a read with the exchange's data before and after it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ..venue.intervals import next_open
from .tally import Finding, Promise

OPEN, HIGH, LOW, CLOSE, TRADES = 1, 2, 3, 4, 8
AHEAD = 1000
"""How far (ms) the library's exchange time may be ahead of the real one at a candle's turn."""

Row = Sequence[Any]


def _stale(text: str) -> list[Finding]:
    return [Finding(Promise.STALE, text)]


def _broken(text: str) -> list[Finding]:
    return [Finding(Promise.INVARIANT, text)]


def candles_in_order(what: str, rows: Sequence[Row], interval: str) -> list[Finding]:
    """Check that open times are one interval apart and prices are within their candle. Strings or floats."""
    for older, newer in itertools.pairwise(rows):
        if next_open(interval, older[0]) != newer[0]:
            return _broken(f"{what}: the candle of {older[0]} is followed by {newer[0]}")
    for row in rows[-3:]:
        low, high = float(row[LOW]), float(row[HIGH])
        if not all(low <= float(row[item]) <= high for item in (OPEN, CLOSE)):
            return _broken(f"{what}: open or close outside low and high: {list(row)}")
    return []


def klines(
    what: str,
    interval: str,
    limit: int,
    read: Sequence[Row],
    before: Sequence[Row],
    after: Sequence[Row],
    now: int,
    *,
    bounded: bool = True,
) -> list[Finding]:
    """Check ``read`` against ``before``, the truth as long ago as it may be behind, and ``after``, the truth since.

    All are rows of strings; ``after`` has at least as many as were requested. ``now`` is exchange time (ms) after
    the read. ``bounded`` is False if the answer may be older than ``before`` because REST itself was.
    """
    found = candles_in_order(what, read, interval)
    if found:
        return found
    if len(read) < min(limit, len(before), len(after)):
        return _broken(f"{what}: {len(read)} candles where {limit} were requested")
    truth = {row[0]: row for row in after}
    earlier = {row[0]: row for row in before}
    if bounded and read[-1][0] < before[-1][0]:
        return _stale(f"{what}: ends with the candle of {read[-1][0]}, {before[-1][0]} had begun long before")
    behind = False
    for index, row in enumerate(read):
        true = truth.get(row[0])
        if true is None:
            if row[0] < after[0][0]:
                continue
            if row[0] > now + AHEAD:
                return _broken(f"{what}: a candle of the future, {list(row)} at {now}")
            continue
        if row[TRADES] > true[TRADES]:
            return _broken(f"{what}: more trades than there were, {list(row)} is {list(true)}")
        if row[TRADES] == true[TRADES]:
            # A flat candle is derived from the close of the one before, which may rightly be behind.
            if list(row) != list(true) and not (row[TRADES] == 0 and behind):
                return _broken(f"{what}: {list(row)} is {list(true)}")
            behind = False
            continue
        behind = True
        known = earlier.get(row[0])
        # What is missing in "before" had either closed before it began, or had not begun yet.
        least = known[TRADES] if known is not None else true[TRADES] if row[0] < before[0][0] else 0
        if row[TRADES] < least and (bounded or index < len(read) - 1):
            text = f"{what}: {row[TRADES]} trades in the candle of {row[0]}, {least} were known long before"
            return _stale(text) if index == len(read) - 1 else _broken(f"{text}, and it is not the last")
    return []


def levels_in_order(what: str, read: Mapping[str, Any]) -> list[Finding]:
    """Check that levels are sorted best first, with no bid at or above an ask."""
    bids = [float(level[0]) for level in read["bids"]]
    asks = [float(level[0]) for level in read["asks"]]
    if bids != sorted(bids, reverse=True) or asks != sorted(asks) or (bids and asks and bids[0] >= asks[0]):
        return _broken(f"{what}: levels out of order")
    return []


def book(
    what: str, read: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], *, bounded: bool = True
) -> list[Finding]:
    """Check the best levels against two states of the truth."""
    found = levels_in_order(what, read)
    if found:
        return found
    number, first, last = (int(each["lastUpdateId"]) for each in (read, before, after))
    if number > last:
        return _broken(f"{what}: update {number} of the future, the exchange has {last}")
    for each, true in ((first, before), (last, after)):
        if number == each and not same_levels(read, true):
            return _broken(f"{what}: update {number} has other levels than the exchange's")
    if bounded and number < first and not same_levels(read, before):
        return _stale(f"{what}: update {number}, {first} was known long before")
    return []


def same_levels(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two books show the same levels, as far as the shorter one goes."""
    return all(
        all(list(a[:2]) == list(b[:2]) for a, b in zip(one[side], other[side], strict=False))
        for side in ("bids", "asks")
    )


def trades_in_order(what: str, numbers: Sequence[int]) -> list[Finding]:
    """Check that ids have no hole or duplicate."""
    if numbers and list(numbers) != list(range(numbers[0], numbers[0] + len(numbers))):
        return _broken(f"{what}: ids from {numbers[0]} to {numbers[-1]} with a hole, a duplicate or out of order")
    return []


def trades(
    what: str,
    read: Sequence[Mapping[str, Any]],
    newest_before: int,
    same_after: Sequence[Mapping[str, Any]],
    *,
    bounded: bool = True,
) -> list[Finding]:
    """Check trades. ``newest_before``: the newest id as long ago as an answer may be behind; ``same_after``: the truth
    from the read's first id on."""
    found = trades_in_order(what, [row["a"] for row in read])
    if found or not read:
        return found
    for row, true in zip(read, same_after, strict=False):
        if dict(row) != dict(true):
            return _broken(f"{what}: {dict(row)} is {dict(true)}")
    if len(same_after) < len(read):
        return _broken(f"{what}: trade {read[-1]['a']} of the future")
    if bounded and read[-1]["a"] < newest_before:
        return _stale(f"{what}: ends with {read[-1]['a']}, {newest_before} was known long before")
    return []
