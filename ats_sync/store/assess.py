"""Whether the candles that are known can be the whole truth at a moment."""

from __future__ import annotations

from collections.abc import Sequence

from ..venue.intervals import next_open, open_time
from .pending import Candle

CONFIRMED_WITHIN = 60_000
"""How long (ms) after its close a candle without a final event may be served before REST has confirmed it."""


def assess(
    interval: str,
    now: int,
    closed: int,
    chain: Sequence[Candle],
    stray: bool,
    following: int,
    final_within: int,
    *,
    stopped: bool = False,
) -> tuple[int, str]:
    """Return ``(rows that can be served at exchange time ``now``, why they cannot be the whole truth)``.

    ``closed`` candles end at ``following`` (ms); ``chain`` are those beyond that follow each other, and ``stray`` tells
    that there are more which do not. ``stopped``: the exchange has shown no candle after these though their
    time has come, and none has begun since. ``final_within`` is how long (ms) after its close a candle that had trades
    may lack its final event.
    """
    if not following or not (closed or chain):
        return 0, "nothing is known yet"
    if stopped and not stray:
        return closed + len(chain), ""
    beyond = next_open(interval, chain[-1].opened) if chain else following
    missing = 0
    if now >= beyond:
        current = open_time(interval, now, known_open=following)
        missing = 1
        opened = beyond
        while opened < current and missing < 3:
            missing += 1
            opened = next_open(interval, opened)
    rows = closed + len(chain) + missing
    if stray:
        return rows, "a candle is missing"
    # The stream ends a candle before it begins the next one; REST may show the next one first.
    streamed = max((index for index, candle in enumerate(chain) if candle.streamed), default=0)
    if any(candle.trades for candle in chain[:streamed]):
        return rows, "a candle's final event was lost"
    for candle in chain[:-1]:
        if candle.trades and now >= next_open(interval, candle.opened) + final_within:
            return rows, "a candle's final event is overdue"
    if missing or len(chain) > 1:
        unconfirmed = next_open(interval, following)  # the close of the first candle not yet closed here
        if chain and chain[0].trades and now >= unconfirmed + final_within:
            return rows, "a candle's final event is overdue"
        if now >= unconfirmed + CONFIRMED_WITHIN or missing > 2:
            return rows, "a candle without events was not confirmed"
    return rows, ""
