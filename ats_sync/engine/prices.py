"""Whether the exchange charges what was measured for a book without a limit, which no document says.

Such a book is requested now and then, paid for as documented, and a later report of the same minute tells what it cost.
Until a report says otherwise, the price that was seen counts.
"""

from __future__ import annotations

from typing import Any

from ..venue.endpoints import DEPTH_DOCUMENTED, DEPTH_PRICE, Request, is_whole_depth
from .moment import Moment
from .window import Mark, Window

TRIED_EVERY, TRIED_AGAIN = 60.0, 3600.0
"""Seconds until it is looked at again: after a request that showed nothing, and after one that showed another price."""
MOST = 4
"""A price is confirmed where it cannot be above this: the documented ones of deeper books are 5, 10 and 20."""
SEEN = 5
"""A report that shows so much more than is known, with the answer to such a request, contradicts the price."""


def may_be_cheaper(request: Request[Any]) -> bool:
    """Return whether the exchange may charge less for a request than is paid for it here."""
    return is_whole_depth(request) and request.weight > DEPTH_PRICE


class DepthPrice:
    """What is known of that price. Not thread-safe: used under the lock of its budget."""

    def __init__(self) -> None:
        self.confirmed = False
        self._due = 0.0
        self._before: Mark | None = None  # the report before the request that is to show the price
        self._ended: float | None = None  # when (steady) that was answered

    def form_of(self, request: Request[Any], window: Window, at: Moment) -> Request[Any]:
        """Return what to send for a request: itself, or what answers it for less."""
        cheaper = request.cheaper
        if cheaper is None:
            return request
        if self.confirmed:
            return cheaper
        shows = self._before is None and at.steady >= self._due and request.weight >= DEPTH_DOCUMENTED
        return cheaper.priced(request.weight) if shows and window.mark(at) is not None else request

    def sent(self, request: Request[Any], window: Window, at: Moment) -> None:
        """A request is sent."""
        if not self.confirmed and is_whole_depth(request) and self._before is None:
            self._before, self._ended = window.mark(at), None
            self._due = at.steady + TRIED_EVERY

    def reported(self, request: Request[Any], count: int, window: Window, at: Moment, sent: float) -> None:
        """The answer to a request sent at ``sent`` (steady) reports this count, which the window has yet to take."""
        if not is_whole_depth(request):
            self._judge(count, window, at, sent)
        elif self.confirmed:
            if window.surplus(count) >= SEEN:
                self.withdraw(at.steady)
        elif self._before is not None and self._ended is None:
            self._ended = at.steady

    def withdraw(self, now: float) -> None:
        """Pay what is documented again, for a while."""
        if self.confirmed:
            self._due = now + TRIED_AGAIN
        self.confirmed, self._before = False, None

    def _judge(self, count: int, window: Window, at: Moment, sent: float) -> None:
        before = self._before
        if before is None or at.steady >= self._due:
            self._before = None
            return
        if self._ended is None or not window.has_counted(self._ended, sent):
            return
        expected = window.expected(before, at, sent)
        if expected is None:
            self._before = None  # Another minute has begun, and the report tells nothing.
            return
        least, most = expected  # (which has it among the most alone)
        if count - least <= MOST:
            self.confirmed, self._before = True, None
        elif count > most - (DEPTH_DOCUMENTED - DEPTH_PRICE):
            # As documented, or somebody else has spent meanwhile.
            self._due, self._before = at.steady + TRIED_AGAIN, None
