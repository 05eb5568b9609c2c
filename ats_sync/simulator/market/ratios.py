"""The five series of ``/futures/data`` other than open interest: long and short positions, taker volumes, the basis.

All follow from the symbol, the period and its trades, so that every page of them agrees.
"""

from __future__ import annotations

from typing import Any

from .decimals import fixed, unit
from .history import Candle
from .instrument import Instrument
from .intervals import MINUTE

_ACCOUNTS = {"globalLongShortAccountRatio": 51, "topLongShortAccountRatio": 52, "topLongShortPositionRatio": 53}
RATIOS = (*_ACCOUNTS, "takerlongshortRatio", "basis")
"""The names of the series, as in the exchange's paths."""


def ratio_row(kind: str, instrument: Instrument, candle: Candle, at: int) -> dict[str, Any]:
    """Return the row of one series for the period of ``candle``, which is stamped ``at``."""
    if kind == "basis":
        return _basis(instrument, candle, at)
    if kind == "takerlongshortRatio":
        return _takers(instrument, candle, at)
    # In ten-thousandths, the exchange's own precision.
    long = 3_500 + int(4_000 * unit(instrument.salt, _ACCOUNTS[kind], at // MINUTE))
    return {
        "symbol": instrument.name,
        "longAccount": fixed(long, 4),
        "longShortRatio": fixed(long * 10_000 // (10_000 - long), 4),
        "shortAccount": fixed(10_000 - long, 4),
        "timestamp": at,
    }


def _takers(instrument: Instrument, candle: Candle, at: int) -> dict[str, Any]:
    volume, bought = candle[5], candle[8]
    decimals = instrument.spec.qty_decimals
    sold = volume - bought
    return {
        "buySellRatio": fixed(bought * 10_000 // max(1, sold), 4),
        "sellVol": fixed(sold, decimals),
        "buyVol": fixed(bought, decimals),
        "timestamp": at,
    }


def _basis(instrument: Instrument, candle: Candle, at: int) -> dict[str, Any]:
    spec = instrument.spec
    future = candle[4] * spec.tick * 10 ** (8 - spec.price_decimals)
    index = max(1, future - int(future * (unit(instrument.salt, 54, at // MINUTE) - 0.5) * 0.001))
    return {
        "indexPrice": fixed(index, 8),
        "contractType": spec.contract_type,
        "basisRate": fixed((future - index) * 10_000 // index, 4),
        "futuresPrice": fixed(future, 8),
        "annualizedBasisRate": "",
        "basis": fixed(future - index, 8),
        "pair": spec.pair,
        "timestamp": at,
    }
