"""What ``top`` knows of an endpoint: the messages of its page, merged. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OLD_AFTER = 3.0
"""Seconds without a message after which the state counts as old."""
MOST_EVENTS = 50
COLUMNS = ("symbol", "price", "change", "age", "quality")
GOOD = ("live", "polled")


@dataclass(frozen=True, slots=True)
class Row:
    """One symbol. ``age`` is whole seconds, ``quality`` percent; None and "" if they are not known."""

    symbol: str
    price: str = ""
    change: str = ""
    age: int | None = None
    quality: int | None = None
    state: str = ""


@dataclass(slots=True)
class Choice:
    """How the symbols are shown: sorted by a column ("" is the endpoint's own order), and filtered."""

    by: str = ""
    down: bool = False
    find: str = ""
    first: int = 0
    """Index of the first row on the screen."""

    def next_column(self) -> None:
        """Sort by the next column, most useful order first: names from A on, worst quality, otherwise largest."""
        columns = ("", *COLUMNS)
        self.by = columns[(columns.index(self.by) + 1) % len(columns)]
        self.down = self.by in ("price", "change", "age")
        self.first = 0


class Model:
    """The newest message, the rows and the events. Times passed to ``take`` are monotonic seconds."""

    def __init__(self) -> None:
        self.state: Mapping[str, Any] = {}
        self.frames_a_second: float | None = None
        self._rows: list[Row] = []
        self._events: dict[int, list[Any]] = {}
        self._heard = -math.inf

    def take(self, message: Mapping[str, Any], now: float) -> None:
        """Merge a message. The first message of a stream names every symbol."""
        before = self.state
        if "symbols" in message:
            self._rows = [Row(symbol) for symbol in message["symbols"]]
            self._events = {}
        for index, *values in message["rows"]:
            self._rows[index] = Row(self._rows[index].symbol, *values)
        for event in message["events"]:
            self._events[event[0]] = event
        for number in sorted(self._events)[:-MOST_EVENTS]:
            del self._events[number]
        if before and message["at"] > before["at"] and message["frames"] >= before["frames"]:
            self.frames_a_second = (message["frames"] - before["frames"]) / (message["at"] - before["at"])
        self.state, self._heard = message, now

    def age(self, now: float) -> float:
        """Return how long ago (seconds) the newest message arrived."""
        return now - self._heard

    def is_old(self, now: float) -> bool:
        """Return whether the state may no longer be trusted."""
        return self.age(now) > OLD_AFTER

    def events(self, count: int) -> list[list[Any]]:
        """Return the newest events, the newest first: number, time, what, subject, reason, count."""
        return [self._events[number] for number in sorted(self._events, reverse=True)[:count]]

    def rows(self, choice: Choice) -> list[Row]:
        """Return the rows of a choice, sorted; unknown values come last."""
        find = choice.find.upper()
        rows = [row for row in self._rows if find in row.symbol]
        if choice.by == "symbol":
            rows.sort(key=lambda row: row.symbol, reverse=choice.down)
        elif choice.by:
            sign = -1.0 if choice.down else 1.0
            rows.sort(key=lambda row: _rank(getattr(row, choice.by), sign))
        return rows

    def __len__(self) -> int:
        return len(self._rows)


def _rank(value: str | int | None, sign: float) -> tuple[bool, float]:
    if value is None or value == "":
        return True, 0.0
    return False, sign * float(value)
