"""Mark price, funding and open interest: functions of a symbol, of exchange time and of the symbol's trades."""

from __future__ import annotations

from typing import NamedTuple

from .decimals import fixed, unit
from .instrument import Instrument
from .intervals import HOUR, MINUTE

_PLACES = 8


class MarkValues(NamedTuple):
    """The texts of the mark price event at one full second."""

    mark: str
    average: str
    index_price: str
    settle: str
    rate: str
    next_funding: int


TRADIFI_MARKS_AT = 684
"""The marks of TradFi contracts come this long (ms) after the others of a second, in their own frame: two frames per
second, with event times that end in 000 and in 684 (measured 2026-10-07)."""


def marked_at(instrument: Instrument, now: int) -> int:
    """Return when the mark price of ``now`` was published."""
    phase = TRADIFI_MARKS_AT if instrument.spec.tradifi else 0
    return now - (now - phase) % 1000


def mark_values(instrument: Instrument, at: int) -> MarkValues:
    """Return the values at the full second ``at``, from the middle price of that moment."""
    spec = instrument.spec
    salt = instrument.salt
    middle = instrument.marked * spec.tick * 10 ** (_PLACES - spec.price_decimals) // 2
    second = at // 1000
    mark = _near(middle, salt, 21, second)
    period = spec.funding_hours * HOUR
    next_funding = at - at % period + period if period else 0
    return MarkValues(
        fixed(mark, _PLACES),
        fixed(_near(mark, salt, 22, second // 60), _PLACES),
        fixed(_near(middle - middle * ((salt >> 8) % 17 - 8) // 20_000, salt, 23, second), _PLACES),
        fixed(_near(middle, salt, 24, second // 10), _PLACES),
        fixed(running_rate(instrument, at), _PLACES),
        next_funding,
    )


def _near(value: int, salt: int, kind: int, step: int) -> int:
    """Return a number within two hundredths of a percent of ``value``."""
    return max(1, value + int(value * (unit(salt, kind, step) - 0.5) * 0.0004))


def settled_rate(instrument: Instrument, at: int) -> int:
    """Return the funding rate settled at the funding time ``at``, in units of 1e-8."""
    drawn = unit(instrument.salt, 31, at // HOUR)
    return 10_000 if drawn < 0.4 else int((unit(instrument.salt, 32, at // HOUR) - 0.3) * 40_000)


def running_rate(instrument: Instrument, at: int) -> int:
    """Return the rate that would be settled if the period ended at ``at``; it converges to the settled one."""
    period = instrument.spec.funding_hours * HOUR
    if not period:
        return 0
    before = at - at % period
    minutes = (at - before) // MINUTE
    first, last = settled_rate(instrument, before), settled_rate(instrument, before + period)
    return first + (last - first) * minutes // (period // MINUTE)


def funding_times(instrument: Instrument, first: int, last: int) -> range:
    """Return the funding times from ``first`` to ``last``, both inclusive, since the listing."""
    period = instrument.spec.funding_hours * HOUR
    if not period:
        return range(0)
    first = max(first, instrument.listed, 1)
    return range(-(-first // period) * period, last + 1, period)


def open_interest(instrument: Instrument, at: int) -> int:
    """Return the contracts open at ``at``, in units of 1e-8 coins; slow waves over several lengths of time."""
    spec = instrument.spec
    base = spec.mean_qty * spec.moments_for_size * 40_000
    level = 1.0
    for kind, (period, share) in enumerate(((24 * HOUR, 0.15), (4 * HOUR, 0.06), (30 * MINUTE, 0.02))):
        step, into = divmod(at, period)
        first = unit(instrument.salt, 41 + kind, step)
        last = unit(instrument.salt, 41 + kind, step + 1)
        level += share * (first + (last - first) * into / period - 0.5)
    level += 0.002 * (unit(instrument.salt, 47, at // MINUTE) - 0.5)
    steps = int(base * level)
    return max(1, steps) * int(10 ** (_PLACES - spec.qty_decimals))
