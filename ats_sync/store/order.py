"""When time overrules a counter.

Update ids, trade ids and trade counts order what an exchange sends, until it begins to count again: a test network is
reset, a contract is relisted, an engine moves, an open candle is recomputed. What bears a lower counter and yet
happened later, belongs to a new count and replaces all of the old one. Late and repeated frames bear their old times
and never do. Event times are compared with a tolerance for how connections differ (:func:`is_new_count`); the times of
the matching engine, ``T`` of trades and books, need none.
"""

from __future__ import annotations

from collections.abc import Mapping

REORDERED_WITHIN = 1000
"""Connections and their clocks may differ by so much (ms); what is later than that did happen later."""

MOST_LATE = 60_000
"""No frame comes later than this (ms) after what it tells of."""


def is_new_count(happened: int, known: int) -> bool:
    """Return whether what bears a lower counter and happened at ``happened`` (exchange ms) begins a new count, where
    all that is known of the old one had happened by ``known``."""
    return known > 0 and happened > known + REORDERED_WITHIN


AHEAD = 2000
"""By so much (ms) our idea of the exchange's time may be behind it."""


def is_to_come(event: int, now: int) -> bool:
    """Return whether an event bears a time that cannot be, since the exchange is at ``now`` (ms)."""
    return event > now + AHEAD


def dated_back(times: Mapping[str, int], now: int) -> dict[str, int]:
    """Return ``times`` (exchange ms), those to come as ``now``: they were set by a clock that was ahead."""
    return {symbol: min(since, now) for symbol, since in times.items()}


LAGS_AT_MOST = 10_000
"""How far (ms) a replica that answers for REST may be behind."""


def shown_until(requested_at: int, happened: int = 0) -> int:
    """Return the exchange time (ms) up to which an answer surely shows what had happened.

    It was requested at ``requested_at``, and bears the event time ``happened`` itself. An answer is no younger than its
    request, but it may be older: a replica lags, and of a market at rest nobody can tell from one answer alone.
    """
    return max(happened, requested_at - LAGS_AT_MOST)
