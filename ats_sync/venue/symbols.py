"""Symbols as callers write them and as the exchange wants them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ..errors import InvalidArgument, InvalidSymbol

_SEPARATORS = frozenset("@/?&#!%\\\"'+,;:=<>[]{}|^`~*()$")
_LONGEST = 40
_REMEMBERED = 2048
"""Checking takes as long as the cheapest reads, so symbols that passed are remembered, a few times as many as exist."""


def check_symbol(symbol: object) -> str:
    """Return the symbol in upper case. Raises :class:`InvalidSymbol` if it cannot be one.

    Letters and digits of any script pass (币安人生USDT is one), and so do ``_``, ``-`` and ``.``.
    Separators, white space and control characters are refused, before they reach a URL or a stream name.
    """
    if not isinstance(symbol, str):
        raise InvalidSymbol(f"a symbol must be a string such as 'BTCUSDT', not {symbol!r}")
    return _checked(symbol)


@lru_cache(maxsize=_REMEMBERED)
def _checked(symbol: str) -> str:
    if not symbol:
        raise InvalidSymbol("the symbol is empty; write one such as 'BTCUSDT'")
    if len(symbol) > _LONGEST or not symbol.isprintable() or not _SEPARATORS.isdisjoint(symbol):
        raise InvalidSymbol(f"{symbol[:_LONGEST]!r} cannot be a symbol")
    if any(map(str.isspace, symbol)):
        raise InvalidSymbol(f"{symbol!r} contains white space; write only the symbol, such as 'BTCUSDT'")
    return symbol.upper()


def check_symbols(symbols: Iterable[object]) -> tuple[str, ...]:
    """Return the symbols checked, upper-cased and without repetitions, in order; an empty list is refused."""
    if isinstance(symbols, str):
        raise InvalidArgument(f"symbols must be a list such as ['BTCUSDT'], not the string {symbols!r}")
    if not isinstance(symbols, Iterable):
        raise InvalidArgument(f"symbols must be a list such as ['BTCUSDT'], not {symbols!r}")
    checked = tuple(dict.fromkeys(check_symbol(symbol) for symbol in symbols))
    if not checked:
        raise InvalidArgument("the list of symbols is empty; name at least one, such as 'BTCUSDT'")
    return checked
