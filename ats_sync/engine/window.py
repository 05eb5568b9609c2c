"""One limit: what has been used of it, and from when on something fits.

Two things are known of a minute's weight. Our own costs: each counts from when it was sent until a window's length
after its answer, so that no minute, wherever it begins, holds more than what is allowed. And the exchange's own count,
which its answers report: since then it cannot have grown by more than what we have sent that the report may lack, and
what others have sent. The smaller of the two is what counts.

So nothing has to be believed about how the exchange counts. Where its count restarts with each clock minute, the first
answer of a minute reports nearly nothing, and the limit is whole again; where it does not, no answer says so. What only
the clock says is never enough, and neither is a report alone: of the clock minute in which a request may arrive, our
own costs count whatever was reported, so that an old report cannot make a minute hold more than what is allowed.
"""

from __future__ import annotations

import bisect
import math
from typing import NamedTuple

from .moment import Moment

_MINUTE = 60_000
COUNT_BORDER = 2_000
"""A request answered this long (ms) before the end of a minute may be counted on either side of it."""
_EXACT = 0.001  # Seconds: the exchange's time is in whole milliseconds.
_SURELY = 250  # One sent so long (ms) after the start of a minute, by our clock, is counted in that minute.
ARRIVES_WITHIN = 30.0
"""A request without an answer reaches the exchange within this long (seconds), or never."""
CLOCKS_DIFFER = 2_000
"""By so much (ms) the exchange's minute may turn before or after our idea of it, beyond the uncertainty of that."""
CLOCKS_AGREE = 1_000
"""By so much (ms) the two clocks may differ about how long ago something was."""
REPORTS_LAG = 5.0
"""A report may lack what reached the exchange so shortly (seconds) before it."""
OVER_THE_TURN = 0.1
"""What part of the allowed weight is sent around a turn where it can wait."""
AHEAD_AGAIN = 1.0
"""After so long (seconds) without a report another request may go ahead for one; doubled with each in a minute."""


class _Spent(NamedTuple):
    steady: float
    """When it was sent; after the answer, when that arrived; without an answer, the latest it can arrive."""
    exchange: int
    """The same in exchange time (ms)."""
    cost: int
    under_way: bool
    sent: float
    """When it was sent (steady) at the earliest; infinite where it may not have been counted."""


class Mark(NamedTuple):
    """A report, from which on costs are counted."""

    used: int
    sent: float
    arrived: float
    """When (steady) its request was sent, and its answer arrived."""
    minute: int
    """The number of its minute."""


class _Minute(NamedTuple):
    """The exchange's earliest possible minute; times are steady seconds."""

    number: int
    began: float
    """When it can have begun at the earliest."""
    begun: float
    """When it had surely begun."""
    next_began: float
    """When the next one can begin at the earliest."""
    ends: float
    """When the next one has surely begun."""
    may_be_over: bool


class Window:
    """The costs of the last ``seconds``."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.restarts = False
        """Whether the newest report that could tell showed that the count restarts with the clock minute."""
        self._spent: list[_Spent] = []  # ordered by their steady time
        self._used = 0
        self._sent: dict[int, list[float]] = {}  # by cost, when those under way were sent
        self._foreign = 0
        self._foreign_minute = 0
        self._foreign_until = 0.0
        # The report that bounds the count best: what was counted, of a request sent when (steady), and all that we
        # have sent that it may lack.
        self._count: int | None = None
        self._count_sent = 0.0
        self._lacked = 0
        # The newest report of all, and of a request sent when.
        self._reported = 0
        self._reported_sent = -math.inf
        self._reported_at = -math.inf  # when (steady) it arrived
        # Our costs since the minute may have begun (steady): a sum that is kept, since each request asks for it.
        self._minute_began = -math.inf
        self._minute_cost = 0
        # The minute in which a request last went ahead for a report, how long the next one waits, and until when.
        self._ahead_in = -1
        self._pause = AHEAD_AGAIN
        self._next_ahead = 0.0

    # --- what counts ----------------------------------------------------------------------------------

    def used(self, at: Moment) -> int:
        """Return the cost that counts against the limit now: our own and, as far as known, that of others."""
        sliding = self.sliding(at.steady)
        if self._count is None or not at.proven or self._count + self._lacked >= sliding:
            return sliding
        return min(sliding, max(self._count + self._lacked, self._of_minute(at)))

    def sliding(self, now: float) -> int:
        """Return the same as far as our own record tells: all of the last ``seconds``."""
        over = 0
        while over < len(self._spent) and self._spent[over].steady <= now - self.seconds:
            over += 1
        if over:
            old = self._spent[:over]
            del self._spent[:over]
            for spent in old:
                if spent.under_way:
                    # The process was stopped, and what it was about to send may still be counted.
                    self._insert(spent._replace(steady=now))
                else:
                    self._used -= spent.cost
        if now >= self._foreign_until:
            self._foreign = 0
        return self._used + self._foreign

    def _of_minute(self, at: Moment) -> int:
        """Return our own costs that may be counted in the same clock minute as a request that is sent now."""
        began = _minute_of(at).began
        # The sum that is kept may begin a little too early, never too late.
        if not self._minute_began <= began <= self._minute_began + 0.1:
            self._minute_began = began
            self._minute_cost = self._of_since(began)
        return self._minute_cost

    def _of_since(self, began: float) -> int:
        """Return our own costs that may be counted since then (steady)."""
        return sum(each.cost for each in self._spent if each.under_way or each.steady >= began)

    def requests(self, now: float) -> int:
        """Return the number of our own requests in the window."""
        self.sliding(now)
        return len(self._spent)

    def own(self, now: float) -> int:
        """Return our own costs of the last ``seconds``."""
        self.sliding(now)
        return self._used

    def left(self, at: Moment) -> float | None:
        """Return how long (seconds) it takes until the next minute, with which the count restarts, has surely begun;
        None where nothing says that it does."""
        if not self.restarts or self._count is None or not at.proven:
            return None
        return _minute_of(at).ends - at.steady

    # --- requests -------------------------------------------------------------------------------------

    def spend(self, at: Moment, cost: int, allowed: int | None = None) -> None:
        """Count a request as sent; ``allowed``: as in :meth:`free_at`."""
        if allowed is not None and self._count is not None and self.used(at) + cost > allowed:
            self._note_ahead(at)
        self._insert(_Spent(at.steady, at.exchange, cost, True, at.steady))
        self._sent.setdefault(cost, []).append(at.steady)
        self._used += cost
        self._lacked += cost
        self._minute_cost += cost

    def _insert(self, spent: _Spent) -> None:
        if self._spent and spent.steady < self._spent[-1].steady:
            bisect.insort(self._spent, spent, key=_steady)
        else:
            self._spent.append(spent)

    def ended(self, at: Moment, cost: int, *, unsent: bool, lost: bool, counted: bool = True) -> None:
        """A request of this cost has ended; ``unsent``: it was never sent; ``lost``: it had no answer; ``counted``: its
        answer shows that it was counted."""
        # Requests of one cost are interchangeable.
        for index in range(len(self._spent) - 1, -1, -1):
            spent = self._spent[index]
            if spent.cost == cost and spent.under_way:
                del self._spent[index]
                # Paired in this order, no fewer were sent since any moment than it seems.
                counted = counted and not lost and not unsent
                sent = self._sent[cost].pop(0 if counted else -1)
                if unsent:
                    self._used -= cost
                    self._lacked -= cost
                    self._minute_cost -= cost
                else:
                    late = ARRIVES_WITHIN if lost else 0.0
                    ends = at.exchange + round(late * 1000)
                    self._insert(_Spent(at.steady + late, ends, cost, False, sent if counted else math.inf))
                return

    def free_at(self, at: Moment, cost: int, allowed: int, whole: int | None = None, *, patient: int = 0) -> float:
        """Return from when on (steady) ``cost`` fits into ``allowed``, ``at.steady`` if at once.

        ``whole`` is what may be used for any purpose. Where a new report may show that there is room, one request after
        the other may go ahead for it. ``patient`` is the cost of all that waits with it and can wait: where that is
        more than what fits in, little of it is sent around a turn, since it would count for both minutes.
        """
        now = at.steady
        known = self._count is not None and at.proven
        used = self.used(at)
        if used + cost <= allowed:
            return self._turned_at(at, cost, allowed) if known and used + patient > allowed else now
        free = self._sliding_free_at(now, cost, allowed)
        return min(free, self._ahead_at(at, cost, allowed, whole)) if known else free

    def _turned_at(self, at: Moment, cost: int, allowed: int) -> float:
        """Return when (steady) the next minute has surely begun, if it may have and much has been sent since; else
        now."""
        minute = _minute_of(at)
        if not minute.may_be_over:
            return at.steady
        over = self._of_since(minute.next_began)
        return minute.ends if over + cost > allowed * OVER_THE_TURN else at.steady

    def _sliding_free_at(self, now: float, cost: int, allowed: int) -> float:
        surplus = self.sliding(now) + cost - allowed
        moments = [(spent.steady + self.seconds, spent.cost) for spent in self._spent]
        if self._foreign:
            moments.append((self._foreign_until, self._foreign))
        for moment, freed in sorted(moments):
            surplus -= freed
            if surplus <= 0:
                return max(moment, now)
        return moments[-1][0] if moments else now

    def own_free_at(self, now: float, share: float) -> float:
        """Return from when on (steady) our own costs alone, those of now included, fit into ``share`` of the limit."""
        self.sliding(now)
        surplus = self._used - int(self.limit * share)
        freed_at = now
        for spent in self._spent:
            if surplus <= 0:
                break
            surplus -= spent.cost
            freed_at = spent.steady + self.seconds
        return max(freed_at, now)

    # --- a request that goes ahead for a report ---------------------------------------------------------

    def _ahead_at(self, at: Moment, cost: int, allowed: int, whole: int | None) -> float:
        """Return when (steady) such a request may be sent."""
        minute = _minute_of(at)
        if minute.may_be_over:
            return minute.ends  # A report would soon be worth nothing.
        own = self._of_minute(at)
        earliest = at.steady
        if not self.restarts:
            # To know whether the count restarts is worth a little of the reserve, but only where a report can tell.
            allowed = allowed if whole is None else whole
            if self.sliding(at.steady) + cost > allowed:
                return minute.ends
            if own == self._used:
                if all(each.under_way or each.steady > minute.begun for each in self._spent):
                    return minute.ends
                earliest = max(earliest, minute.begun + REPORTS_LAG * 2.0)
        if self._reported_sent >= minute.begun - _EXACT and self._reported + cost > allowed:
            return minute.ends
        if own + cost > allowed:
            return minute.ends
        return earliest if minute.number != self._ahead_in else max(self._next_ahead, earliest)

    def _note_ahead(self, at: Moment) -> None:
        number = _minute_of(at).number
        self._pause = self._pause * 2.0 if number == self._ahead_in else AHEAD_AGAIN
        self._ahead_in, self._next_ahead = number, at.steady + self._pause

    # --- what the exchange reports ----------------------------------------------------------------------

    def reported(self, count: int, at: Moment, sent: float) -> None:
        """Note that the answer to a request sent at ``sent`` (steady) reports this count."""
        self._note_foreign(count, at, at.exchange - round((at.steady - sent) * 1000))
        self._note_turn(count, at, sent)
        surely = sent - REPORTS_LAG
        lacked = sum(each.cost for each in self._spent if each.under_way or each.steady > surely)
        if self._count is None:
            self._count, self._lacked, self._count_sent = count, lacked, sent
        else:
            self._count += max(0, count - self._count - self._lacked)  # by others, it must be
            if sent >= self._count_sent and count + lacked <= self._count + self._lacked:
                self._count, self._lacked, self._count_sent = count, lacked, sent
        begun = _minute_of(at).begun - _EXACT
        # Answers arrive out of order, and within one minute the count only grows.
        if sent >= begun and self._reported_sent >= begun:
            self._reported = max(self._reported, count)
        elif sent >= self._reported_sent:
            self._reported = count
        self._reported_sent, self._reported_at = max(self._reported_sent, sent), at.steady

    def unreported(self) -> None:
        """Forget all reports: an answer had none, or the exchange has refused what seemed to have room."""
        self._count = None
        self._reported_sent = -math.inf
        self.restarts = False

    def surplus(self, count: int) -> int:
        """Return by how much a report of this count would be above all that is known."""
        return max(0, count - self._count - self._lacked) if self._count is not None else 0

    def mark(self, at: Moment) -> Mark | None:
        """Return the newest report where it is of the minute of now, else None."""
        minute = _minute_of(at)
        if self._reported_sent < minute.begun or not at.proven:
            return None
        return Mark(self._reported, self._reported_sent, self._reported_at, minute.number)

    def has_counted(self, ended: float, sent: float) -> bool:
        """Return whether the answer to a request sent at ``sent`` shows what had ended at ``ended`` (both steady)."""
        return ended <= sent - REPORTS_LAG

    def expected(self, mark: Mark, at: Moment, sent: float) -> tuple[int, int] | None:
        """Return the least and the most that the answer to a request sent at ``sent`` (steady) can report after
        another report, if nobody else spends; None where it may be of another minute."""
        minute = _minute_of(at)
        if minute.number != mark.minute or minute.may_be_over or not at.proven:
            return None
        least = most = mark.used
        for each in self._spent:
            if each.under_way or each.steady > mark.sent - REPORTS_LAG:
                most += each.cost
                if not each.under_way and each.steady <= sent - REPORTS_LAG and mark.arrived <= each.sent < math.inf:
                    least += each.cost
        return least, most

    def _note_foreign(self, count: int, at: Moment, sent: int) -> None:
        self.sliding(at.steady)
        minute_began = minute_of_count(at, sent)
        if minute_began is None:
            return
        own = sum(
            spent.cost for spent in self._spent if spent.under_way or spent.exchange >= minute_began - COUNT_BORDER
        )
        foreign = max(0, count - own)
        # Answers arrive out of order, and within one minute the count only grows.
        same = minute_began == self._foreign_minute
        self._foreign = max(self._foreign, foreign) if same else foreign
        self._foreign_minute = minute_began
        self._foreign_until = at.steady + (minute_began + _MINUTE - at.exchange + at.uncertain) / 1000.0

    def _note_turn(self, count: int, at: Moment, sent: float) -> None:
        """Note whether a report shows less than the last ``seconds`` have had, or just as much where less is due."""
        minute = _minute_of(at)
        if not at.proven or sent < minute.begun - _EXACT or minute.may_be_over:
            return
        surely = bisect.bisect_right(self._spent, sent - REPORTS_LAG, key=_steady)
        answered = [
            each
            for each in self._spent[:surely]
            if not each.under_way and at.steady - self.seconds < each.sent < math.inf
        ]
        if not answered:
            return
        # The steady clock may stand still while the machine sleeps, and our idea of the exchange's time may have been
        # corrected since: what may be older by one of the two is not due.
        oldest = at.exchange - self.seconds * 1000 + COUNT_BORDER
        due = sum(each.cost for each in answered if each.exchange > oldest and _agree_on(each, at))
        if count * 2 < due:  # (Some prices may be lower than they are said to be.)
            self.restarts = True
        elif count >= sum(each.cost for each in answered) > self._of_since(minute.began):
            self.restarts = False


def _agree_on(spent: _Spent, at: Moment) -> bool:
    """Return whether both clocks agree on how long ago something was spent."""
    return abs((at.exchange - spent.exchange) - (at.steady - spent.steady) * 1000) <= CLOCKS_AGREE


def _minute_of(at: Moment) -> _Minute:
    """Return the earliest minute in which the exchange may be."""
    earliest, latest = at.exchange - at.uncertain - CLOCKS_DIFFER, at.exchange + CLOCKS_DIFFER
    number = earliest // _MINUTE
    turn = (number + 1) * _MINUTE
    ends = at.steady + (turn - earliest) / 1000.0
    return _Minute(
        number,
        at.steady - (latest - number * _MINUTE) / 1000.0,
        ends - _MINUTE / 1000.0,
        at.steady - (latest - turn) / 1000.0,
        ends,
        latest >= turn,
    )


def minute_of_count(at: Moment, sent: int) -> int | None:
    """Return when (exchange, ms) the minute began whose count is reported at ``at`` by the answer to a request sent at
    ``sent`` (ms); None where it may be the count of the previous minute."""
    began = at.exchange - at.exchange % _MINUTE
    return None if sent - at.uncertain < began + _SURELY else began


def _steady(spent: _Spent) -> float:
    return spent.steady
