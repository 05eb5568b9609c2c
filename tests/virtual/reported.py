"""What was true of one symbol at which time, and what of it frames had reported by then.

A *generation* of candles ends where the exchange recomputes an open one or lists another contract under the name; an
*epoch* of ids where they begin again. Within one of them more trades and greater ids are later; of two generations or
epochs the later one is the truth.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ats_sync.venue.intervals import next_open, open_time

Row = list[Any]
Position = tuple[int, int]
"""``(epoch, id)``, in order of time; ``(generation, trades)`` likewise."""
NOTHING: Position = (-1, -1)
Levels = tuple[list[tuple[str, ...]], list[tuple[str, ...]]]


class Version(NamedTuple):
    """One state of a candle, and since when (ms) it could be seen."""

    visible: int
    trades: int
    row: Row
    generation: int


@dataclass
class KlineTruth:
    """``versions`` of each candle by its open time; ``reported``: what frames said."""

    interval: str
    versions: dict[int, list[Version]] = field(default_factory=dict)
    reported_at: list[int] = field(default_factory=list)
    reported: list[tuple[int, Position]] = field(default_factory=list)
    """``(open time, position)`` of each frame, at the times of ``reported_at``."""
    generation: int = 0
    halts: list[tuple[int, int, int]] = field(default_factory=list)
    """``(known from, start, stop)``: REST has no candles that lie within."""
    begins: list[tuple[int, int | None]] = field(default_factory=lambda: [(0, 0)])
    """``(since when, open time)`` of the first candle that REST has; None: it has none."""

    def note(self, row: Row, now: int) -> None:
        known = self.versions.setdefault(row[0], [])
        newest = known[-1] if known else None
        same = newest is not None and newest.generation == self.generation
        if newest is not None and same and (newest.row == row or row[8] < newest.trades):
            return
        known.append(Version(now, row[8], row, self.generation))

    def report(self, row: Row, at: int) -> None:
        """Note that a frame reports a candle."""
        if self.position(row) is None:
            self.note(row, at)
        self.reported_at.append(at)
        self.reported.append((row[0], self.position(row) or (self.generation, row[8])))

    def position(self, row: Row) -> Position | None:
        """Return the newest state that a row shows, None where it shows none."""
        same = [each.generation for each in self.versions.get(row[0], ()) if each.row == row]
        return (max(same), row[8]) if same else None

    def final(self, opened: int) -> Row:
        return self.versions[opened][-1].row

    def last_reported(self, at: int) -> tuple[int, Position] | None:
        index = bisect_right(self.reported_at, at)
        return self.reported[index - 1] if index else None

    # --- contracts and halts -----------------------------------------------------------------------------

    def begin_contract(self, now: int) -> None:
        """Note that a contract without a past begins."""
        self.generation += 1
        self.begins.append((now, None))
        self.resume(now)

    def begun_at(self, now: int) -> int:
        """Return when REST first showed a candle of the newest contract, 0 where none had begun by ``now``."""
        return max((at for at, opened in self.begins if opened is not None and at <= now), default=0)

    def begins_with(self, opened: int, now: int) -> None:
        """Note that its candles begin with this one in REST."""
        if self.begins[-1][1] is None:
            self.begins.append((max(now, self.begins[-1][0]), opened))

    def first_at(self, now: int) -> int | None:
        """Return the first candle that REST shows, None where it shows none."""
        return self.begins[bisect_right(self.begins, now, key=lambda each: each[0]) - 1][1]

    def resume(self, now: int) -> None:
        """Note that the halt ends: candles within it never appear."""
        self.halts = [(since, start, min(stop, max(start, now))) for since, start, stop in self.halts]

    def hidden(self, opened: int, now: int) -> bool:
        """Return whether REST did not show the candle at ``now`` because of a halt."""
        ends = next_open(self.interval, opened)
        return any(
            since <= now and start <= opened and (ends <= stop or start < now < stop)
            for since, start, stop in self.halts
        )

    def shown(self, now: int, most: int) -> int:
        """Return how many candles REST shows, counted up to ``most`` of those that are known here."""
        first = self.first_at(now)
        if first is None:
            return 0
        return min(most, sum(first <= opened <= now and not self.hidden(opened, now) for opened in self.versions))


class DerivedTruth(KlineTruth):
    """What the frames of a smaller interval show of larger candles."""

    def __init__(self, larger: KlineTruth, source: KlineTruth) -> None:
        super().__init__(larger.interval, larger.versions, source.reported_at)
        self._larger, self._source = larger, source

    def first_at(self, now: int) -> int | None:
        return self._larger.first_at(now)

    def hidden(self, opened: int, now: int) -> bool:
        return self._larger.hidden(opened, now)

    def last_reported(self, at: int) -> tuple[int, Position] | None:
        reported = self._source.last_reported(at)
        if reported is None:
            return None
        newest, (generation, trades) = reported
        first = open_time(self.interval, newest)
        begins, source = max(first, self._source.first_at(at) or 0), self._source
        trades += sum(source.final(opened)[8] for opened in source.versions if begins <= opened < newest)
        return first, (generation, trades)


@dataclass
class TradeTruth:
    """All trades by id and time, and which had been reported by aggTrade frames when."""

    known: dict[tuple[int, int], list[tuple[Position, dict[str, Any]]]] = field(default_factory=dict)
    """By id and time. (Where ids begin again twice, two trades of the same millisecond may have the same id.)"""
    reported_at: list[int] = field(default_factory=list)
    reported: list[Position] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    """Times of all trades since the start, in order."""
    counts: list[int] = field(default_factory=list)
    """How many single trades each of them sums up."""
    epochs: list[int] = field(default_factory=list)
    """When ids began again."""
    made: list[list[int]] = field(default_factory=lambda: [[]])
    """Times of the trades that REST has, by epoch."""

    def note(self, trade: dict[str, Any]) -> None:
        self.known.setdefault((trade["a"], trade["T"]), []).append(((len(self.epochs), trade["a"]), trade))
        self.made[-1].append(trade["T"])
        self.times.append(trade["T"])
        self.counts.append(trade["l"] - trade["f"] + 1)

    def forget_times(self) -> None:
        """Note that everything so far came before the start."""
        self.times, self.counts = [], []

    def begin_anew(self, now: int) -> None:
        self.epochs.append(now)
        self.made.append([])

    def position(self, id: int, time: int, **fields: Any) -> Position | None:
        """Return the latest position of a trade with these fields (as REST names them); None where none was."""
        same = [at for at, trade in self.known.get((id, time), ()) if trade.items() >= fields.items()]
        return max(same, default=None)

    def report(self, data: dict[str, Any], at: int) -> None:
        position = self.position(data["a"], data["T"], p=data["p"], q=data["q"], l=data["l"], m=data["m"])
        assert position is not None
        self.reported_at.append(at)
        self.reported.append(max(position, self.reported[-1]) if self.reported else position)

    def last_reported(self, at: int) -> Position:
        index = bisect_right(self.reported_at, at)
        return self.reported[index - 1] if index else NOTHING

    def epoch(self, now: int) -> int:
        return bisect_right(self.epochs, now)

    def epoch_reported(self, now: int) -> int:
        """Return when the first trade of the newest epoch was reported, 0 where ids never began again."""
        newest = self.last_reported(now)[0]
        return self.reported_at[bisect_left(self.reported, (newest, 0))] if newest > 0 else 0

    def available(self, now: int) -> int:
        """Return how many trades REST has."""
        return bisect_right(self.made[self.epoch(now)], now)


@dataclass
class BookTruth:
    """The states that depth frames reported."""

    reported_at: list[int] = field(default_factory=list)
    reported: list[Position] = field(default_factory=list)
    levels: dict[Position, Callable[[], Levels]] = field(default_factory=dict)
    """How to write what was there, since few of the states are ever looked at."""
    epochs: list[int] = field(default_factory=list)

    def begin_anew(self, now: int) -> None:
        self.epochs.append(now)

    def position(self, update_id: int, time: int) -> Position:
        """Return the position of the book that was true at ``time``."""
        epoch = bisect_left(self.epochs, time)
        if time in self.epochs and (epoch, update_id) < self.last_reported(time):
            epoch += 1  # of the same ms, and after it
        return epoch, update_id

    def report(self, update_id: int, at: int, levels: Callable[[], Levels] | None) -> None:
        """Note that a frame reports a state; ``levels`` is None where they are not known."""
        position = self.position(update_id, at)
        self.reported_at.append(at)
        self.reported.append(position)
        if levels is not None:
            self.levels[position] = levels

    def last_reported(self, at: int) -> Position:
        index = bisect_right(self.reported_at, at)
        return self.reported[index - 1] if index else NOTHING
