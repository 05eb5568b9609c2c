"""Candles that are summed from those of a smaller interval, in place of a stream of their own.

What is derived is the newest candle, and each one as it closes; the history comes from REST as that of any series. A
candle is derived only where its source has every candle from its open time on: closed ones without a hole, and the open
one. So it is as fresh as its source, and in doubt whenever that is.

How the exchange writes a larger candle is assumed to be this: it opens with its first trade (not with the close
before), sums are exact, and a sum has as many decimals as the longest of its parts. Audits compare it with REST.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from decimal import Decimal

from ..venue.intervals import most_within, next_open, open_time
from ..venue.klines import Row, string_rows, text_open_time, text_trades
from ..venue.payload import DecodeError
from .assess import CONFIRMED_WITHIN, Evidence
from .closed import Source
from .klines import WARM_UP_ROWS, KlineSeries, Since, no_time
from .link import Link
from .pending import FINAL_BY_REST, FINAL_BY_STREAM, OPEN, Candle
from .series import Origin, SeriesState
from .snapshot import KlineSnapshot, KlineText

SPARE = 2
"""Rows of the source beyond those of one candle: just after its close it still has them and the first of the next."""
PATIENCE = 10.0
"""How long (seconds) after an acknowledgement the source is worth waiting for: once it lacks nothing, neither does what
is derived from it."""
CONFIRMED_LATER = 2.0
"""How much later (seconds) than its source a quiet candle is to be confirmed."""
ATTEMPTS = 3
"""How often the source is looked at where it keeps changing meanwhile."""
NOT_PLAIN = (b"-", b"e", b"E")
"""What stands in a row where a decimal is negative or has an exponent."""
NO_REACH = "what it is derived from does not reach back far enough"
DIFFERED = "a derived candle differed from REST: it has a stream of its own"
HOLE = "the exchange lacks candles that it is derived from: it has a stream of its own"
ORPHANED = "what it was derived from is followed no longer: it has a stream of its own"


def combined(texts: Sequence[bytes], opened: int, close_time: int) -> bytes:
    """Return the text of the candle that consists of these rows (at least one, oldest first).

    Rows without trades say nothing of its prices, unless there are no others. Raises
    :class:`~ats_sync.venue.payload.DecodeError` where a number is not written as the exchange writes it.
    """
    if any(sign in text for text in texts for sign in NOT_PLAIN):
        raise DecodeError("bad decimal", f"not all of these are written as plain decimals: {texts!r}")
    rows = string_rows(texts)
    telling = [row for row in rows if row[8]] or rows[-1:]
    high, low = _extreme(max, [row[2] for row in telling]), _extreme(min, [row[3] for row in telling])
    volume, quote, bought, paid, ignored = [_sum([row[place] for row in rows]) for place in (5, 7, 9, 10, 11)]
    trades = sum([row[8] for row in rows])
    return (
        f'{opened},"{telling[0][1]}","{high}","{low}","{telling[-1][4]}","{volume}",{close_time},"{quote}",{trades},'
        f'"{bought}","{paid}","{ignored}"'
    ).encode()


def _extreme(pick: Callable[..., str], texts: list[str]) -> str:
    if len({(len(text), text.find(".")) for text in texts}) == 1:
        return pick(texts)  # what is written alike is in the order of its text
    return pick(texts, key=Decimal)


def _sum(texts: list[str]) -> str:
    """Return the exact sum, with as many decimals as the longest of them has."""
    places = [len(text) - text.find(".") - 1 if "." in text else 0 for text in texts]
    decimals = max(places)
    total = sum([int(text.replace(".", "")) * 10 ** (decimals - own) for text, own in zip(texts, places, strict=True)])
    if not decimals:
        return str(total)
    digits = str(total).zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}"


class DerivedKlines(KlineSeries):
    """A series of candles that is derived from ``source``; an ordinary one as soon as that is None."""

    def __init__(
        self,
        source: KlineSeries,
        interval: str,
        depth: int,
        *,
        warm_up: int = WARM_UP_ROWS,
        exchange_ms: Callable[[], int] = no_time,
    ) -> None:
        super().__init__(source.key.symbol, interval, depth, warm_up=warm_up, exchange_ms=exchange_ms)
        self.source: KlineSeries | None = source
        self._announced = 0  # what followed the closed ones at the last call of advance()
        self.apart = ""
        """Why it is to have a stream of its own, "" where it is not."""
        # Its source's doubts are its own, so that a candle without a final event is none.
        self._final_within = CONFIRMED_WITHIN
        self._pulling = threading.Lock()  # taken before that of the series; orders what is taken from the source
        # Guarded by the lock of the series, as what they belong to.
        self._seen = SeriesState()  # of the source, when the newest candles were derived
        self._lacks_rows = False  # whether they cannot be derived before REST has shown newer ones
        self._short = False  # whether the source does not reach back far enough
        # Guarded by _pulling: what the newest candles were made of, and how long they stay as they are.
        self._mark: list[object] = []
        self._valid_until = 0
        self._version = -1
        self._first = 0
        self._partial: list[bytes] = []
        self._hole = False
        self._chain: list[Candle] = []
        self._made: dict[int, Candle] = {}
        source.reach_back(most_within(source.interval, interval) + SPARE)

    def separate(self) -> str:
        """Become an ordinary series, which is live once its own stream is; return why.

        Where one candle differed, the others are requested first.
        """
        with self._pulling, self._lock:
            self.source = None
            self.link = None
            self._final_within = self.feed.final_within
            if self.apart == DIFFERED and self._closed:
                self.unaudited, self._loaded_until = True, self._closed.following - 1
        return self.apart or ORPHANED

    # --- deriving -------------------------------------------------------------------------------

    def advance(self) -> bool:
        """Close what has closed in the source; return whether anything may have since the last call."""
        self._pull(self._exchange_ms())
        before, self._announced = self._announced, self._closed.following
        return before != self._announced

    def _pull(self, now: int) -> None:
        """Take over what the source knows at exchange time ``now`` (ms)."""
        with self._pulling:
            for _ in range(ATTEMPTS):
                source = self.source
                if source is None:
                    return
                # Taken before the source is looked at, so that it differs where the source changes meanwhile.
                mark = [self.answers, *source.changes()]
                if now < self._valid_until and mark == self._mark:
                    return
                self._mark, self._valid_until = mark, 0
                first = self._closed.following
                known = self._version if first == self._first else -1
                try:
                    if self._take(source.since(first, now, known), first, now, source):
                        return
                except DecodeError:
                    pass  # Its source has forgotten what was unusable, and says so.
                self._version = -1  # what was sorted may be of no use
            with self._lock:
                self._seen = SeriesState(doubt="its source changes too quickly")

    def changes(self) -> list[object]:
        source, own = self.source, super().changes()
        return own if source is None else [*own, *source.changes()]

    def _take(self, found: Since, first: int, now: int, source: KlineSeries) -> bool:
        """Derive what was found from the candle ``first`` on; return False where that is not the first any more."""
        closing: list[Candle] = []
        short = 0 < first < found.begins
        if found.closed is not None and first and not short:
            closing = self._sort(found, found.closed, first, source)
        same = found.closed is None and not closing and _are(self._chain, found.chain)
        made = self._made if same or short or self._hole or not first else self._open(found.chain, source)
        with self._lock:
            if self._closed.following != first:
                return False
            self._seen = found.state
            self._stream_event = max(self._stream_event, found.heard)
            if self._sequencer.untraded and found.following:
                self._sequencer.untraded = self._closed.complete = False  # REST is to show its history
            behind = first > 0 and first < open_time(self.interval, now, known_open=first)
            self._lacks_rows = self._hole or (short and behind)
            self._short = short and not behind
            for candle in closing:
                known = self._ahead.get(candle.opened)
                if known is None or known.rank != FINAL_BY_REST:
                    self._ahead[candle.opened] = candle
            self._sequencer.promote()
            part, recomputed_at = found.recomputed
            if first and recomputed_at:
                self._pending.note_recomputed(open_time(self.interval, part, known_open=first), recomputed_at)
            if not (short or self._hole):
                self._place(made)
            self._version, self._chain = found.version if not short else -1, found.chain
        if not (short or self._hole or closing or found.state.doubt or found.state.suspected):
            self._valid_until = found.unchanged_until
        return True

    def _sort(self, found: Since, texts: Sequence[bytes], first: int, source: KlineSeries) -> list[Candle]:
        """Sort closed rows by the candles they belong to; return those that are over, and keep what the next one has
        so far.

        Of a halt the exchange may have no candles, and what the larger ones then consist of nobody knows.
        """
        opens = [text_open_time(text) for text in texts]
        begins = opens[0] if opens else found.following
        listed = not found.begins and found.oldest in (begins, 0)
        expected = [begins if listed else first]
        while expected[-1] < found.following:
            expected.append(next_open(source.interval, expected[-1]))
        self._hole = found.following > first and expected != [*opens, found.following]
        if self._hole:
            self.apart = HOLE
            return []
        closing: list[Candle] = []
        opened, ends, taken = first, next_open(self.interval, first), 0
        while True:
            until = bisect_left(opens, ends)
            rows = texts[taken:until]
            if found.following < ends or not rows:
                break
            text = combined(rows, opened, ends - 1)
            closed = source.closing(opens[until - 1])
            by_rest = closed is not None and closed.source is Source.REST
            rank = FINAL_BY_REST if by_rest else FINAL_BY_STREAM
            closing.append(Candle(opened, rank, text_trades(text), opened, text, False))
            opened, ends, taken = ends, next_open(self.interval, ends), until
        self._first, self._partial = opened, [combined(rows, opened, ends - 1)] if rows else []
        return closing

    def _open(self, beyond: Sequence[Candle], source: KlineSeries) -> dict[int, Candle]:
        """Return the candles that have not closed, by open time; ``beyond`` are those of the source."""
        opened, ends = self._first, next_open(self.interval, self._first)
        made: dict[int, Candle] = {}
        texts, event = list(self._partial), 0
        chain = [candle for candle in beyond if candle.opened >= opened]
        while texts or chain:
            while chain and chain[0].opened < ends:
                event = max(event, chain[0].event)
                texts.append(source.decoded(chain.pop(0))[1])
            if texts:
                text = combined(texts, opened, ends - 1)
                made[opened] = Candle(opened, OPEN, text_trades(text), event, text, False)
            opened, ends, texts, event = ends, next_open(self.interval, ends), [], 0
        return made

    def _place(self, made: dict[int, Candle]) -> None:
        """Let these candles count, except where a later answer of REST has shown more trades. The caller holds the
        lock."""
        assert self._lock.locked()
        ahead, following = self._ahead, self._closed.following
        for opened, candle in self._made.items():
            if opened not in made and ahead.get(opened) is candle:
                del ahead[opened]
        for opened, candle in made.items():
            known = ahead.get(opened)
            before = self._made.get(opened)
            shown = known is not None and known is not before and self._outdoes(known, candle, before)
            if not shown and opened >= following:
                ahead[opened] = candle
        self._made = made

    def _outdoes(self, answered: Candle, derived: Candle, before: Candle | None) -> bool:
        """Return whether what REST has shown of a candle is newer than what is derived; ``before`` is what was derived
        when the answer came, at the latest. The caller holds the lock.

        More trades are newer, unless a later event shows fewer, or the candle was recomputed since. (Whether the answer
        is older than that event its own time does not tell where the clock was behind.)
        """
        assert self._lock.locked()
        if answered.rank == FINAL_BY_REST:
            return True
        if self._pending.was_recomputed_after(answered.opened, answered.event):
            return False
        unchanged = before is not None and derived.event <= before.event
        return answered.trades > derived.trades and (unchanged or answered.event > derived.event)

    # --- as an ordinary series, with what was derived ----------------------------------------------

    def replace(self, answer: list[bytes], origin: Origin) -> None:
        mismatches, loaded = self._closed.mismatches, self.unaudited
        super().replace(answer, origin)
        if self.source is None:
            return
        if self._closed.mismatches > mismatches and not loaded:
            self.apart = DIFFERED
        self._pull(self._exchange_ms())
        self._announced = self._closed.following  # whoever requested it reports that
        with self._lock:
            derived = self._made.get(text_open_time(answer[-1])) if answer else None
            if derived is not None and derived.trades == text_trades(answer[-1]) and derived.source != answer[-1]:
                self.apart = self.apart or DIFFERED

    def _evidence(self, chain: list[Candle]) -> Evidence:
        evidence = super()._evidence(chain)
        if self.source is None:
            return evidence
        seen = self._seen
        return evidence._replace(
            link=evidence.link if evidence.link is seen.link else None,
            suspected=evidence.suspected or seen.suspected or seen.doubt or (NO_REACH if self._short else ""),
            stray=evidence.stray or self._lacks_rows,
        )

    def _plain_event(self, now: int) -> int:
        return super()._plain_event(now) if self.source is None else -1

    def state(self, now: int) -> SeriesState:
        self._pull(now)
        return super().state(now)

    def look(self, limit: int, now: int, surely: int, exact: bool) -> tuple[SeriesState, KlineSnapshot]:
        self._pull(now)
        return super().look(limit, now, surely, exact)

    def look_text(self, limit: int, now: int, surely: int) -> tuple[SeriesState, KlineText]:
        self._pull(now)
        return super().look_text(limit, now, surely)

    def rows(self, limit: int, now: int | None, *, exact: bool) -> list[Row]:
        self._pull(now if now is not None else self._exchange_ms())
        return super().rows(limit, now, exact=exact)

    def since(self, opened: int, now: int, known: int) -> Since:
        self._pull(now)
        until = self._valid_until  # first: what is found later may stay longer as it is, not shorter
        found = super().since(opened, now, known)
        return found if self.source is None else found._replace(unchanged_until=until)

    def following(self) -> int:
        self._pull(self._exchange_ms())
        return super().following()

    def unconfirmed(self, opened: int) -> bytes | None:
        self._pull(self._exchange_ms())
        return None if self._lacks_rows or self._short else super().unconfirmed(opened)

    def streaming(self) -> bool:
        source = self.source
        return super().streaming() and (source is None or source.streaming())

    # --- what it needs --------------------------------------------------------------------------

    def patience(self, *, live_once: bool) -> float:
        if self.source is None:
            return super().patience(live_once=live_once)
        return 0.0 if not len(self) or self._is_short() else PATIENCE

    def resume(self, link: Link, now: int) -> bool:
        """Go live on ``link`` where its source has, and nothing is missing; return whether no answer is needed, also
        where it was live already."""
        source = self.source
        if source is None:
            return not (self.unaudited and self.apart) and super().resume(link, now)
        state, seen = self.state(now), self._seen
        if self._is_short() or self._short or self.unsettled(now) or not state.rows:
            return False
        if source.link is not link or not source.streaming() or seen.doubt or seen.suspected:
            return False
        self.go_live(link)
        return True


def _are(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(a is b for a, b in zip(some, others, strict=True))
