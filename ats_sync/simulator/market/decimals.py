"""Integers written as the exchange writes decimals, and integer mixing for values that need no stored state."""

from __future__ import annotations

_MASK = 0xFFFFFFFFFFFFFFFF


def fixed(value: int, decimals: int) -> str:
    """Return ``value``, counted in units of ``10**-decimals``, with exactly ``decimals`` decimals."""
    if not decimals:
        return str(value)
    if value < 0:
        return "-" + fixed(-value, decimals)
    digits = str(value)
    if len(digits) <= decimals:
        digits = digits.zfill(decimals + 1)
    return f"{digits[:-decimals]}.{digits[-decimals:]}"


def plain(value: int, decimals: int) -> str:
    """Return the text of :func:`fixed` without trailing zeros."""
    text = fixed(value, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text


def mix(*parts: int) -> int:
    """Return 64 well-mixed bits that depend on nothing but ``parts``."""
    value = 0x9E3779B97F4A7C15
    for part in parts:
        value = (value ^ (part & _MASK)) * 0xBF58476D1CE4E5B9 & _MASK
        value ^= value >> 29
    value = value * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 32)


def unit(*parts: int) -> float:
    """Return a number in [0, 1) that depends on nothing but ``parts``."""
    return mix(*parts) / 18446744073709551616.0
