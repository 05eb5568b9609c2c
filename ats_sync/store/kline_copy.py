"""What another process is given of a series of candles, so that it answers reads as this one does.

The closed candles are the body of a copy, which is given again only as they change. Beside it stands what is known of
those that have not closed: in nearly every copy one of which the newest frame says all.
"""

from __future__ import annotations

from typing import NamedTuple

from ..venue.klines import scan_kline
from .closed import Closings
from .kline_sequencer import KlineSequencer
from .link import Link
from .pending import OPEN, Candle
from .series import Copied

CLOSINGS_COPIED = 64
"""Of how many of the newest closed candles another process is shown how they became final."""


class Known(NamedTuple):
    """What a series knows beside its candles; times are exchange ms, 0 for never."""

    heard: int
    """Its newest event."""
    answered: int
    """The request of its newest answer."""
    loaded_until: int
    """The close of the newest candle that was loaded."""
    may_be_other: bool
    """Whether trade ids have begun again, so that it may be another contract."""


def copy_of(sequencer: KlineSequencer, known: Known, link: Link | None, suspected: str, mark: object) -> Copied:
    """Return the copy of a series; without its body where ``mark`` is that of one whose body is still the same."""
    closed, pending = sequencer.closed, sequencer.pending
    body = None if mark == closed.version else [*closed.body(), sequencer.closings.text(CLOSINGS_COPIED)]
    halt = sequencer.halt
    beside = known.answered, known.loaded_until, known.may_be_other
    rest = (*beside, halt.shown_at, halt.resumed, sequencer.untraded, pending.unusable, closed.bounds())
    frame = only_frame(sequencer, known.heard)
    if frame is not None:
        # Its candle and its event stand in it.
        facts = (None, None, None, *rest)
        form = form_of(sequencer, known.answered, known.may_be_other)
        return Copied(link, suspected, facts, [frame], body, closed.version, form)
    candles, contradiction = list(pending.candles.values()), None
    if pending.contradiction is not None and pending.is_contradicted():
        contradicted, other = pending.contradiction
        contradiction = contradicted.opened
        candles.append(other)
    made = [candle[:4] + candle[5:] for candle in candles]
    texts = [candle[4] for candle in candles]
    return Copied(link, suspected, (made, contradiction, known.heard, *rest), texts, body, closed.version)


def only_frame(sequencer: KlineSequencer, heard: int) -> bytes | None:
    """Return the newest frame, that of the event ``heard``, where nothing else is known beyond the closed candles."""
    pending = sequencer.pending
    if len(pending.candles) != 1 or pending.contradiction is not None:
        return None
    [(_, rank, _, event, text, is_frame)] = pending.candles.values()
    return text if is_frame and rank == OPEN and event == heard else None


def form_of(sequencer: KlineSequencer, answered: int, may_be_other: bool) -> tuple[object, ...]:
    """Return what differs as soon as the facts of a copy do, but for its frame, and for what an answer of REST alone
    can change: that is looked for in another way. (It is made for nearly every frame, so it is written out.)"""
    closed, halt = sequencer.closed, sequencer.halt
    return (
        closed.version,
        closed.following,
        answered,
        may_be_other,
        halt.shown_at,
        halt.resumed,
        sequencer.untraded,
        sequencer.pending.unusable,
    )


def take_copy(copied: Copied, sequencer: KlineSequencer) -> Known:
    """Let the candles be as they were copied; return what the series knows beside them."""
    made, contradiction, heard, *beside, bounds = copied.facts
    answered, loaded_until, may_be_other, shown_at, resumed, untraded, unusable = beside
    if made is None:
        (frame,) = copied.texts
        opened, trades, _, heard = scan_kline(frame)
        candles = [Candle(opened, OPEN, trades, heard, frame, True)]
    else:
        candles = [
            Candle(opened, rank, trades, event, text, is_frame)
            for (opened, rank, trades, event, is_frame), text in zip(made, copied.texts, strict=True)
        ]
    _take_pending(sequencer, candles, contradiction)
    sequencer.pending.unusable = unusable
    sequencer.halt.shown_at, sequencer.halt.resumed = shown_at, resumed
    sequencer.untraded = untraded
    first, following, complete, skipped = bounds
    if copied.body is not None:
        *rows, closings = copied.body
        sequencer.closed.take_body(rows, skipped)
        sequencer.closings = Closings.of(closings)
    sequencer.closed.take_facts(first, following, complete)
    return Known(heard, answered, loaded_until, may_be_other)


def event_in(copied: Copied) -> int:
    """Return up to when (exchange ms) the candles of a copy are known."""
    made, _, heard, answered, loaded_until, *_ = copied.facts
    if made is None:
        heard = scan_kline(copied.texts[0])[3]
    return int(max(heard, answered, loaded_until))


def _take_pending(sequencer: KlineSequencer, candles: list[Candle], contradiction: int | None) -> None:
    """Have these candles beyond the closed ones; ``contradiction``: of which (open time, ms) the last of them is what
    contradicts it."""
    pending = sequencer.pending
    other = candles.pop() if contradiction is not None else None
    before = pending.candles.copy()
    pending.candles.clear()
    for candle in candles:
        known = before.get(candle.opened)  # what is the same is decoded already
        pending.candles[candle.opened] = known if known == candle else candle
    pending.contradiction, pending.follower = None, None
    if contradiction is not None and other is not None:
        pending.contradiction = pending.candles[contradiction], other
