"""What is known of the time in which a contract does not trade, of which REST may have no candles at all."""

from __future__ import annotations

from .order import LAGS_AT_MOST
from .pending import ANSWERED_WITHIN

NEVER_ENDS = 1 << 62
"""An exchange time (ms) after any other."""


class Halt:
    """The newest halt: what answers lack, and what the contract says of itself. Guarded by the lock of the series that
    owns it; all times are the exchange's, in ms."""

    __slots__ = ("_pause", "lacks_by", "resumed", "shown_at")

    def __init__(self) -> None:
        self.lacks_by = 0
        """How long before the newest answer was requested the time of the first candle that it lacks had come; negative
        where it lacks none."""
        self.shown_at = 0
        """When the newest answer was requested, where it lacks candles whose time has come by more than a replica lags;
        else 0."""
        self.resumed = 0
        """When an answer must have been requested at the earliest to count, since the contract is said to trade."""
        self._pause = (0, 0)  # from when to when it last did not, as it said itself

    def note_answer(self, requested_at: int, after_newest: int) -> None:
        """Note that the first candle that an answer lacks would open at ``after_newest``."""
        self.lacks_by = requested_at - after_newest
        self.shown_at = requested_at if self.lacks_by >= ANSWERED_WITHIN else 0

    def note_paused(self, since: int) -> None:
        """Note that the contract is said not to trade since ``since`` at most."""
        if since > self._pause[0]:
            self._pause = since, NEVER_ENDS

    def note_trading(self, since: int) -> None:
        """Note that it is said to trade since ``since`` at least."""
        began, ends = self._pause
        if ended := began < since < ends:
            self._pause = began, since
        # Where candles had stopped, a replica that lags goes on to show it.
        lag = LAGS_AT_MOST if ended or 0 < self.shown_at < since else 0
        self.resumed = max(self.resumed, since + lag)

    def lasts(self, event: int) -> int:
        """Return when REST last showed that there are no candles any more, 0 where it shows that there are, or where
        the newest ``event`` of their stream is of later."""
        return self.shown_at if self.shown_at > event else 0

    def is_over(self, event: int) -> bool:
        """Return whether the contract is said to trade since, so that another answer is needed."""
        return 0 < self.lasts(event) < self.resumed

    def may_cover(self, closes: int, following: int) -> bool:
        """Return whether the candle that ends at ``closes`` may be of a time in which the contract did not trade, as it
        said by the time of the ``following`` one."""
        began, ends = self._pause
        return began < following and closes <= ends
