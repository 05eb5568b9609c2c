"""Errors of the market. They are ValueErrors, which a control passes on to the program."""

from __future__ import annotations


class UnknownSymbol(ValueError):
    """No such symbol trades here; ``args[0]`` is the symbol."""

    def __str__(self) -> str:
        return f"unknown symbol: {self.args[0]}"


class UnknownInterval(ValueError):
    """No such candle interval or open-interest period exists; ``args[0]`` is its name."""

    def __str__(self) -> str:
        return f"unknown interval: {self.args[0]}"
