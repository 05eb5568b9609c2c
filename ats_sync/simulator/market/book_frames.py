"""Frames of books: the best levels, differences, and best prices."""

from __future__ import annotations

from . import payloads
from .plan import Plan
from .schedule import Schedule
from .streams import BookStream

DEPTH_PHASE = 60
"""How long (ms) after a symbol's taker orders its depth frames are sent."""


class BookFrames:
    """Sends the events of each stream at the stream's own speed, for as long as it is subscribed."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def begin(self, plan: Plan, stream: BookStream, now: int) -> None:
        """Follow a stream, starting from the book's state at ``now``."""
        action = self._best_prices if stream in plan.tickers else self._depth
        phase = (plan.instrument.phase + DEPTH_PHASE) % stream.speed
        stream.state = stream.noted = plan.instrument.state(now)
        stream.last_id = plan.instrument.book.update_id(stream.state)
        self._schedule.at(now + 1 + (phase - now - 1) % stream.speed, action, (plan, stream))

    def traded(self, plan: Plan) -> None:
        """Send the best prices if the trades just made have changed them."""
        for stream in plan.tickers:
            self._send_best_prices(plan, stream)

    def best_prices(self, plan: Plan, stream: BookStream) -> str | None:
        """Return a bookTicker text; None if the best prices are those of the last frame, or if there are none."""
        now = self._schedule.now
        instrument = plan.instrument
        if instrument.pending:
            return None
        state = instrument.state(now)
        touch = instrument.book.touch(state)
        sent = (state.bid, state.ask, touch)
        if sent == stream.sent:
            return None
        stream.sent = sent
        update_id = instrument.book.update_id(state)
        return payloads.book_ticker(instrument, now, instrument.changed_at(now), state, update_id, touch)

    def _best_prices(self, subject: tuple[Plan, BookStream]) -> None:
        plan, stream = subject
        if stream.alive:
            self._schedule.at(self._schedule.now + stream.speed, self._best_prices, subject)
            self._send_best_prices(plan, stream)

    def _send_best_prices(self, plan: Plan, stream: BookStream) -> None:
        text = self.best_prices(plan, stream)
        if text is not None:
            self._schedule.emit(stream.name, text)

    def _depth(self, subject: tuple[Plan, BookStream]) -> None:
        plan, stream = subject
        if not stream.alive:
            return
        now = self._schedule.now
        self._schedule.at(now + stream.speed, self._depth, subject)
        instrument = plan.instrument
        state = instrument.state(now)
        before = stream.state
        if before is None or state == before:
            return
        book = instrument.book
        if stream.levels:
            bids, asks = plan.best_levels(state, stream.levels)
            sent: object = (bids, asks)
            if sent == stream.sent:
                return
            stream.sent = sent
        else:
            plan.note_book(stream, state)
            if not stream.bids and not stream.asks:
                return
            changed = book.quantities(state, stream.bids, stream.asks)
            bids, asks = (payloads.levels(instrument, side) for side in changed)
            stream.bids, stream.asks = set(), set()
        stream.state = state
        previous = stream.last_id
        stream.last_id = update_id = book.update_id(state)
        ids = (previous + 1 + previous % 6, update_id, previous)
        self._schedule.emit(stream.name, payloads.depth(instrument, now, instrument.changed_at(now), ids, bids, asks))
