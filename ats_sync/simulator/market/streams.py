"""The subscribed streams: parsed names, and what each stream remembers between two frames."""

from __future__ import annotations

import re
from typing import NamedTuple

from .book import BookState
from .candles import Candles
from .history import Candle, merged
from .intervals import INTERVALS, floor_open, next_open

# A candle without a trade in the next one becomes final this long after its close.
FINAL_AFTER = 2_003

_DEPTH = re.compile(
    r"depth(5|10|20)?(?:@(100|500)ms)?"
)  # 250 ms is the speed of a name without one; a name that states it is silent (measured)
_DEFAULT_DEPTH_SPEED = 250


class StreamName(NamedTuple):
    """``symbol`` in lower case ("" for all-market streams), ``kind`` ("kline", "depth", …), its parameter."""

    symbol: str
    kind: str
    interval: str = ""
    levels: int = 0
    speed: int = 0


def parse(name: str) -> StreamName | None:
    """Return a parsed stream name, or None if the exchange has no such kind."""
    if name.startswith("!") or name == "tradingSession":
        return StreamName("", name)
    symbol, _, rest = name.partition("@")
    kind, _, parameter = rest.partition("_")
    if kind == "kline" and parameter in INTERVALS:
        return StreamName(symbol, "kline", interval=parameter)
    if rest in ("aggTrade", "trade", "bookTicker", "forceOrder", "ticker"):
        return StreamName(symbol, rest)
    if rest in ("markPrice", "markPrice@1s"):
        return StreamName(symbol, "markPrice", speed=3000 if rest == "markPrice" else 1000)
    depth = _DEPTH.fullmatch(rest)
    if depth:
        return StreamName(symbol, "depth", levels=int(depth[1] or 0), speed=int(depth[2] or _DEFAULT_DEPTH_SPEED))
    return None


class KlineStream:
    """One kline stream: its current candle, and when its next event may be sent."""

    __slots__ = ("dirty", "ends", "finished", "interval", "name", "opened", "period", "prefix", "ready")

    def __init__(self, name: str, interval: str, period: int, candles: Candles, now: int) -> None:
        self.name = name
        self.interval = interval
        self.period = period
        self.ready = 0
        self.dirty = False
        minute = candles.current[0]
        self.opened = floor_open(interval, minute)
        self.ends = next_open(interval, self.opened)
        self.prefix: Candle | None = None  # what traded in the candle before the current minute
        if self.opened < minute:
            whole = candles.series(interval, self.opened, self.opened, before=minute)[0]
            self.prefix = whole if whole[6] else None
        self.finished = now >= self.ends + FINAL_AFTER

    def candle(self, minute: Candle) -> Candle:
        """Return the candle so far; ``minute`` is that of the last trade."""
        return merged(self.prefix, minute) if self.prefix else minute

    def turn(self, ended: Candle, opened: int) -> bool:
        """End the minute ``ended``, before trades in the one at ``opened``; return whether a new candle began."""
        if opened >= self.ends:
            self.opened = floor_open(self.interval, opened)
            self.ends = next_open(self.interval, self.opened)
            self.prefix = None
            self.finished = False
            return True
        if ended[6]:
            self.prefix = self.candle(ended)
        return False


class BookStream:
    """A depth or bookTicker stream: the content of its last frame."""

    __slots__ = ("alive", "asks", "bids", "last_id", "levels", "name", "noted", "sent", "speed", "state")

    def __init__(self, name: str, levels: int, speed: int) -> None:
        self.name = name
        self.levels = levels
        self.speed = speed
        self.alive = True
        self.state: BookState | None = None
        self.last_id = 0
        self.sent: object = None
        # For a stream of differences: up to where they are noted, and the prices noted since its last frame.
        self.noted: BookState | None = None
        self.bids: set[int] = set()
        self.asks: set[int] = set()
