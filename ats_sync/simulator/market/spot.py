"""The spot pairs: each follows its perpetual's trades, shifted by a basis.

If the perpetual is a multiple (1000PEPEUSDT), the pair trades the single coin: prices divided, quantities
multiplied. All decimals have eight places, as on the spot exchange.
"""

from __future__ import annotations

from .candles import Candles
from .decimals import fixed
from .history import Candle
from .instrument import Instrument

_PLACES = 8


class SpotPair:
    """How one perpetual's trades appear on its spot pair."""

    def __init__(self, instrument: Instrument, name: str) -> None:
        spec = instrument.spec
        self.name = name
        self.lower = name.lower()
        self.instrument = instrument
        self.base_asset = name.removesuffix("USDT")
        self.multiple = spec.spot_multiple
        # The perpetual is more or less expensive by up to eight hundredths of a percent.
        self.basis = round(spec.price * ((instrument.salt >> 8) % 17 - 8) / 10_000)
        self._price_unit = spec.tick * 10 ** (_PLACES - spec.price_decimals)
        self._qty_unit = 10 ** (_PLACES - spec.qty_decimals) * spec.spot_multiple
        self._quote_decimals = spec.price_decimals + spec.qty_decimals

    @property
    def candles(self) -> Candles:
        return self.instrument.candles

    @property
    def tick_text(self) -> str:
        """The smallest step of the price."""
        return fixed(max(1, self._price_unit // self.multiple), _PLACES)

    def price(self, ticks: int) -> str:
        """Return the spot price that corresponds to the perpetual's price in ticks."""
        return fixed((ticks - self.basis) * self._price_unit // self.multiple, _PLACES)

    def qty(self, steps: int) -> str:
        return fixed(steps * self._qty_unit, _PLACES)

    def candle_texts(self, candle: Candle) -> tuple[str, str, str, str, str, str, str, str]:
        """Return open, high, low, close, volume, quote volume, taker buy volume, taker buy quote volume."""
        _, open_, high, low, close, volume, _, quote, bought, buy_quote, _ = candle
        return (
            self.price(open_),
            self.price(high),
            self.price(low),
            self.price(close),
            self.qty(volume),
            self._quote(quote - self.basis * volume),
            self.qty(bought),
            self._quote(buy_quote - self.basis * bought),
        )

    def _quote(self, quote: int) -> str:
        value = quote * self.instrument.spec.tick
        decimals = self._quote_decimals
        if decimals > _PLACES:
            return fixed(value // 10 ** (decimals - _PLACES), _PLACES)
        return fixed(value * 10 ** (_PLACES - decimals), _PLACES)
