"""Random schedules in the manner of swarm testing: each leaves out a random part of the kinds of fault, so that rare
pairs meet.

The explorer draws fresh ones without end; the ordinary tests draw the same ones at every run (:func:`fixed`), whichever
library for random tests is installed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from . import faults as f
from .exchange import REST_KINDS
from .faults import Fault
from .recording import SETTINGS
from .script import STEP, Setting
from .world import Read, Schedule

SHORT, LONG, DENSE = 60_000, 3 * 3_600_000, 25_000
"""Faults begin before this (ms)."""
MEETING = 20_000
"""Faults that meet do so before this (ms)."""
LONG_SHARE, WIDE_SHARE = 0.004, 0.01
"""How many of the explorer's schedules last hours, and how many have 50 symbols: of 20,000 about 80 and 200. One that
lasts hours costs as much as 30 of the usual ones, one with 50 symbols as much as 6: together a seventh of the time."""
DENSE_SHARE = 0.4
"""How many of the schedules of the usual size have more faults of fewer kinds in a shorter time, and more reads: each
meets the next."""
MEETING_SHARE = 0.25
"""In how many of the rest something happens to the market and other faults come at about the same time."""
RESTART_SHARE = 0.1
"""In how many of the rest the process is killed."""
CONSUMED_SHARE = 0.1
"""In how many of the rest with candles of a minute there are consumers of events."""
COPIED_SHARE = 0.1
"""In how many of the usual size, where nothing is derived, another process copies what is known."""
FULL_BOOK_SHARE = 0.25
"""In how many somebody reads a whole book."""
DERIVE_SHARE = 0.1
"""For how many of the settings of the usual size larger candles are derived from smaller ones."""
CHAINS = (
    ("1m", "3m"),
    ("1m", "15m", "1h"),
    ("1m", "1h", "1d"),
    ("15m", "1h", "4h", "1d"),
    ("1m", "30m", "1d", "1w", "1M"),
)
WIDE = 50
COUNTINGS = ("clock", "clock", "clock", "sliding", "silent")
SCHEDULES_A_SETTING, WIDE_A_SETTING, LONG_A_SETTING = 40, 3, 1
"""How many schedules of one size share a setting, and so the making of its recording."""
LAGS = 2
"""Connections lag for good at most so often: each time the next one is replaced after a pause twice as long."""
INTERVALS = ("3m", "5m", "15m", "30m", "1h", "2h", "4h", "1d", "3d", "1w", "1M")
READS = ("klines", "klines", "trades", "book", "mark", "spot", "open interest")
NAMES = (
    "BTCUSDT", "币安人生USDT", "BTCDOMUSDT", "ETHUSDT", "1000PEPEUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT",
)  # fmt: skip

Make = Callable[[random.Random, "Draw"], Fault]


class Draw:
    """What the faults of one schedule are drawn from. Where they meet, they come at about the same time, and most of
    them affect one symbol."""

    def __init__(
        self, rng: random.Random, setting: Setting, horizon: int, *, full_book: bool = False, meet: bool = False
    ) -> None:
        self._rng = rng
        self._meeting = (rng.randrange(MEETING), rng.choice(setting.symbols)) if meet else None
        self._books = ("depth20@100ms", "depth@100ms") if full_book else ("depth20@100ms",)
        self.symbols = [symbol.lower() for symbol in setting.symbols]
        self.intervals = setting.intervals
        self.horizon = horizon

    def at(self) -> int:
        if self._meeting is None:
            return self._rng.randrange(self.horizon // 50) * 50
        spread = self._rng.choice((1_000, 4_000, 10_000))
        return max(0, self._meeting[0] + self._rng.randrange(-spread, spread)) // 50 * 50

    def lasts(self, most: int = 30_000) -> int:
        return max(50, round(most ** self._rng.uniform(0.3, 1.0) / 50) * 50)

    def route(self) -> str:
        return self._rng.choice(("", "market", "public"))

    def share(self) -> float:
        return self._rng.choice((0.2, 0.5, 1.0))

    def symbol(self) -> str:
        if self._meeting is not None and self._rng.random() < 0.8:
            return self._meeting[1]
        return self._rng.choice(self.symbols).upper()

    def stream(self) -> str:
        kind = self._rng.choice(("aggTrade", *self._books, *(f"kline_{interval}" for interval in self.intervals)))
        return f"{self.symbols[0] if kind == 'depth@100ms' else self._rng.choice(self.symbols)}@{kind}"

    def streams(self) -> str:
        some = ("kline_1m", "kline", "aggTrade", "depth20", "final", "!", self.symbol().lower())
        return self._rng.choice((*some, self.stream(), self.stream()))


def _rest(rng: random.Random, draw: Draw) -> Fault:
    kind = rng.choice(REST_KINDS)
    lag = rng.randrange(1, 11) * 1000 if kind == "lag" else 0
    if kind.startswith("slow") and rng.random() < 0.5:
        lag = rng.randrange(10, 31) * 100
    return f.Rest(draw.at(), draw.lasts(), kind, draw.share(), lag)


KINDS: dict[str, Make] = {
    "cut": lambda rng, draw: f.Cut(draw.at(), draw.route(), rng.random() < 0.5),
    "shutdown": lambda rng, draw: f.Shutdown(draw.at(), rng.choice((1_000, 10_000, 30_000)), draw.route()),
    "half open": lambda rng, draw: f.HalfOpen(draw.at(), draw.route()),
    "stall": lambda rng, draw: f.Stall(draw.at(), draw.lasts(20_000), draw.route()),
    "lag": lambda rng, draw: f.Lag(draw.at(), draw.route(), rng.randrange(3, 9) * 1000),
    "dark": lambda rng, draw: f.Dark(draw.at(), draw.lasts(20_000)),
    "refuse": lambda rng, draw: f.Refuse(draw.at(), draw.lasts()),
    "deaf": lambda rng, draw: f.Deaf(draw.at(), draw.lasts(20_000)),
    "events": lambda rng, draw: f.Events(
        draw.at(), draw.lasts(), rng.choice(("lose", "double", "late", "spoil")), draw.streams(), draw.share()
    ),
    "mute": lambda rng, draw: f.Mute(
        draw.at(), draw.lasts(), draw.stream(), rng.choice(("resubscribed", "moved", "ever"))
    ),
    "rest": _rest,
    "refuse name": lambda rng, draw: f.RefuseName(draw.at(), draw.lasts(), draw.stream()),
    "restart": lambda rng, draw: f.Restart(draw.at(), draw.symbol()),
    "ban": lambda rng, draw: f.Ban(draw.at(), draw.lasts()),
    "no retry-after": lambda rng, draw: f.NoRetryAfter(draw.at(), draw.lasts(60_000)),
    "maintenance": lambda rng, draw: f.Maintenance(
        draw.at(), draw.lasts(60_000), rng.choice(("SETTLING", "CLOSE", "BREAK", "PENDING_TRADING"))
    ),
    "others": lambda rng, draw: f.Others(draw.at(), rng.choice((0.3, 0.7, 0.95, 1.1))),
    "pause": lambda rng, draw: f.Pause(draw.at(), draw.lasts(60_000), rng.random() < 0.5),
    "sluggish": lambda rng, draw: f.Sluggish(draw.at(), draw.lasts(), rng.choice((50, 300))),
    "wall clock": lambda rng, draw: f.WallClock(draw.at(), rng.choice((-600.0, -3.0, 1.5, 600.0))),
    "recount": lambda rng, draw: f.Recount(draw.at(), draw.symbol()),
    "relist": lambda rng, draw: f.Relist(draw.at(), draw.symbol(), draw.lasts(60_000), rng.random() < 0.5),
    "recompute": lambda rng, draw: f.Recompute(
        draw.at(), draw.symbol(), rng.choice((0, 200, 600, 1500, 5_000, 20_000))
    ),
    "delist": lambda rng, draw: f.Delist(draw.at(), draw.symbol()),
    "halt": lambda rng, draw: f.Halt(draw.at(), draw.symbol(), draw.lasts(max(240_000, draw.horizon // 2))),
    "old halt": lambda rng, draw: f.OldHalt(
        0, draw.symbol(), round(rng.uniform(0.1, 6.0), 2), round(rng.uniform(0.02, 3.0), 2)
    ),
    "newcomer": lambda rng, draw: f.Newcomer(
        draw.at() if rng.random() < 0.7 else 20 * LONG, draw.symbol(), rng.random() < 0.5
    ),
}
"""How a fault of each kind is made."""


CONNECTION_KINDS = ("cut", "half open", "stall", "lag", "dark", "refuse", "deaf", "refuse name")
EVENT_KINDS = ("events", "mute", "restart")
REQUEST_KINDS = ("rest", "ban", "no retry-after", "maintenance", "others")
PROCESS_KINDS = ("pause", "sluggish", "wall clock")
MARKET_KINDS = ("recount", "relist", "recompute", "halt", "old halt", "newcomer")
MEETING_KINDS = (*MARKET_KINDS, "delist")
"""What happens to the market where faults meet."""
RESTART_KINDS = (*CONNECTION_KINDS, *EVENT_KINDS, *PROCESS_KINDS, "rest", "recount", "recompute", "halt", "old halt")
"""What may break where the process is killed too. What a process knows of a ban ends with it, and that a listing is
another one is seen by what reads the files."""
FAULT_KINDS = (*CONNECTION_KINDS, *EVENT_KINDS, *REQUEST_KINDS, *PROCESS_KINDS)
"""What breaks while the market goes on as it does. A kind that is added to these groups, from which the ordinary tests
draw, changes all of the schedules that they play."""


def batch_size(rng: random.Random) -> tuple[bool, bool, int]:
    """Return whether the schedules of a setting last hours, whether they have 50 symbols, and how many they are.

    The fewer schedules a setting of one size has, the more of the settings are of that size, so that the shares are
    those of all schedules.
    """
    usual = 1.0 - LONG_SHARE - WIDE_SHARE
    sizes = (
        (True, False, LONG_A_SETTING, LONG_SHARE),
        (False, True, WIDE_A_SETTING, WIDE_SHARE),
        (False, False, SCHEDULES_A_SETTING, usual),
    )
    [(long, wide, count, _)] = rng.choices(sizes, [share / count for _, _, count, share in sizes])
    return long, wide, count


def a_setting(rng: random.Random, *, wide: bool = False, long: bool = False) -> Setting:
    """Return a stretch of a market, often across the end of an hour, a day, a week or a month."""
    names = [f"S{number:02d}USDT" for number in range(WIDE)] if wide else rng.sample(NAMES, rng.choice((2, 2, 3)))
    if not wide and "BTCUSDT" not in names:
        names[0] = "BTCUSDT"
    ends = rng.choice((_hour, _day, _week, _month))(rng)
    before = rng.randrange(LONG if long else SHORT) // 1000
    start = int((ends - timedelta(seconds=before)).timestamp() * 1000) // STEP * STEP
    quiet = names[-1]
    script = [(rng.randrange(SHORT * 4) // STEP * STEP, "trade", quiet) for _ in range(rng.randrange(0, 14))]
    if rng.random() < 0.3:
        begins = rng.randrange(SHORT) // STEP * STEP
        script.append((begins, "halt", names[0]))
        if rng.random() < 0.7:
            script.append((begins + rng.randrange(STEP, SHORT * 2) // STEP * STEP, "resume", names[0]))
    return Setting(
        seed=rng.randrange(10**6),
        start=start,
        symbols=tuple(names),
        intervals=("1m",) if wide else ("1m", rng.choice(INTERVALS)),
        activity=0.0008 if wide or long else rng.choice((0.0015, 0.006, 0.02)),
        trailing_klines=rng.random() < 0.7,
        book_ticks=tuple(rng.choice((300, 700, 1500)) if not (wide or long) else 3000 for _ in names),
        script=tuple(sorted(script)),
    )


def derived(rng: random.Random, setting: Setting) -> Setting:
    """Return the same stretch with intervals of which all but one are derived."""
    return replace(setting, intervals=rng.choice(CHAINS))


def _hour(rng: random.Random) -> datetime:
    return datetime(2026, 11, rng.randrange(2, 28), rng.randrange(24), tzinfo=timezone.utc)


def _day(rng: random.Random) -> datetime:
    return datetime(2026, 11, rng.randrange(2, 28), tzinfo=timezone.utc)


def _week(rng: random.Random) -> datetime:
    return datetime(2026, 11, rng.choice((9, 16, 23)), tzinfo=timezone.utc)


def _month(rng: random.Random) -> datetime:
    return datetime(2026, rng.randrange(8, 13), 1, tzinfo=timezone.utc)


def fixed(name: str, number: int, kinds: Sequence[str]) -> Schedule:
    """Return the same schedule at every run: one of the settings that all tests share, and faults of these kinds."""
    rng = random.Random(f"{name} {number}")
    return a_schedule(rng, SETTINGS[number % len(SETTINGS)], kinds=kinds)


def _impossible(faults: Sequence[Fault], setting: Setting) -> list[Fault]:
    """Return the delistings of symbols that have left before or are listed again, and that of the last one: a market
    without contracts shows nothing about anything."""
    left: set[str] = set()
    found: list[Fault] = []
    back = {fault.symbol for fault in faults if isinstance(fault, f.Relist)}
    for fault in sorted((each for each in faults if isinstance(each, f.Delist)), key=lambda each: each.at):
        if fault.symbol in left or fault.symbol in back or len(left) == len(setting.symbols) - 1:
            found.append(fault)
        else:
            left.add(fault.symbol)
    return found


def a_schedule(
    rng: random.Random,
    setting: Setting,
    *,
    long: bool = False,
    dense: bool = False,
    meet: bool = False,
    kinds: Sequence[str] = tuple(KINDS),
) -> Schedule:
    """Return a schedule of up to eight faults (more where it is dense or lasts hours) of some of these kinds; where
    they ``meet``, of what happens to the market and few other kinds."""
    kinds = rng.sample(sorted(kinds), rng.randrange(2, 7) if dense else rng.randrange(1, len(kinds) + 1))
    if meet:
        kinds = [*rng.sample(MEETING_KINDS, rng.randrange(1, 3)), *kinds[: rng.randrange(1, 5)]]
    full_book = rng.random() < FULL_BOOK_SHARE
    draw = Draw(rng, setting, LONG if long else DENSE if dense else SHORT, full_book=full_book, meet=meet)
    count = rng.randrange(10, 40) if long else rng.randrange(2, 13) if dense or meet else rng.randrange(1, 9)
    faults = [KINDS[rng.choice(kinds)](rng, draw) for _ in range(count)]
    lags = [fault for fault in faults if isinstance(fault, f.Lag)]
    left_out = (*lags[LAGS:], *_impossible(faults, setting))
    faults = [fault for fault in faults if fault not in left_out]
    reads = tuple(
        Read(
            draw.at(),
            rng.choice(READS),
            rng.randrange(len(setting.symbols)),
            rng.randrange(2),
            rng.choice((1, 3, 20, 50, 90)),
        )
        for _ in range(rng.randrange(0, 33 if dense else 9))
    )
    return Schedule(
        setting=setting,
        seed=rng.randrange(10**6),
        faults=tuple(faults),
        reads=reads,
        weight_limit=2400 if len(setting.symbols) > 8 else rng.choice((2400, 2400, 2400, 2400, 2400, 2400, 200, 130)),
        connection_max_age=rng.choice((900.0, 3600.0) if long else (23 * 3600.0, 23 * 3600.0, 25.0)),
        wall_error=rng.choice((0.0, 0.0, 600.0, -600.0)),
        audit_every=300.0 if len(setting.symbols) > 8 else rng.choice((300.0, 12.0)),
        full_book=full_book,
        counting=rng.choice(COUNTINGS),
        report_lag=rng.choice((0, 0, 0, 300, 2_000, 4_500)),
    )
