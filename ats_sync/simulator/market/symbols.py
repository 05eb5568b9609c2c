"""The fixed properties of a symbol: decimals, size, how often it trades, funding interval, spot pair."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache

from .catalogue import (
    FUNDING_HOURS,
    LISTED_HOURS_BEFORE,
    QUIET_SECONDS,
    TABLE,
    TRADIFI,
    TRADIFI_TABLE,
    WITHOUT_SPOT,
)
from .decimals import mix, unit
from .intervals import DAY, HOUR

PERPETUAL, TRADIFI_PERPETUAL, CURRENT_QUARTER = "PERPETUAL", "TRADIFI_PERPETUAL", "CURRENT_QUARTER"
FOREVER = 4_133_404_800_000
"""The delivery date of perpetuals."""
_DELIVERY = re.compile(r"(.+)_(\d{6})")
_MULTIPLES = (("1000000", 1_000_000), ("1000", 1000))


class UnknownSymbol(ValueError):
    """No such symbol trades here; ``args[0]`` is the symbol. (A ValueError, so that controls pass it on.)"""

    def __str__(self) -> str:
        return f"unknown symbol: {self.args[0]}"


@dataclass(frozen=True, slots=True)
class SymbolSpec:
    """A contract. Prices are counted in ticks, quantities in steps (``10**-qty_decimals``)."""

    name: str
    price: int
    tick: int  # in units of 10**-price_decimals
    price_decimals: int
    qty_decimals: int
    moments: float  # expected taker orders per second
    moments_for_size: float  # the same at an activity of 1: the size of the contract
    mean_qty: int
    spread: int
    book_width: int  # ticks per side
    book_density: float
    book_tick: int  # ms between two changes of the book
    daily_move: float
    funding_hours: int  # 0: it has no funding
    age: int  # ms of trading before the market's beginning
    spot: str | None
    spot_multiple: int
    contract_type: str = PERPETUAL
    underlying_type: str = "COIN"
    pair: str = ""
    delivery: int = FOREVER

    @property
    def base_asset(self) -> str:
        return self.pair.removesuffix("USDT")

    @property
    def tradifi(self) -> bool:
        """Whether it is a perpetual on an underlying that has sessions."""
        return self.contract_type == TRADIFI_PERPETUAL


@cache
def _catalogue() -> dict[str, tuple[int, str, str, int, int]]:
    return _rows(TABLE, 0)


@cache
def _tradifi() -> dict[str, tuple[int, str, str, int, int]]:
    return _rows(TRADIFI_TABLE, 30)


def _rows(table: str, first_rank: int) -> dict[str, tuple[int, str, str, int, int]]:
    rows: dict[str, tuple[int, str, str, int, int]] = {}
    for rank, line in enumerate(table.split("\n")[1:-1], first_rank):
        name, price, tick, price_decimals, qty_decimals = line.split()
        rows[name] = (rank, price, tick, int(price_decimals), int(qty_decimals))
    return rows


def names(symbols: int | Sequence[str]) -> tuple[str, ...]:
    """Return the given names, or that many names from the catalogue (then made-up ones)."""
    if not isinstance(symbols, int):
        listed = tuple(symbols)
        if len(set(listed)) != len(listed):
            raise ValueError("a symbol is listed twice")
        return listed
    if symbols < 1:
        raise ValueError("a market needs at least one symbol")
    known = tuple(_catalogue())
    return known[:symbols] + tuple(f"SIM{i}USDT" for i in range(len(known), symbols))


def spec_for(
    name: str,
    *,
    price: float | None = None,
    activity: float = 1.0,
    new: bool = False,
    underlying_type: str = "",
) -> SymbolSpec:
    """Return the contract called ``name``; one that is not in the catalogue gets parameters derived from its name.

    ``new``: it has no history. ``price`` is in USDT. A name such as BTCUSDT_261225 is a quarterly, which has no
    funding and is delivered on that day at 08:00 UTC. An ``underlying_type`` other than COIN makes it a
    TRADIFI_PERPETUAL; contracts in the catalogue have their own.
    """
    salt = zlib.crc32(name.encode())
    quarterly = _DELIVERY.fullmatch(name)
    pair = quarterly[1] if quarterly else name
    underlying_type = underlying_type or TRADIFI.get(pair, "COIN")
    tradifi = underlying_type != "COIN"
    known = _catalogue().get(pair) or _tradifi().get(pair)
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
    spot, multiple = (None if name in WITHOUT_SPOT or tradifi or quarterly else name), 1
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
        funding_hours=0 if quarterly else FUNDING_HOURS.get(name, 8),
        age=0 if new else age * HOUR if age else (1_560 + mix(salt, 5) % 900) * DAY,
        spot=spot,
        spot_multiple=multiple,
        contract_type=CURRENT_QUARTER if quarterly else TRADIFI_PERPETUAL if tradifi else PERPETUAL,
        underlying_type=underlying_type,
        pair=pair,
        delivery=_delivery(quarterly[2]) if quarterly else FOREVER,
    )


def _delivery(day: str) -> int:
    return int(datetime.strptime(day + "08", "%y%m%d%H").replace(tzinfo=timezone.utc).timestamp()) * 1000


def _scaled(text: str, decimals: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction[:decimals].ljust(decimals, "0"))
