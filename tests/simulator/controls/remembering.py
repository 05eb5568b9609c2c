"""An extension of the exchange: a control that the library does not have."""

from __future__ import annotations

from ats_sync.simulator.controls import control
from ats_sync.simulator.server import ExchangeServer


@control
def count_words(server: ExchangeServer, text: str, *, per_symbol: bool = False) -> float:
    """Count the words of ``text``."""
    return len(text.split()) / (len(server.market.symbols) if per_symbol else 1)
