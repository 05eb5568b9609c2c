"""Frames of kline streams, futures and spot: open candles at most every 250 ms (2 s), and final ones."""

from __future__ import annotations

from collections.abc import Iterable

from . import payloads
from .history import Candle
from .intervals import MINUTE
from .plan import Plan
from .schedule import Frame, Schedule
from .streams import FINAL_AFTER, KlineStream


class KlineFrames:
    """``late_key``: ``E`` is the last key of an event. ``trailing``: a change that came too soon after an event of its
    stream gets its own event as soon as possible; otherwise it is sent with a later trade."""

    def __init__(self, schedule: Schedule, *, late_key: bool, trailing: bool) -> None:
        self._schedule = schedule
        self._late_key = late_key
        self._trailing = trailing

    def traded(
        self, plan: Plan, streams: list[KlineStream], ended: Candle, current: Candle | None, last_id: int
    ) -> None:
        """Send what the trades just made have changed.

        ``ended`` is the minute of the trade before them, ``last_id`` that trade's id, ``current`` the minute that
        they opened, or None if they belong to the old one.
        """
        now = self._schedule.now
        earliest = 0
        for stream in streams:
            if current is not None:
                opened, ends, finished = stream.opened, stream.ends, stream.finished
                candle = stream.candle(ended)
                if stream.turn(ended, current[0]) and not finished and candle[6]:
                    self._send(plan, stream, candle, opened, ends, last_id, True)
                    stream.ready = now + stream.period
            if now >= stream.ready:
                self._send_open(plan, stream)
            else:
                stream.dirty = True
                if not earliest or stream.ready < earliest:
                    earliest = stream.ready
        if earliest and self._trailing and not now <= plan.flush_at <= earliest:
            plan.flush_at = earliest
            self._schedule.at(earliest, self._flush, plan)

    def finish(self, plans: Iterable[Plan]) -> None:
        """Send the final events of candles that closed ``FINAL_AFTER`` ms ago and have had no trade since."""
        boundary = self._schedule.now - FINAL_AFTER
        for plan in plans:
            instrument = plan.instrument
            minute = instrument.candles.current
            if minute[0] >= boundary:
                continue
            for stream in (*plan.klines, *plan.spot_klines):
                if stream.ends <= boundary and not stream.finished:
                    stream.finished = True
                    stream.dirty = False
                    candle = stream.candle(minute)
                    if candle[6]:
                        last_id = instrument.trades.next_trade - 1
                        self._send(plan, stream, candle, stream.opened, stream.ends, last_id, True)

    @staticmethod
    def first_finish(start: int) -> int:
        """Return the first time after ``start`` when candles may become final; after that, every minute."""
        return start + 1 + (FINAL_AFTER - start - 1) % MINUTE

    def _flush(self, plan: Plan) -> None:
        now = self._schedule.now
        if plan.flush_at != now:
            return
        plan.flush_at = 0
        earliest = 0
        for stream in (*plan.klines, *plan.spot_klines):
            if not stream.dirty:
                continue
            if stream.ready <= now:
                self._send_open(plan, stream)
            elif not earliest or stream.ready < earliest:
                earliest = stream.ready
        if earliest:
            plan.flush_at = earliest
            self._schedule.at(earliest, self._flush, plan)

    def _send_open(self, plan: Plan, stream: KlineStream) -> None:
        if stream.finished:
            return
        instrument = plan.instrument
        stream.ready = self._schedule.now + stream.period
        stream.dirty = False
        candle = stream.candle(instrument.candles.current)
        self._send(plan, stream, candle, stream.opened, stream.ends, instrument.trades.next_trade - 1, False)

    def _send(
        self, plan: Plan, stream: KlineStream, candle: Candle, opened: int, ends: int, last_id: int, final: bool
    ) -> None:
        now = self._schedule.now
        if stream.period == 250:
            text = payloads.kline(
                plan.instrument, stream.interval, now, candle, opened, ends, last_id, final, self._late_key
            )
            self._schedule.frames.append(Frame(stream.name, now, text))
        elif plan.pair is not None:
            text = payloads.spot_kline(plan.pair, stream.interval, now, candle, opened, ends, last_id, final)
            self._schedule.emit(stream.name, text, True)
