"""When time overrules a counter.

Update ids, trade ids and trade counts order what an exchange sends, until it begins to count again: a test network is
reset, a contract is relisted, an engine moves, an open candle is recomputed. What bears a lower counter and yet
happened later, by more than connections differ, belongs to a new count and replaces all of the old one. Late and
repeated frames bear their old times and never do.
"""

from __future__ import annotations

REORDERED_WITHIN = 1000
"""Connections and their clocks may differ by so much (ms); what is later than that did happen later."""


def counts_anew(happened: int, known: int) -> bool:
    """Whether what bears a lower counter and happened at ``happened`` (exchange ms) begins a new count, where all that
    is known of the old one had happened by ``known``."""
    return known > 0 and happened > known + REORDERED_WITHIN
