"""What the market refuses."""

from __future__ import annotations


class UnknownSymbol(Exception):
    """No such symbol trades here; ``args[0]`` is the symbol asked for."""


class UnknownInterval(Exception):
    """No such candle interval or open-interest period; ``args[0]`` is the one asked for."""
