"""What the engine must never lose sight of: each series that is followed is live, or something is under way for it."""

from __future__ import annotations

from collections.abc import Mapping

from ats_sync.engine.connection import Phase, Progress
from ats_sync.engine.jobs import Fetch
from ats_sync.engine.state import State
from ats_sync.feeds import Cause, Key, stream_of
from ats_sync.store.depth import DepthSeries
from ats_sync.store.klines import KlineSeries
from ats_sync.store.series import Series

from .process import Process


def forgotten(process: Process) -> dict[Key, str]:
    """Return the series for which nothing is under way though they are not live, and the reason to think so."""
    engine = process.engine
    found: dict[Key, str] = {}
    for key, state in engine.reconciler.states.items():
        if state.delisted or key in engine.reconciler.remedies.quarantined or state.feed.stream_only:
            continue
        series = process.store.get(key)
        if isinstance(series, DepthSeries) and series.suspended:
            continue  # Its suspension ends by itself.
        if not state.feed.own_stream:
            if (
                state.due is None
                and state.fetching is None
                and ((state.feed.poll is not None and state.feed.poll.beside_stream) or not state.known)
            ):
                found[key] = f"it is polled and will not be requested again: {state}"
        elif needs_repair(state, series) and key not in engine.reconciler._lacking._noted:
            found[key] = f"no room is kept for its repair: {state}"
        elif state.link is None:
            if _is_streamed(process, key):
                found[key] = "its stream is acknowledged and the engine does not know"
        elif state.fetching is not None and not _is_carried(process, state.fetching):
            found[key] = f"it waits for a request that nobody carries: {state}"
        elif isinstance(series, KlineSeries) and _waits_for_source(series, engine.reconciler.states):
            continue
        elif state.left_alone and not engine.reconciler.ready(key):
            found[key] = f"it is not live and no repair is due: {state}"
        elif state.due is not None and not _is_queued(process, state):
            found[key] = f"what is due is not queued: {state}"
        elif state.left_alone and series is not None:
            doubt = series.unsettled(process.clock.exchange_ms())
            if doubt and key not in engine.reconciler._closes._doubts:
                found[key] = f"it is in doubt ({doubt}) and no repair is due: {state}"
    return found


def needs_repair(state: State, series: Series | None) -> bool:
    """Return whether a candle series that was live no longer is, or a repair of it is due or under way."""
    if not isinstance(series, KlineSeries) or state.delisted or state.feed.spot or not state.live_once:
        return False
    broken = series.link is None or not series.link.up
    return broken or (state.cause is Cause.REPAIR and (state.due or state.fetching) is not None)


def _waits_for_source(series: KlineSeries, states: Mapping[Key, State]) -> bool:
    """Return whether something is under way for what it is derived from, which it then follows."""
    source = series.source
    return source is not None and (not states[source.key].left_alone or _waits_for_source(source, states))


def _is_streamed(process: Process, key: Key) -> bool:
    name = stream_of(key) or ""
    home = process.engine.connections.carrying(name)
    return home is not None and home.phase is Phase.OPEN and home.streams.get(name) is Progress.ACKNOWLEDGED


def _is_carried(process: Process, fetch: Fetch) -> bool:
    queue = process.requests.queue
    job = queue._jobs.get(fetch.identity)
    if job is None or job.running:
        return job is not None
    return any(each is job for heap in queue._heaps.values() for _, _, each, _ in heap)


def _is_queued(process: Process, state: State) -> bool:
    queued = process.engine.reconciler._queue
    waiting = {(due, key) for due, _, key in queued._heap} | set(queued._on_hold)
    return (state.due, state.key) in waiting
