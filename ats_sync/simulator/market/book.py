"""The order book of one symbol, as a function of its state.

No levels are stored. The quantity at a price follows from the price, from the best prices, and from how often the book
has changed; so a snapshot, the difference between any two moments and a twenty-level frame agree by construction,
and a book that nobody reads costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .decimals import mix
from .symbols import SymbolSpec

# Levels this near the touch change every few changes of the book, the others in turn over a longer cycle.
_NEAR = 8
_NEAR_ROUND = 8
_FAR_ROUND = 256
_STRIDE = 0x9E5  # odd, so that neighbours change at different times
_FAR_INVERSE = pow(_STRIDE, -1, _FAR_ROUND)
_MASK = 0xFFFFFFFF
RESTARTED_AT = 10_000
"""The update id from which a restarted count continues."""

Level = tuple[int, int]


class BookState(NamedTuple):
    """Everything that a book depends on: number of changes, number of taker orders, and the best prices in ticks."""

    changes: int
    orders: int
    bid: int
    ask: int


class Book:
    """The levels of one symbol's book at any :class:`BookState`."""

    def __init__(self, spec: SymbolSpec, salt: int) -> None:
        self._width = spec.book_width
        self._salt = mix(salt, 5) & _MASK
        self._present = int(spec.book_density * 0xFFFF)
        self._lot = max(1, spec.mean_qty * 6)
        self._written: dict[int, dict[int, tuple[int, str]]] = {-1: {}, 1: {}}
        self._first_id = 600_000_000_000 + mix(salt, 6) % 9_000_000_000_000

    def update_id(self, state: BookState) -> int:
        """Return the update id, which grows by several with every change."""
        return self._first_id + 7 * state.changes + 11 * state.orders

    def restart_ids(self, state: BookState) -> None:
        """Restart the update ids from a low number, which is that of ``state``."""
        self._first_id += RESTARTED_AT - self.update_id(state)

    def top(self, state: BookState, limit: int) -> tuple[list[Level], list[Level]]:
        """Return the best ``limit`` bids and asks as (ticks, steps), best first; fewer if the book is thin."""
        return (
            self._best(state, -1, state.bid, limit),
            self._best(state, 1, state.ask, limit),
        )

    def whole(self, state: BookState) -> tuple[list[Level], list[Level]]:
        """Return all bids and asks, in the form of :meth:`top`."""
        return self.top(state, self._width)

    def top_texts(self, state: BookState, limit: int, write: Callable[[int, int], str]) -> tuple[str, str]:
        """Return :meth:`top` as two JSON arrays of levels written by ``write``; unchanged levels are reused."""
        return (
            self._best_text(state, -1, state.bid, limit, write),
            self._best_text(state, 1, state.ask, limit, write),
        )

    def touch(self, state: BookState) -> tuple[int, int]:
        """Return the quantities at the best bid and the best ask."""
        return (
            self._quantity(state, -1, state.bid, state.bid),
            self._quantity(state, 1, state.ask, state.ask),
        )

    def touched(self, before: BookState, after: BookState) -> tuple[set[int], set[int]]:
        """Return the prices of the bids and of the asks at which something changed in between, even if it changed back.

        In between, the book changed on its own first, then the best prices moved.
        """
        return (
            self._touched(before, after, -1, before.bid, after.bid),
            self._touched(before, after, 1, before.ask, after.ask),
        )

    def quantities(self, state: BookState, bids: set[int], asks: set[int]) -> tuple[list[Level], list[Level]]:
        """Return the quantities at these prices (0: none), bids and asks, best first."""
        return (
            [(p, self._quantity(state, -1, state.bid, p)) for p in sorted(bids, reverse=True)],
            [(p, self._quantity(state, 1, state.ask, p)) for p in sorted(asks)],
        )

    def _span(self, side: int, best: int) -> range:
        if side < 0:
            return range(best, max(0, best - self._width), -1)
        return range(best, best + self._width)

    def _best(self, state: BookState, side: int, best: int, limit: int) -> list[Level]:
        found: list[Level] = []
        for price in self._span(side, best):
            qty = self._quantity(state, side, best, price)
            if qty:
                found.append((price, qty))
                if len(found) == limit:
                    break
        return found

    def _best_text(self, state: BookState, side: int, best: int, limit: int, write: Callable[[int, int], str]) -> str:
        written = self._written[side]
        if len(written) > 2_000:
            written.clear()
        changes = state.changes
        texts = [write(best, self._quantity(state, side, best, best))]
        near = best + _NEAR * side
        for price in self._span(side, best)[1:]:
            if (price - near) * side < 0:
                epoch = (changes + price) // _NEAR_ROUND
            else:
                epoch = (changes + price * _STRIDE) // _FAR_ROUND
            known = written.get(price)
            if known is None or known[0] != epoch:
                qty = self._quantity(state, side, best, price)
                known = (epoch, write(price, qty) if qty else "")
                written[price] = known
            if known[1]:
                texts.append(known[1])
                if len(texts) == limit:
                    break
        return "[" + ",".join(texts) + "]"

    def _quantity(self, state: BookState, side: int, best: int, price: int) -> int:
        """Return the steps at ``price``; 0 outside the book."""
        distance = (price - best) * side
        if not distance:
            epoch = state.orders * 65_537 + state.changes // 4
        elif distance < 0 or distance >= self._width or price <= 0:
            return 0
        elif distance < _NEAR:
            epoch = (state.changes + price) // _NEAR_ROUND
        else:
            epoch = (state.changes + price * _STRIDE) // _FAR_ROUND
        fixed = (price * 0x9E3779B1 + self._salt + side) & _MASK
        fixed = (fixed ^ (fixed >> 15)) * 0x2C1B3C6D & _MASK
        if distance and (fixed >> 16) > self._present:
            return 0
        noise = (fixed ^ epoch * 0x85EBCA6B) & _MASK
        noise = (noise ^ (noise >> 13)) * 0xC2B2AE35 & _MASK
        noise ^= noise >> 16
        if distance and not noise & 31:
            return 0
        # Many small orders and a few large ones.
        share = (noise >> 5 & 0x3FF) + 1
        large = 1 + (noise >> 15 & 0x3F) // 12
        return max(1, self._lot * share * large >> 10)

    def _touched(self, before: BookState, after: BookState, side: int, old_best: int, new_best: int) -> set[int]:
        span = self._span(side, old_best)
        touched: set[int] = set()
        if after.changes - before.changes >= _FAR_ROUND:
            touched.update(span)
        else:
            low, high = min(span[0], span[-1]), max(span[0], span[-1])
            for change in range(before.changes + 1, after.changes + 1):
                near = -change % _NEAR_ROUND
                touched.update(price for price in span[:_NEAR] if price % _NEAR_ROUND == near)
                residue = -change * _FAR_INVERSE % _FAR_ROUND
                touched.update(range(low + (residue - low) % _FAR_ROUND, high + 1, _FAR_ROUND))
                if change % 4 == 0:
                    touched.add(old_best)
        if after.orders != before.orders:
            touched.update((old_best, new_best))
        if old_best != new_best:
            # Prices that crossed the touch, the border of the near levels, or the far end.
            first, last = min(old_best, new_best), max(old_best, new_best)
            for offset in (0, _NEAR * side, self._width * side):
                touched.update(range(max(1, first + offset), last + offset + 1))
        return touched
