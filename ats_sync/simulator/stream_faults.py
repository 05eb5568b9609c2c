"""Single events lost, doubled, swapped, late or malformed, between the market and the fan-out."""

from __future__ import annotations

import heapq
import random
import time
from dataclasses import dataclass

from .literals import MALFORMED, STREAM_ACTIONS, StreamAction
from .malformed import fits, malform
from .market import Frame
from .names import check_selector, matches
from .wire import Wire

_LONGEST_SWAP = 5_000


@dataclass
class EventFault:
    """One rule: what happens to frames of ``selector``."""

    action: StreamAction
    selector: str
    probability: float
    left: int | None
    until: float | None
    """Monotonic seconds."""
    finals: bool
    """Only a candle's final events."""
    delay: float
    malformed: str
    replace: bool

    def over(self, now: float) -> bool:
        """Return whether the rule is used up."""
        return self.left == 0 or (self.until is not None and now >= self.until)


class StreamFaults:
    """The rules in force, and the frames that they delay."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._rules: list[EventFault] = []
        self._late: list[tuple[int, int, Frame]] = []
        self._swapped: dict[tuple[str, bool], tuple[int, Frame]] = {}
        self._count = 0
        self.done: dict[str, int] = dict.fromkeys(STREAM_ACTIONS, 0)

    def add(
        self,
        action: StreamAction,
        selector: str,
        *,
        probability: float = 1.0,
        next_n: int | None = None,
        seconds: float | None = None,
        finals: bool = False,
        delay: float = 0.0,
        malformed: str = "",
        replace: bool = False,
    ) -> None:
        """Add a rule; the first rule that matches a frame decides."""
        if not 0.0 < probability <= 1.0:
            raise ValueError(f"probability must be above 0 and at most 1, not {probability!r}")
        if next_n is not None and next_n < 1:
            raise ValueError("next_n must be at least 1")
        if action == "delay" and delay <= 0:
            raise ValueError("delay must be above 0 s")
        if action == "malformed" and malformed not in MALFORMED:
            raise ValueError(f"malformed must be one of {', '.join(MALFORMED)}, not {malformed!r}")
        until = None if seconds is None else time.monotonic() + seconds
        self._rules.append(
            EventFault(action, check_selector(selector), probability, next_n, until, finals, delay, malformed, replace)
        )

    def remove(self, action: StreamAction, *, finals: bool) -> None:
        """Drop the rules of one action."""
        self._rules = [rule for rule in self._rules if (rule.action, rule.finals) != (action, finals)]

    def clear(self) -> None:
        """Drop all rules; delayed frames are sent with the next ones."""
        self._rules.clear()
        self._late = [(0, order, frame) for _, order, frame in self._late]
        heapq.heapify(self._late)
        self._swapped = {key: (0, frame) for key, (_, frame) in self._swapped.items()}

    @property
    def busy(self) -> bool:
        """Whether :meth:`apply` has anything to do."""
        return bool(self._rules or self._late or self._swapped)

    def active(self) -> list[str]:
        """Return the rules in words."""
        now = time.monotonic()
        return [
            f"{rule.action} {rule.malformed + ' ' if rule.malformed else ''}{rule.selector}"
            for rule in self._rules
            if not rule.over(now)
        ]

    def apply(self, frames: list[Frame], now: int) -> list[Frame | Wire]:
        """Return what is sent instead of ``frames`` at exchange time ``now``."""
        wall = time.monotonic()
        self._rules = [rule for rule in self._rules if not rule.over(wall)]
        out: list[Frame | Wire] = []
        for frame in frames:
            self._one(frame, now, out)
        while self._late and self._late[0][0] <= now:
            out.append(heapq.heappop(self._late)[2])
        overdue = [key for key, (since, _) in self._swapped.items() if now - since > _LONGEST_SWAP]
        out += [self._swapped.pop(key)[1] for key in overdue]
        return out

    def _one(self, frame: Frame, now: int, out: list[Frame | Wire]) -> None:
        swapped = self._swapped.pop((frame.stream, frame.spot), None)
        rule = self._taken_by(frame) if swapped is None else None
        if rule is None:
            out.append(frame)
        elif rule.action == "double":
            out += (frame, frame)
        elif rule.action == "reorder":
            self._swapped[frame.stream, frame.spot] = (now, frame)
        elif rule.action == "delay":
            self._count += 1
            heapq.heappush(self._late, (now + round(rule.delay * 1000), self._count, frame))
        elif rule.action == "malformed":
            out += malform(rule.malformed, frame, rule.replace)
        if swapped is not None:
            out.append(swapped[1])

    def _taken_by(self, frame: Frame) -> EventFault | None:
        for rule in self._rules:
            if rule.left == 0 or not matches(rule.selector, frame.stream):
                continue
            if rule.finals and '"x":true' not in frame.payload:
                continue
            if rule.action == "malformed" and not fits(rule.malformed, frame):
                continue
            if rule.probability < 1.0 and self._random.random() >= rule.probability:
                continue
            if rule.left is not None:
                rule.left -= 1
            self.done[rule.action] += 1
            return rule
        return None
