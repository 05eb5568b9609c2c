"""The counts of a manager."""

from __future__ import annotations

from collections.abc import Collection

from .lifecycle import Lifecycle
from .results import Statistics
from .store.depth import DepthSeries
from .store.klines import KlineSeries
from .store.periods import OpenInterestSeries
from .store.trades import TradeSeries


def statistics(life: Lifecycle, symbols: Collection[str]) -> Statistics:
    """Return what :meth:`~ats_sync.DataManager.get_stats` returns; ``symbols`` are the watched ones."""
    runtime, store = life.runtime, life.store
    by_cause = life.counters.requests()
    hits, misses = life.counters.hits, life.counters.misses
    reconnects, frames, threads = life.reconnects_before, life.frames_before, 0
    if runtime is not None:
        reconnects += runtime.reconnects()
        frames += runtime.frames()
        threads = runtime.requests.workers()
    return {
        "initialized": life.ready and life.running,
        "symbols_count": len(symbols),
        "klines_cached": sum(map(len, store.of(KlineSeries))),
        "oi_cached": sum(map(len, store.of(OpenInterestSeries))),
        "trades_cached": sum(map(len, store.of(TradeSeries))),
        "depth_cached": sum(book.live() for book in store.of(DepthSeries)),
        "funding_cached": len(store.marks.everything().keys() & set(symbols)),
        "ws_updates": frames,
        "ws_reconnects": reconnects,
        "ws_dropped": store.dropped(),
        "rest_calls": sum(by_cause.values()),
        "rest_calls_by_cause": by_cause,
        "rest_threads": threads,
        "weight_most_used": {bucket.value: used for bucket, used in life.budget.most_used.items()},
        "cache_hits": hits,
        "cache_misses": misses,
        "cache_hit_rate": f"{100.0 * hits / (hits + misses):.1f}%" if hits + misses else "-",
    }
