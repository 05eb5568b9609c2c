"""Frames of trades: aggregated ones, forced orders, and those of the spot pair."""

from __future__ import annotations

from . import payloads
from .plan import Plan
from .schedule import Schedule
from .trades import AggTrade

AGGREGATED_AFTER = 150
"""How long (ms) trades of one order at one price may still join an aggregated trade."""
ALL_FORCED = "!forceOrder@arr"

# One in this many aggregated trades is a forced order, at most one per second and symbol.
_FORCED_ONE_IN = 601
_FORCED_APART = 1000


class TradeFrames:
    """``all_streams``: the subscribed streams of the whole market."""

    def __init__(self, schedule: Schedule, all_streams: set[str], *, late_key: bool) -> None:
        self._schedule = schedule
        self._all = all_streams
        self._late_key = late_key

    def traded(self, plan: Plan, made: list[AggTrade]) -> None:
        """Send the frames of the trades just made."""
        name = plan.others.get("aggTrade")
        if name is not None:
            self._aggregate(plan, name, made)
        if self._all or "forceOrder" in plan.others:
            self._force_order(plan, made[0])
        if plan.spot_others:
            self._spot_trades(plan, made)

    def _aggregate(self, plan: Plan, name: str, made: list[AggTrade]) -> None:
        self._flush_pending(plan)
        for trade in made[:-1]:
            self._send(plan, name, trade)
        plan.pending = made[-1]
        self._schedule.at(self._schedule.now + AGGREGATED_AFTER, self._aggregated, (plan, made[-1].id))

    def _aggregated(self, subject: tuple[Plan, int]) -> None:
        plan, trade_id = subject
        if plan.pending is not None and plan.pending.id == trade_id:
            self._flush_pending(plan)

    def _flush_pending(self, plan: Plan) -> None:
        trade, plan.pending = plan.pending, None
        name = plan.others.get("aggTrade")
        if trade is not None and name is not None:
            self._send(plan, name, trade)

    def _send(self, plan: Plan, name: str, trade: AggTrade) -> None:
        now = self._schedule.now
        self._schedule.emit(name, payloads.agg_trade(plan.instrument, now, trade, self._late_key))

    def _force_order(self, plan: Plan, trade: AggTrade) -> None:
        instrument = plan.instrument
        now = self._schedule.now
        if (trade.id + instrument.salt) % _FORCED_ONE_IN or now - instrument.forced_at < _FORCED_APART:
            return
        instrument.forced_at = now
        text = payloads.force_order(instrument, now, trade)
        if "forceOrder" in plan.others:
            self._schedule.emit(plan.others["forceOrder"], text)
        if ALL_FORCED in self._all:
            self._schedule.emit(ALL_FORCED, text)

    def _spot_trades(self, plan: Plan, made: list[AggTrade]) -> None:
        if plan.pair is None:
            return
        now = self._schedule.now
        for trade in made:
            if "trade" in plan.spot_others:
                for text in payloads.spot_trades(plan.pair, now, trade):
                    self._schedule.emit(plan.spot_others["trade"], text, True)
            if "aggTrade" in plan.spot_others:
                text = payloads.spot_agg_trade(plan.pair, now, trade)
                self._schedule.emit(plan.spot_others["aggTrade"], text, True)
