"""Whether the candles that are known can be the whole truth at a moment: the state of a kline series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..venue.intervals import next_open, open_time
from .link import Link
from .pending import Candle
from .series import SeriesState

CONFIRMED_WITHIN = 60_000
"""How long (ms) after its close a candle without a final event may be served before REST has confirmed it."""
OTHER_CONTRACT = "trade ids have begun again: it may be another contract"


class Evidence(NamedTuple):
    """What was known of the candles of one series at one moment."""

    interval: str
    final_within: int
    """How long (ms) after its close a candle that had trades may lack its final event."""
    link: Link | None
    suspected: str
    event: int
    """Exchange time (ms) up to which they are known."""
    answered: int
    """Exchange time (ms) at which the newest answer was requested."""
    complete: bool
    """Whether they reach back to the listing."""
    closed: int
    """How many have closed."""
    following: int
    """The open time (ms) after the newest closed one, 0 before the first answer."""
    chain: Sequence[Candle]
    """Those beyond that follow each other."""
    stray: bool
    """Whether there are more which do not."""
    spoilt: bool
    """Whether the newest version of one was unusable."""
    doubted_from: int
    """From which exchange time (ms) on the open one is in doubt, 0 where it is not."""
    may_be_other: bool
    """Whether trade ids have begun again, so that it may be another contract."""
    untraded: bool
    """Whether REST has shown that there is none yet."""
    stopped: bool
    """Whether the exchange has shown none after these though their time has come, and none has begun since."""
    resumed: bool
    """Whether it is said to trade since then."""


def assess(evidence: Evidence, now: int) -> SeriesState:
    """Return the state at exchange time ``now`` (ms): how many rows can be served, and why they cannot be the whole
    truth."""
    if evidence.untraded:
        return SeriesState(evidence.link, evidence.suspected, evidence.event, evidence.answered, 0, True)
    rows, doubt = _rows(evidence, now)
    if evidence.resumed:
        doubt = "it trades again after a halt"
    if evidence.spoilt and not doubt:
        doubt = "the newest version of a candle was unusable"
    if 0 < evidence.doubted_from <= now and not doubt:
        doubt = "the open candle is said to have fewer trades"
    if evidence.may_be_other and not doubt:
        doubt = OTHER_CONTRACT
    return SeriesState(
        evidence.link, evidence.suspected, evidence.event, evidence.answered, rows, evidence.complete, doubt
    )


def _rows(evidence: Evidence, now: int) -> tuple[int, str]:
    """Return how many rows can be served, and why something is missing or overdue, "" where nothing is."""
    interval, following, chain = evidence.interval, evidence.following, evidence.chain
    if not following or not (evidence.closed or chain):
        return 0, "nothing is known yet"
    if evidence.stopped and not evidence.resumed and not evidence.stray:
        return evidence.closed + len(chain), ""
    beyond = next_open(interval, chain[-1].opened) if chain else following
    missing = 0
    if now >= beyond:
        current = open_time(interval, now, known_open=following)
        missing = 1
        opened = beyond
        while opened < current and missing < 3:
            missing += 1
            opened = next_open(interval, opened)
    rows = evidence.closed + len(chain) + missing
    if evidence.stray:
        return rows, "a candle is missing"
    # The stream ends a candle before it begins the next one; REST may show the next one first.
    streamed = max((index for index, candle in enumerate(chain) if candle.streamed), default=0)
    if any(candle.trades for candle in chain[:streamed]):
        return rows, "a candle's final event was lost"
    for candle in chain[:-1]:
        if candle.trades and now >= next_open(interval, candle.opened) + evidence.final_within:
            return rows, "a candle's final event is overdue"
    if missing or len(chain) > 1:
        unconfirmed = next_open(interval, following)  # the close of the first candle not yet closed here
        if chain and chain[0].trades and now >= unconfirmed + evidence.final_within:
            return rows, "a candle's final event is overdue"
        if now >= unconfirmed + CONFIRMED_WITHIN or missing > 2:
            return rows, "a candle without events was not confirmed"
    return rows, ""
