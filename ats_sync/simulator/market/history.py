"""Candles before the market's beginning: generated on demand, from coarse to fine.

The past is tiled by root candles (days, and shorter ones if the day is cut by the beginning or by the listing), drawn
backwards in time from the price at the beginning. A candle is split into finer ones only when they are needed; the
parts add up to the whole exactly, so that all intervals agree, however they are reached.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from math import exp

from .decimals import mix
from .intervals import DAY, FOUR_HOURS, HOUR, MINUTE, QUARTER
from .symbols import SymbolSpec
from .trades import effective_moments

# open time, open, high, low, close (ticks), volume (steps), trades, quote volume (ticks × steps), taker buy volume,
# taker buy quote volume, the close before it
Candle = tuple[int, int, int, int, int, int, int, int, int, int, int]

# Mean number of trades in the taker orders of one tenth of a second.
TRADES_A_MOMENT = 2.6

_FINER = {DAY: FOUR_HOURS, FOUR_HOURS: HOUR, HOUR: QUARTER, QUARTER: MINUTE}
_LENGTHS = (DAY, FOUR_HOURS, HOUR, QUARTER, MINUTE)

# Split candles kept per symbol: what four intervals of 500 rows need, with room to spare.
_KEPT = 512


def merged(first: Candle, second: Candle) -> Candle:
    """Return the sum of two adjacent candles, ``first`` being the earlier one."""
    if not second[6]:
        return first
    if not first[6]:
        return (first[0], *second[1:10], first[10])
    return (
        first[0],
        first[1],
        first[2] if first[2] > second[2] else second[2],
        first[3] if first[3] < second[3] else second[3],
        second[4],
        first[5] + second[5],
        first[6] + second[6],
        first[7] + second[7],
        first[8] + second[8],
        first[9] + second[9],
        first[10],
    )


def flat(opened: int, price: int) -> Candle:
    """Return a candle without trades."""
    return (opened, price, price, price, price, 0, 0, 0, 0, 0, price)


class History:
    """The candles of one symbol in ``[begin, end)``, both on whole minutes; ``close`` is the last price."""

    def __init__(self, spec: SymbolSpec, salt: int, *, begin: int, end: int, close: int) -> None:
        self.begin = begin
        self.end = end
        self.close = close
        self._spec = spec
        self._root_salt = mix(salt, 1)
        self._part_salt = mix(salt, 2)
        self._rate = TRADES_A_MOMENT * effective_moments(spec.moments) / 1000  # trades a ms
        self._roots: list[tuple[int, Candle]] = []  # newest first, with their lengths
        self._root_opens: list[int] = []  # negated, so that they ascend
        self._reached = end
        self._price = close
        self._parts: dict[tuple[int, int], list[Candle]] = {}

    def rows(self, start: int, stop: int, length: int) -> list[Candle]:
        """Return the candles that tile ``[start, stop)``, each at most ``length`` ms long; oldest first."""
        start = max(start, self.begin)
        if start >= stop or start >= self.end:
            return []
        self._reach(start)
        found: list[Candle] = []
        # The oldest root that is not wholly before `start`; from there to the newest.
        first = min(bisect_left(self._root_opens, -start), len(self._roots) - 1)
        for index in range(first, -1, -1):
            root_length, root = self._roots[index]
            if root[0] >= stop:
                break
            if root[0] + root_length > start:
                self._collect(root, root_length, start, stop, length, found)
        return found

    def _collect(
        self, candle: Candle, candle_length: int, start: int, stop: int, length: int, found: list[Candle]
    ) -> None:
        if candle_length <= length:
            found.append(candle)
            return
        part_length = _FINER[candle_length]
        parts = self._split(candle, candle_length, part_length)
        if part_length <= length and parts[0][0] >= start and parts[-1][0] < stop:
            found.extend(parts)
            return
        for part in parts:
            if part[0] >= stop:
                break
            if part[0] + part_length > start:
                self._collect(part, part_length, start, stop, length, found)

    def _reach(self, start: int) -> None:
        """Draw roots backwards until they cover ``start``."""
        while self._reached > start:
            end = self._reached
            length = DAY
            if end % DAY or end - DAY < self.begin:
                length = next(n for n in _LENGTHS if not end % n and end - n >= self.begin)
            root = self._draw(end - length, length, self._price)
            self._roots.append((length, root))
            self._root_opens.append(-root[0])
            self._reached = root[0]
            self._price = root[10]

    def _draw(self, opened: int, length: int, close: int) -> Candle:
        spec = self._spec
        bits = mix(self._root_salt, opened + length)
        more = mix(bits)
        expected = self._rate * length
        if expected < 40:
            bursts = _poisson(expected / TRADES_A_MOMENT, (bits & 0xFFFFF) / 0x100000)
            trades = bursts + int(2 * (TRADES_A_MOMENT - 1) * bursts * (more >> 48) / 0x10000)
        else:
            trades = int(expected * (0.5 + (bits & 0xFFFFF) / 0x100000))
        if not trades:
            return flat(opened, close)
        previous_gap = (0, -1, 1, 0)[bits >> 20 & 3]
        if trades == 1:
            open_ = high = low = close
        else:
            spread = close * spec.daily_move * (length / DAY) ** 0.5
            lowest, highest = max(50, spec.price // 6), spec.price * 6
            drift = (spec.price - close) * 0.002 * length / DAY
            # The sum of three draws is close enough to a normal distribution.
            normal = ((more & 0xFFFF) + (more >> 16 & 0xFFFF) + (more >> 32 & 0xFFFF)) / 0x8000 - 3
            open_ = close + round(normal * spread + drift)
            open_ = min(max(open_, close - close // 4, lowest), close + close // 3, highest)
            high, low = max(open_, close), min(open_, close)
            if trades >= 4:
                above, below = bits >> 22 & 0xFF, bits >> 30 & 0xFF
                high += int(above * above * spread / 43_690)
                low = max(low - int(below * below * spread / 43_690), low // 2 + 1)
        volume = trades + int(trades * spec.mean_qty * (0.6 + (more >> 44) / 1_310_720))
        if trades > 1:
            bought = int(volume * (0.35 + (bits >> 48) / 218_454))
        else:
            bought = volume * (bits >> 63)
        middle = (open_ + close) // 2
        buy_quote = _mean_price(low, high, middle, bits >> 38 & 0x1F) * bought
        sell_quote = _mean_price(low, high, middle, bits >> 43 & 0x1F) * (volume - bought)
        previous = max(1, open_ + previous_gap)
        return (
            opened, open_, high, low, close, volume, trades, buy_quote + sell_quote, bought, buy_quote, previous,
        )  # fmt: skip

    def _split(self, candle: Candle, length: int, part_length: int) -> list[Candle]:
        key = (candle[0], part_length)
        parts = self._parts.get(key)
        if parts is None:
            if len(self._parts) >= _KEPT:
                self._parts.clear()
            seed = mix(self._part_salt, candle[0] + part_length // MINUTE)
            parts = split(candle, length // part_length, part_length, seed)
            self._parts[key] = parts
        return parts


def _mean_price(low: int, high: int, middle: int, chance: int) -> int:
    """Return a price near ``middle``; ``chance`` is below 32."""
    return min(high, max(low, middle + (high - low) * (chance - 16) // 160))


def _poisson(expected: float, chance: float) -> int:
    """Return the number of rare events that ``chance`` (0 to 1) stands for."""
    count = 0
    weight = exp(-expected)
    while chance > weight and count < 200:
        chance -= weight
        count += 1
        weight *= expected / count
    return count


def split(candle: Candle, count: int, length: int, seed: int) -> list[Candle]:
    """Cut ``candle`` into ``count`` parts of ``length`` ms that add up to it exactly.

    A candle with few trades is spread over few parts, so that every part that traded has several trades, and with them
    room for a range of prices; the other parts are flat.
    """
    opened, open_, high, low, close, volume, trades, quote, bought, buy_quote, previous = candle
    if not trades:
        return [flat(opened + i * length, previous) for i in range(count)]
    active = min(count, max(1, trades // 6))
    if active == 1:
        chosen = seed % count
        return [
            (opened + i * length, *candle[1:]) if i == chosen
            else flat(opened + i * length, previous if i < chosen else close)
            for i in range(count)
        ]  # fmt: skip
    places: Iterable[int] = range(count) if active == count else _places(active, count, seed)

    # Trades, volume and taker buys in rough proportion; the last part takes the rest.
    draws = []
    whole = 0
    for _ in range(active):
        seed = seed * 6364136223846793005 + 1442695040888963407 & 0xFFFFFFFFFFFFFFFF
        draws.append(seed >> 16)
        whole += 1_200 + (seed >> 16 & 0xFFF)
    trade_rate, volume_rate = (trades - 4 * active) / whole, (volume - trades) / whole
    buy_share = bought / volume / 0x1000
    counts, volumes, buys = [], [], []
    trades_left, volume_left, bought_left = trades, volume, bought
    # Within the range, a path from open to close.
    opens, highs, lows, closes = [], [], [], []
    reach = high - low
    price = open_
    left = active
    fits = True
    for bits in draws:
        left -= 1
        if left:
            weight = 1_200 + (bits & 0xFFF)
            n = 4 + int(weight * trade_rate)
            v = n + int(weight * volume_rate)
            b = int(v * buy_share * (2_868 + (bits >> 12 & 0xFFF) * 3 // 5))
            fits = fits and b <= v
            trades_left -= n
            volume_left -= v
            bought_left -= b
            ahead = close + (open_ - close) * left // active + ((bits >> 24 & 0xFFF) - 0x800) * reach // 6_800
            ahead = low if ahead < low else high if ahead > high else ahead
            counts.append(n)
            volumes.append(v)
            buys.append(b)
        else:
            ahead = close
        above, below = bits >> 36 & 0x3F, bits >> 42 & 0x3F
        if price > ahead:
            top, bottom = price + above * above * reach // 13_000, ahead - below * below * reach // 13_000
        else:
            top, bottom = ahead + above * above * reach // 13_000, price - below * below * reach // 13_000
        opens.append(price)
        closes.append(ahead)
        highs.append(high if top > high else top)
        lows.append(low if bottom < low else bottom)
        price = ahead
    counts.append(trades_left)
    volumes.append(volume_left)
    buys.append(bought_left)
    if not fits or not 0 <= bought_left <= volume_left:
        buys = _capped(bought, volumes)
    sells = list(map(int.__sub__, volumes, buys))
    # The parts that come nearest reach the high and the low.
    highs[highs.index(max(highs))] = high
    lows[lows.index(min(lows))] = low

    sell_quote = quote - buy_quote
    buy_least, buy_most = _bounds(buys, lows, highs)
    sell_least, sell_most = _bounds(sells, lows, highs)
    if not (buy_least <= buy_quote <= buy_most and sell_least <= sell_quote <= sell_most):
        _make_room(buy_quote, buys, lows, highs, low, high)
        _make_room(sell_quote, sells, lows, highs, low, high)
        buy_least, buy_most = _bounds(buys, lows, highs)
        sell_least, sell_most = _bounds(sells, lows, highs)
    # The quote volume of every part lies as far between its minimum and its maximum as that of the whole does.
    buy_room, sell_room = buy_most - buy_least or 1, sell_most - sell_least or 1
    buy_over, sell_over = buy_quote - buy_least, sell_quote - sell_least
    buy_rest, sell_rest = buy_quote, sell_quote
    parts: list[Candle] = []
    before = previous
    at = opened
    for place, open_, top, bottom, ahead, v, n, b, sold in zip(
        places, opens, highs, lows, closes, volumes, counts, buys, sells, strict=True
    ):
        to = opened + place * length
        while at < to:
            parts.append(flat(at, before))
            at += length
        reach = top - bottom
        bought_for = b * bottom + b * reach * buy_over // buy_room
        sold_for = sold * bottom + sold * reach * sell_over // sell_room
        buy_rest -= bought_for
        sell_rest -= sold_for
        parts.append((at, open_, top, bottom, ahead, v, n, bought_for + sold_for, b, bought_for, before))
        before = ahead
        at += length
    ends = opened + count * length
    while at < ends:
        parts.append(flat(at, before))
        at += length
    if buy_rest or sell_rest:
        _add_rest(buy_rest, sell_rest, parts)
    return parts


def _places(active: int, count: int, seed: int) -> list[int]:
    """Return ``active`` of ``count`` places, in order."""
    chosen: list[int] = []
    for place in range(count):
        if mix(seed, place) % (count - place) < active - len(chosen):
            chosen.append(place)
    return chosen


def _capped(total: int, caps: list[int]) -> list[int]:
    """Return ``total`` split in proportion to ``caps``, whose sum it does not exceed; no part is above its cap."""
    whole = sum(caps)
    shares = [cap * total // whole for cap in caps]
    rest = total - sum(shares)
    for i, cap in enumerate(caps):
        more = min(rest, cap - shares[i])
        shares[i] += more
        rest -= more
    return shares


def _bounds(volumes: list[int], lows: list[int], highs: list[int]) -> tuple[int, int]:
    """Return the minimum and maximum quote volume of ``volumes`` within the ranges."""
    return sum(map(int.__mul__, volumes, lows)), sum(map(int.__mul__, volumes, highs))


def _make_room(quote: int, volumes: list[int], lows: list[int], highs: list[int], low: int, high: int) -> None:
    """Widen parts to the range of the whole until ``quote`` is possible within their ranges."""
    least, most = _bounds(volumes, lows, highs)
    for i, part in enumerate(volumes):
        if least <= quote <= most:
            return
        if quote < least:
            least -= part * (lows[i] - low)
            lows[i] = low
        else:
            most += part * (high - highs[i])
            highs[i] = high


def _add_rest(bought: int, sold: int, parts: list[Candle]) -> None:
    """Add the few units of quote volume that division left over to parts with room for them."""
    for i, part in enumerate(parts):
        if not part[6]:
            continue
        more_bought = min(bought, part[2] * part[8] - part[9])
        more_sold = min(sold, part[2] * (part[5] - part[8]) - (part[7] - part[9]))
        if more_bought or more_sold:
            bought -= more_bought
            sold -= more_sold
            parts[i] = (
                *part[:7], part[7] + more_bought + more_sold, part[8], part[9] + more_bought, part[10],
            )  # fmt: skip
            if not bought and not sold:
                return
