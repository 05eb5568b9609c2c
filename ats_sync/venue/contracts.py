"""The trading rules of a contract, as exchangeInfo states them, in exact decimals."""

# Without postponed annotations, so that typing.get_type_hints() works although the class shows as ats_sync.SymbolInfo.

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

from ..errors import InvalidArgument
from .payload import DecodeError, decimal, field, text_of

DIGITS = 40
"""Numbers with more digits than this before or after the point are refused."""
_EXACT = 8 * DIGITS  # digits: enough to round any quotient of two such numbers correctly
ROUNDINGS = frozenset(
    f"ROUND_{name}" for name in ("CEILING", "DOWN", "FLOOR", "HALF_DOWN", "HALF_EVEN", "HALF_UP", "UP", "05UP")
)


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """Trading rules of one contract. Prices are in the quote asset, quantities in the base asset, all exact."""

    symbol: str
    status: str
    """The status as the exchange writes it, such as ``TRADING``."""
    contract_type: str
    """Such as ``PERPETUAL``, ``TRADIFI_PERPETUAL`` or ``CURRENT_QUARTER``; an open list."""
    underlying_type: str
    """Such as ``COIN``, ``EQUITY`` or ``COMMODITY``; an open list, "" if the exchange does not say."""
    base_asset: str
    quote_asset: str
    tick_size: Decimal
    """Order prices are multiples of it."""
    step_size: Decimal
    """Quantities of limit orders are multiples of it."""
    min_quantity: Decimal
    max_quantity: Decimal
    """Largest quantity of one limit order."""
    market_max_quantity: Decimal
    """Largest quantity of one market order."""
    min_notional: Decimal
    """Minimum value (price times quantity) of an order, in the quote asset."""

    def round_price(self, price: Decimal | str | int, rounding: str = ROUND_HALF_UP) -> Decimal:
        """Return the multiple of ``tick_size`` nearest to ``price``; a tie goes up.

        ``rounding`` is a constant of :mod:`decimal`: ``ROUND_DOWN`` for the next lower multiple, ``ROUND_UP`` for the
        next higher. ``f"{result:f}"`` is the text for an order. A float is refused, since it is rarely the decimal it
        shows: pass ``str(price)``. Raises :class:`~ats_sync.errors.InvalidArgument`.
        """
        return _multiple(_exact("price", price), self.tick_size, rounding)

    def round_quantity(self, quantity: Decimal | str | int, rounding: str = ROUND_DOWN) -> Decimal:
        """Return the largest multiple of ``step_size`` that is not above ``quantity``, so that no order grows.

        Otherwise like :meth:`round_price`. The result may be below ``min_quantity``, even 0.
        """
        return _multiple(_exact("quantity", quantity), self.step_size, rounding)


def _exact(what: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (Decimal, str, int)):
        raise InvalidArgument(f"{what} must be a Decimal, a str or an int, not {value!r}; a float is not exact")
    try:
        number = Decimal(value)
    except (InvalidOperation, ValueError):
        raise InvalidArgument(f"{what} must be a number, not {value!r}") from None
    if not number.is_finite() or number < 0:
        raise InvalidArgument(f"{what} must be a finite number from 0 on, not {value!r}")
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if number.adjusted() >= DIGITS or exponent < -DIGITS:
        raise InvalidArgument(f"{what} has more than {DIGITS} digits before or after the point: {value!r}")
    return number


def _multiple(number: Decimal, size: Decimal, rounding: str) -> Decimal:
    """Return a multiple of ``size``, with as many digits after the point as ``size``."""
    if rounding not in ROUNDINGS:
        raise InvalidArgument(f"rounding must be a constant of the module decimal, not {rounding!r}")
    context = Context(prec=_EXACT, rounding=rounding)  # the caller's own may have any precision
    steps = context.divide(number, size).to_integral_value(rounding)
    return context.quantize(context.multiply(steps, size), size)


def symbol_info(row: dict[str, Any]) -> SymbolInfo:
    """Return the rules in one row of exchangeInfo's ``symbols``. Raises :class:`DecodeError`."""
    filters = field(row, "filters")
    price, lot = _filter(filters, "PRICE_FILTER"), _filter(filters, "LOT_SIZE")
    market, notional = _filter(filters, "MARKET_LOT_SIZE"), _filter(filters, "MIN_NOTIONAL")
    underlying, status = row.get("underlyingType"), row.get("status", row.get("contractStatus"))
    return SymbolInfo(
        text_of(field(row, "symbol")),
        status if isinstance(status, str) else "",
        text_of(field(row, "contractType")),
        underlying if isinstance(underlying, str) else "",
        text_of(field(row, "baseAsset")),
        text_of(field(row, "quoteAsset")),
        _positive(price, "tickSize"),
        _positive(lot, "stepSize"),
        Decimal(decimal(field(lot, "minQty"))),
        Decimal(decimal(field(lot, "maxQty"))),
        Decimal(decimal(field(market, "maxQty"))),
        Decimal(decimal(field(notional, "notional"))),
    )


def symbol_infos(rows: Iterable[dict[str, Any]]) -> dict[str, SymbolInfo]:
    """Return the rules by symbol, leaving out those that cannot be read."""
    found = {}
    for row in rows:
        try:
            info = symbol_info(row)
        except DecodeError:
            continue
        found[info.symbol] = info
    return found


def _filter(filters: object, name: str) -> dict[str, Any]:
    for each in filters if isinstance(filters, list) else ():
        if isinstance(each, dict) and each.get("filterType") == name:
            return each
    raise DecodeError("missing field", f"the contract has no {name}")


def _positive(values: dict[str, Any], name: str) -> Decimal:
    size = Decimal(decimal(field(values, name)))
    if size <= 0:
        raise DecodeError("bad decimal", f"{name} is {size}")
    return size
