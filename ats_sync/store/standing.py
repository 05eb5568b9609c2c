"""How a series of candles stands at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..feeds import Kind
from ..venue.intervals import next_open, open_time
from .candle import Candle
from .link import Link

FINAL_EVENT_WITHIN = {Kind.KLINES: 3500, Kind.SPOT_KLINES: 5500}
"""How long (ms) after its close a candle that had trades may lack its final event before that is suspicious (spot
candles are told of only every 2 s)."""
CONFIRMED_WITHIN = 60_000
"""How long (ms) after its close a candle without a final event may be served before REST has confirmed it."""


class Standing(NamedTuple):
    """How a series stands at a moment; whether that is fresh is judged elsewhere."""

    link: Link | None
    suspected: str
    rows: int
    """Rows that can be served, the open candle and provisional ones included."""
    complete: bool
    """Whether the history reaches back to the listing."""
    doubt: str
    """Why what is known cannot be the whole truth, "" where nothing says so."""
    event: int
    """Exchange time (ms) of the newest event or answer merged."""


def judge(
    kind: Kind,
    interval: str,
    now: int,
    closed: int,
    chain: Sequence[Candle],
    stray: bool,
    following: int,
    *,
    stopped: bool = False,
) -> tuple[int, str]:
    """``(rows that can be served at exchange time ``now``, why they cannot be the whole truth)``.

    ``closed`` candles end at ``following`` (ms); ``chain`` are those beyond that follow each other, and ``stray`` tells
    that there are more which do not. ``stopped``: the exchange has shown no candle after these though their
    time has come, and none has begun since.
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
    # The stream tells that a candle is final before it tells of the next one; REST may tell of the next one before.
    told = max((index for index, candle in enumerate(chain) if candle.streamed), default=0)
    if any(candle.trades for candle in chain[:told]):
        return rows, "a candle's final event was lost"
    for candle in chain[:-1]:
        if candle.trades and now >= next_open(interval, candle.opened) + FINAL_EVENT_WITHIN[kind]:
            return rows, "a candle's final event is overdue"
    if missing or len(chain) > 1:
        unconfirmed = next_open(interval, following)  # the close of the first candle not yet closed here
        if chain and chain[0].trades and now >= unconfirmed + FINAL_EVENT_WITHIN[kind]:
            return rows, "a candle's final event is overdue"
        if now >= unconfirmed + CONFIRMED_WITHIN or missing > 2:
            return rows, "a candle without events was not confirmed"
    return rows, ""
