"""One turn of the engine: it receives events, and returns the actions that follow.

Driven by the engine's thread, and by the tests on virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from .connection import Connect, Disconnect, Send
from .engine import Engine, Submit
from .events import Changed, EngineEvent, Fetched, Lost, Noticed, Opened, Replied
from .moment import Moment

Action = Connect | Send | Disconnect | Submit


def receive(engine: Engine, event: EngineEvent, at: Moment) -> None:
    """Pass one event to the engine."""
    match event:
        case Opened(connection, link):
            engine.opened(connection, link, at)
        case Lost(connection, link, reason, error):
            engine.lost(connection, link, reason, at, error)
        case Replied(connection, message):
            engine.replied(connection, message, at)
        case Noticed(notice):
            engine.noticed([notice], at)
        case Fetched(fetch, error):
            engine.fetched(fetch, error, at)
        case Changed():
            pass


def take_turn(
    engine: Engine,
    now: Callable[[], Moment],
    events: Iterable[EngineEvent],
    failed: Callable[[Exception, EngineEvent | None], None],
) -> list[Action]:
    """Pass on events in their order, then do what is due; return the actions to execute, in order.

    An exception is passed to ``failed`` with its event (None: it was due) and costs no other event and no action.
    """
    assert engine.guarded()
    for is_notice, group in groupby(events, lambda event: isinstance(event, Noticed)):
        if is_notice:
            # One gap in a connection shows in many series at once.
            together = [event for event in group if isinstance(event, Noticed)]
            try:
                engine.noticed([event.notice for event in together], now())
            except Exception as failure:  # noqa: BLE001 - reported
                failed(failure, together[0])
            continue
        for event in group:
            try:
                receive(engine, event, now())
            except Exception as failure:  # noqa: BLE001 - reported
                failed(failure, event)
    try:
        engine.tick(now())
    except Exception as failure:  # noqa: BLE001 - reported
        failed(failure, None)
    return engine.take()
