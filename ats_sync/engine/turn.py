"""One turn of the engine: what has happened is taken in, what follows is returned.

Driven by the engine's thread, and by the tests on virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ..store.notices import Notice
from .connection import Connect, Disconnect, Send
from .engine import Engine, Submit
from .moment import Moment

EngineEvent = Callable[[Engine, Moment], None]
Action = Connect | Send | Disconnect | Submit


def take_turn(
    engine: Engine,
    now: Callable[[], Moment],
    *,
    replies: Sequence[tuple[int, dict[str, Any]]],
    events: Iterable[EngineEvent],
    notices: list[Notice],
    failed: Callable[[Exception], None],
) -> list[Action]:
    """Return what is to be carried out, in order, after replies, then events, then notices, then what is due.

    An exception in one of them is passed to ``failed`` and costs none of the others, nor any action.
    """
    assert engine.guarded()
    steps: list[Callable[[Moment], None]] = [partial(engine.replied, number, message) for number, message in replies]
    steps += [partial(event, engine) for event in events]
    if notices:
        steps.append(partial(engine.noticed, notices))
    steps.append(engine.tick)
    for step in steps:
        try:
            step(now())
        except Exception as failure:  # noqa: BLE001 - reported, and the rest of the turn must not be lost
            failed(failure)
    return engine.take()
