"""Closed candles as events: how soon after the merge callbacks run, and how soon after the turn all have closed."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ats_sync import CandleEvent, DataManager, Missed
from ats_sync.feeds import Key
from ats_sync.simulator import SimulatedExchange, before_turn

from . import machine
from .ingest import GENEROUS, UNLIMITED, exchange, settings
from .machine import child
from .ours import Ours
from .reading import percentile, under_flood
from .report import OURS, Report

INTERVAL = "1m"
LEAD, GRACE = 60.0, 8.0
QUIET = 5


class Closes(Ours):
    """A manager of 1m candles that notes when each close was merged and when its callback ran."""

    def __init__(self, config: Mapping[str, Any], symbols: Sequence[str]) -> None:
        super().__init__(config, symbols)
        self.dm = DataManager(symbols, (INTERVAL,), config=self.config)
        self._merged: dict[str, float] = {}
        self._lags: list[float] = []
        self._streamed: list[float] = []  # delays of the candles that the stream closed
        publisher = self.dm._life.publisher
        publish = publisher.closed

        def closed(keys: Iterable[Key]) -> bool:
            now, keys = time.perf_counter(), list(keys)
            self._merged.update((key.symbol, now) for key in keys)
            return publish(keys)

        publisher.closed = closed  # type: ignore[method-assign]
        self.dm.on_closed(self._called)

    def _called(self, event: CandleEvent | Missed) -> None:
        if isinstance(event, CandleEvent) and event.source == "stream" and event.delay is not None:
            self._streamed.append(event.delay)
        self._lags.append((time.perf_counter() - self._merged[event.symbol]) * 1e3)

    def turn(self) -> dict[str, Any]:
        """Wait for the next turn; return its delay (s), the late symbols, the lags (ms), the requests of reads, and how
        long (s) the threads waited for a core."""
        before, waited = self._requests("read"), machine.waited()
        self._lags.clear()
        self._streamed.clear()
        turn = next(self.dm.turns(INTERVAL, grace=GRACE))
        threading.Event().wait(0.5)
        after = machine.waited()
        return {
            "delay": turn.delay,
            "late": len(turn.late),
            "closed": len(turn.closed),
            "lags": self._lags[:],
            "streamed": (len(self._streamed), max(self._streamed, default=0.0)),
            "requests": self._requests("read") - before,
            "waited": after - waited if after is not None and waited is not None else None,
        }


def _until_before_turn(ex: SimulatedExchange, seconds: float) -> None:
    left = (60_000 - ex.now() % 60_000) / 1e3
    threading.Event().wait(left - seconds if left >= seconds else left + 60.0 - seconds)


def _trade_everything(ex: SimulatedExchange) -> None:
    """Let every symbol trade shortly before a turn."""
    _until_before_turn(ex, 8.0)
    for symbol in ex.symbols:
        ex.trade(symbol)


def _add(report: Report, section: str, case: str, found: dict[str, Any], soonest: float | None) -> None:
    lags = found["lags"]
    report.add(section, case, f"{OURS}: final frame merged to callback, p50", statistics.median(lags), "ms", 2.0)
    report.add(section, case, f"{OURS}: the same, p99", percentile(lags, 0.99), "ms", 15.0)
    note = f"{found['closed']} closed, {found['late']} late"
    report.add(section, case, f"{OURS}: turns() after the turn", found["delay"], "s", soonest, note)
    count, last = found["streamed"]
    report.add(section, case, f"{OURS}: the last that traded", last, "s", 2.5, f"{count} closed by the stream")
    report.add(section, case, f"{OURS}: requests of reads", float(found["requests"]), "", 0.0)
    if found["waited"] is not None:
        report.add(section, case, f"{OURS}: its threads waited for a core", found["waited"], "s")


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure turns of every symbol: when all have traded, when some are quiet, and when all have traded at 5,000
    frames/s.

    A candle without trades is final once REST shows it as final, 5 s after its close.
    """
    section = "Closed candles as events"
    start = before_turn(INTERVAL, seconds=LEAD)
    with (
        exchange(symbols, start=start, **UNLIMITED) as ex,
        child(Closes, config=settings(ex, **GENEROUS), symbols=ex.symbols) as ours,
    ):
        _trade_everything(ex)
        _add(report, section, "all have traded", ours.call("turn"), 2.5)
        quiet = ex.symbols[-QUIET:]
        for symbol in quiet:
            ex.silence(symbol)
        _until_before_turn(ex, 1.0)
        ours.call("turn")  # the quiet symbols traded in its minute
        _add(report, section, f"{QUIET} are quiet", ours.call("turn"), None)
        for symbol in quiet:
            ex.silence(symbol, on=False)
        _trade_everything(ex)
        # This comes last, since the flooded frames contradict what the market sends afterwards.
        found = under_flood(ex, 8.0 + GRACE, lambda: ours.call("turn"))
        _add(report, section, "all have traded, at 5,000 frames/s", found, 2.5)
    report.show(section)
