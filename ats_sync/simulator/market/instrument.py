"""One symbol's trade process and everything that follows from it."""

from __future__ import annotations

import zlib
from math import log
from random import Random

from .book import Book, BookState
from .candles import Candles
from .decimals import fixed, mix
from .history import TRADES_A_MOMENT, History
from .intervals import DAY, MINUTE
from .symbols import SymbolSpec
from .trades import OLDER, AggTrades, effective_moments, make_back

SLOT = 100  # ms; at most one taker order per slot


class Instrument:
    """A contract that trades: its price, its book, its trades and candles.

    Everything follows from the arguments and from the times of the processed moments, so the steps in which exchange
    time advances do not matter.
    """

    def __init__(self, spec: SymbolSpec, seed: int, start: int) -> None:
        self.spec = spec
        self.name = spec.name
        self.lower = spec.name.lower()
        self.salt = mix(seed, zlib.crc32(spec.name.encode()))
        self.phase = self.salt % SLOT
        self.silent = False
        self.pending = False  # announced, but not trading yet
        self.next_moment = 0  # the time it is scheduled for; 0: none
        self._random = Random(mix(self.salt, 7)).random
        self._price_texts: dict[int, str] = {}

        minute = start - start % MINUTE
        self.listed = minute - spec.age if spec.age else start
        begin = min(self.listed, minute)
        rate = TRADES_A_MOMENT * effective_moments(spec.moments) / 1000
        # Room for all trades of the past; a contract that joins later begins above those of an earlier life.
        next_trade = int(rate * spec.age * 2) + self.salt % 10_000_000 + 1 if spec.age else start // 10
        recent = make_back(
            spec,
            self.salt,
            price=spec.price,
            before=start,
            until=minute,
            begin=max(begin, minute),
            least=0,
            next_trade=next_trade,
        ) if spec.age else None  # fmt: skip
        self._trade_at_start = next_trade
        self.trades = AggTrades(next_trade // 2 + 1, next_trade)
        self._first_order = self.trades.next_id
        close = spec.price
        if recent:
            self.trades.prepend(recent)
            close = recent[0]
        self.candles = Candles(History(spec, self.salt, begin=begin, end=minute, close=close))
        for trade_id in range(self.trades.first_id, self.trades.next_id):
            trade = self.trades.get(trade_id)
            self.candles.add(trade.time, trade.price, trade.qty, trade.last - trade.first + 1, not trade.maker_buys)
        self.trades.last_time = start
        self._made = len(self.trades)
        self._begin = begin
        self._start = start

        # Twice the standard deviation of the price, in ticks per square root of ms.
        self._step = 2 * spec.price * spec.daily_move / DAY**0.5
        self._where = float(spec.price)
        self._moved_at = start
        self.bid = spec.price
        self.ask = spec.price + spec.spread
        self.book = Book(spec, self.salt)
        self._book_origin = start - self.salt % 50_000_000 * spec.book_tick
        self._frozen_changes: int | None = None
        self._frozen_since = 0  # transaction time of the last change before that
        self.marked = self.bid + self.ask  # twice the middle at the last full second
        self.forced_at = 0  # of the last forced order

    @property
    def untraded(self) -> bool:
        """Whether it has never traded."""
        return not self.spec.age and self.trades.next_id == self._first_order

    # -- the process -------------------------------------------------------------------------------------------

    def moment_after(self, at: int) -> int:
        """Draw when the next taker order comes, later than ``at``; 0: never."""
        rate = self.spec.moments * SLOT / 1000
        if rate <= 0:
            return 0
        slots = int(-log(1 - self._random()) / rate)
        return at + 1 + (self.phase - at - 1) % SLOT + slots * SLOT

    def moment(self, now: int) -> None:
        """Make the taker orders that arrive at ``now``: one, which may walk up the book, and maybe one against it."""
        random = self._random
        spec = self.spec
        at = now - 1 - int(random() * 12)
        if at < self.trades.last_time:
            at = self.trades.last_time
        step = self._step * (now - self._moved_at) ** 0.5
        self._moved_at = now
        where = self._where + (random() + random() + random() - 1.5) * step
        if not spec.price * 0.4 < where < spec.price * 2.5:
            where += (spec.price - where) * 0.01
        self._where = where
        bid = int(where)
        if bid < 2:
            bid = 2
        move = bid - self.bid
        buys = move > 0 if move else random() < 0.5
        levels = 1
        if move and random() < 0.5:
            levels = min(1 + abs(move), 3)
        price, direction = (self.ask, 1) if buys else (self.bid, -1)
        for _ in range(levels):
            self._take(price, buys, at)
            price += direction
        self.bid, self.ask = bid, bid + spec.spread
        if random() < 0.3:
            self._take(bid if buys else self.ask, not buys, at)

    def force(self, at: int, ticks: int, qty: int | None) -> None:
        """Make one trade at the touch, after moving the touch by ``ticks``."""
        if self.bid + ticks < 1:
            raise ValueError(f"the price of {self.name} cannot fall by {-ticks} ticks")
        self._where += ticks
        self.bid += ticks
        self.ask += ticks
        buys = ticks >= 0
        price = self.ask if buys else self.bid
        size = max(1, self.spec.mean_qty) if qty is None else qty
        self.candles.add(at, price, size, 1, buys)
        self.trades.add(price, size, 1, at, not buys)

    def _take(self, price: int, buys: bool, at: int) -> None:
        random = self._random
        trades = 1 if random() < 0.6 else 1 + int(random() * 4)
        qty = trades - int(self.spec.mean_qty * trades * log(1 - random()) * 0.8)
        self.candles.add(at, price, qty, trades, buys)
        self.trades.add(price, qty, trades, at, not buys)

    def restart_ids(self, now: int) -> None:
        """Restart the ids of book updates and trades from low numbers; older trades are forgotten."""
        self.book.restart_ids(self.state(now))
        self._first_order -= self.trades.restart_ids()
        self._made = OLDER

    def make_older_trades(self) -> None:
        """Fill in the trades before the beginning, if that has not been done."""
        if not self.spec.age or self._made >= OLDER:
            return
        newest = self.trades
        older = make_back(
            self.spec,
            self.salt,
            price=self.spec.price,
            before=self._start,
            until=self._start - self._start % MINUTE,
            begin=self._begin,
            least=OLDER,
            next_trade=self._trade_at_start,
        )
        if newest.first_id <= self._first_order:
            newest.prepend(older[: len(older) - self._made * 5])
        self._made = OLDER

    # -- the book ----------------------------------------------------------------------------------------------

    def state(self, now: int) -> BookState:
        """Return what the book depends on at ``now``."""
        changes = self._frozen_changes
        if changes is None:
            changes = (now - self._book_origin) // self.spec.book_tick
        return BookState(changes, self.trades.next_id - self._first_order, self.bid, self.ask)

    def changed_at(self, now: int) -> int:
        """Return the transaction time of the book's last change."""
        if self._frozen_changes is not None:
            return max(self._frozen_since, self.trades.last_time)
        return max(now - (now - self._book_origin) % self.spec.book_tick, self._frozen_since, self.trades.last_time)

    def freeze(self, now: int) -> None:
        """Stop the symbol's trades and the changes of its book."""
        self.silent = True
        self._frozen_since = self.changed_at(now)
        self._frozen_changes = self.state(now).changes

    def thaw(self, now: int) -> None:
        """Let it trade again; the book continues from where it stopped."""
        self.silent = False
        if self._frozen_changes is not None:
            tick = self.spec.book_tick
            self._book_origin = now - now % tick - self._frozen_changes * tick
            self._frozen_changes = None
            self._moved_at = now

    # -- texts -------------------------------------------------------------------------------------------------

    def price_text(self, ticks: int) -> str:
        text = self._price_texts.get(ticks)
        if text is None:
            if len(self._price_texts) > 4_000:
                self._price_texts.clear()
            text = fixed(ticks * self.spec.tick, self.spec.price_decimals)
            self._price_texts[ticks] = text
        return text

    def level_text(self, ticks: int, steps: int) -> str:
        """Return one level of a book as JSON."""
        return f'["{self.price_text(ticks)}","{fixed(steps, self.spec.qty_decimals)}"]'

    def qty_text(self, steps: int) -> str:
        return fixed(steps, self.spec.qty_decimals)
