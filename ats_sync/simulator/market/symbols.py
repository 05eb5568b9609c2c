"""What is fixed about a symbol: its decimals, its size, how often it trades, its funding interval, its spot pair."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from .catalogue import FUNDING_HOURS, LISTED_HOURS_BEFORE, QUIET_SECONDS, TABLE, WITHOUT_SPOT
from .decimals import mix, unit
from .intervals import DAY, HOUR

_MULTIPLES = (("1000000", 1_000_000), ("1000", 1000))


@dataclass(frozen=True, slots=True)
class SymbolSpec:
    """A contract. Prices are counted in ticks, quantities in steps (``10**-qty_decimals``)."""

    name: str
    price: int
    tick: int  # in units of 10**-price_decimals
    price_decimals: int
    qty_decimals: int
    moments: float  # expected taker orders a second
    moments_for_size: float  # the same at an activity of 1: how big the contract is
    mean_qty: int
    spread: int
    book_width: int  # ticks a side
    book_density: float
    book_tick: int  # ms between two changes of the book
    daily_move: float
    funding_hours: int
    age: int  # ms of trading before the market's beginning
    spot: str | None
    spot_multiple: int

    @property
    def base_asset(self) -> str:
        return self.name.removesuffix("USDT")


@cache
def _catalogue() -> dict[str, tuple[int, str, str, int, int]]:
    rows: dict[str, tuple[int, str, str, int, int]] = {}
    for rank, line in enumerate(TABLE.split("\n")[1:-1]):
        name, price, tick, price_decimals, qty_decimals = line.split()
        rows[name] = (rank, price, tick, int(price_decimals), int(qty_decimals))
    return rows


def names(symbols: int | Sequence[str]) -> tuple[str, ...]:
    """The names meant by ``symbols``: that many of the catalogue (and made-up ones after it), or the given ones."""
    if not isinstance(symbols, int):
        listed = tuple(symbols)
        if len(set(listed)) != len(listed):
            raise ValueError("a symbol is listed twice")
        return listed
    if symbols < 1:
        raise ValueError("a market needs at least one symbol")
    known = tuple(_catalogue())
    return known[:symbols] + tuple(f"SIM{i}USDT" for i in range(len(known), symbols))


def spec_for(name: str, *, price: float | None = None, activity: float = 1.0, new: bool = False) -> SymbolSpec:
    """The contract called ``name``; one the catalogue does not know gets parameters derived from its name.

    ``new``: it has no history. ``price`` is in USDT.
    """
    salt = zlib.crc32(name.encode())
    known = _catalogue().get(name)
    if known is not None:
        rank, price_text, tick_text, price_decimals, qty_decimals = known
        tick = _scaled(tick_text, price_decimals)
        ticks = _scaled(price_text, price_decimals) // tick
    else:
        rank = 30 + salt % 170
        price_decimals, qty_decimals, tick = 4, 0, 1
        ticks = 2_000 + salt % 90_000
    if price is not None:
        ticks = max(1, round(price * 10**price_decimals / tick))
    dollars = ticks * tick / 10**price_decimals
    quiet = QUIET_SECONDS.get(name)
    moments = 1 / quiet if quiet else 42.0 * (1 + rank / 12) ** -1.02
    value = 900.0 / (1 + rank / 15) + 25  # of a mean fill, in USDT
    age = LISTED_HOURS_BEFORE.get(name)
    base = name.removesuffix("USDT")
    spot, multiple = (None if name in WITHOUT_SPOT else name), 1
    for prefix, factor in _MULTIPLES:
        if base.startswith(prefix) and len(base) > len(prefix):
            spot, multiple = f"{base[len(prefix) :]}USDT", factor
            break
    levels = 1400 + salt % 500 if rank < 25 else 180 + salt % 800
    density = 0.97 if rank < 25 else 0.75 + unit(salt, 3) * 0.2
    return SymbolSpec(
        name=name,
        price=ticks,
        tick=tick,
        price_decimals=price_decimals,
        qty_decimals=qty_decimals,
        moments=moments * activity,
        moments_for_size=moments,
        mean_qty=max(1, round(value / dollars * 10**qty_decimals)),
        spread=1 if rank < 60 or ticks < 3_000 else 1 + mix(salt, 4) % 3,
        book_width=round(levels / density),
        book_density=density,
        book_tick=50 if rank < 160 and not quiet else 200,
        daily_move=0.03 + 0.0002 * min(rank, 150),
        funding_hours=FUNDING_HOURS.get(name, 8),
        age=0 if new else age * HOUR if age else (1_560 + mix(salt, 5) % 900) * DAY,
        spot=spot,
        spot_multiple=multiple,
    )


def _scaled(text: str, decimals: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction[:decimals].ljust(decimals, "0"))
