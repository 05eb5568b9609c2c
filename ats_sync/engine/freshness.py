"""Whether what is known may be passed off as fresh."""

from __future__ import annotations

from ..store.link import AHEAD, Link

DOWN = "its connection is down"
TIME_IN_DOUBT = "the exchange's time is in doubt"
UNWATCHED = "nobody has looked out for silent streams lately: the process was stopped, or the machine slept"
WATCHED_WITHIN = 1.5
"""How long ago (seconds) that may have been."""


def stream_doubt(link: Link | None, suspected: str, exchange_now: float, silence: float) -> str:
    """Return why a streamed series cannot be trusted at this exchange time (seconds); "" when it can.

    ``silence`` is how long (seconds) the connection may go without a proof of life.
    """
    if suspected:
        return suspected
    if link is None:
        return "it is not streamed yet"
    if not link.up:
        return DOWN
    if not link.alive(exchange_now, silence):
        return f"its connection has shown no life for {link.age(exchange_now):.1f} s"
    return ""


def within(age: float, bound: float | None, max_age: float | None) -> bool:
    """Return whether an age (seconds) is inside the bound and what the caller requires; one in the future is not."""
    return age >= -AHEAD and (bound is None or age <= bound) and (max_age is None or age <= max_age)
