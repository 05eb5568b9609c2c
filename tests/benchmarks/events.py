"""Closed candles as events: from the merge to the callback, and how soon after the turn all symbols are there."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ats_sync import CandleEvent, DataManager, Missed
from ats_sync.feeds import Key
from ats_sync.simulator import before_turn

from .ingest import GENEROUS, UNLIMITED, exchange, settings
from .machine import child
from .ours import Ours
from .reading import percentile, under_flood
from .report import OURS, Report

INTERVAL = "1m"
LEAD, GRACE = 60.0, 8.0


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

        def closed(keys: Iterable[Key]) -> None:
            now, keys = time.perf_counter(), list(keys)
            self._merged.update((key.symbol, now) for key in keys)
            publish(keys)

        publisher.closed = closed  # type: ignore[method-assign]
        self.dm.on_closed(self._called)

    def _called(self, event: CandleEvent | Missed) -> None:
        if isinstance(event, CandleEvent) and event.source == "stream" and event.delay is not None:
            self._streamed.append(event.delay)
        self._lags.append((time.perf_counter() - self._merged[event.symbol]) * 1e3)

    def turn(self) -> dict[str, Any]:
        """Wait for the next turn; return its delay (s), the late symbols, the lags (ms) and the requests of reads."""
        before = self._requests("read")
        turn = next(self.dm.turns(INTERVAL, grace=GRACE))
        threading.Event().wait(0.5)
        return {
            "delay": turn.delay,
            "late": len(turn.late),
            "closed": len(turn.closed),
            "lags": self._lags[:],
            "streamed": (len(self._streamed), max(self._streamed, default=0.0)),
            "requests": self._requests("read") - before,
        }


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """One turn of every symbol while 5,000 frames/s come in, and one without that load."""
    section = "Closed candles as events"
    for flooded in (False, True):
        start = before_turn(INTERVAL, seconds=LEAD)
        with (
            exchange(symbols, start=start, **UNLIMITED) as ex,
            child(Closes, config=settings(ex, **GENEROUS), symbols=ex.symbols) as ours,
        ):
            left = (60_000 - ex.now() % 60_000) / 1e3
            if flooded:
                threading.Event().wait(max(0.0, left - 6.0))
                found = under_flood(ex, 6.0 + GRACE, lambda: ours.call("turn"))
            else:
                found = ours.call("turn")
        case = "at 5,000 frames/s" if flooded else "the market's own frames"
        report.add(
            section, case, f"{OURS}: final frame merged to callback, p50", statistics.median(found["lags"]), "ms", 2.0
        )
        report.add(section, case, f"{OURS}: the same, p99", percentile(found["lags"], 0.99), "ms", 15.0)
        note = f"{found['closed']} closed, {found['late']} late"
        report.add(section, case, f"{OURS}: turns() after the turn", found["delay"], "s", 2.5, note)
        count, last = found["streamed"]
        report.add(section, case, f"{OURS}: the last that traded", last, "s", 2.5, f"{count} closed by the stream")
        report.add(section, case, f"{OURS}: requests of reads", float(found["requests"]), "", 0.0)
    report.show(section)
