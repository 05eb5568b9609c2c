"""Leave to send: each request is counted in the account of its address before it is sent, and again when it has ended.

While the shared store is away, a process goes on alone with a stated part of its share, and reports what it used when
the store is back; a store that came back empty learns from each process what it has used.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import uuid
from collections import deque

from ..clock import Clock
from ..config import Config
from ..engine.budget import Budget
from ..engine.dispatch import Send
from ..engine.moment import moment
from ..engine.window import ARRIVES_WITHIN, minute_of_count
from ..errors import AtsSyncError, ConfigError, ConnectionFailed, RateLimited, RequestTimeout, SharedStoreUnavailable
from ..logs import RateLimitedLogger
from ..transport.answer import Answer
from ..venue.endpoints import Bucket, Host
from ..venue.responses import used_weight
from .account import SEEN_FOR, WINDOWS, Account, Count, Wish
from .client import LONGEST_PAUSE, SharedStore

ANSWER_TIMEOUT = 0.5
"""Seconds; a request waits no longer for the account."""
SHOWN_EVERY = SEEN_FOR / 4
"""Seconds after which a process that requests nothing is to be seen again."""
BLOCK_SHOWN_EVERY = 0.25
"""The same while a host is blocked: an account that has lost its data is to learn of it."""
LEAST_WAIT = 0.05
"""Seconds before a refused request asks again."""
_WEIGHED = (Bucket.FUTURES, Bucket.SPOT)
_MINUTE = 60.0


class SharedGrants:
    """The account of one process's requests, shared with all processes of one store and one ``egress``.

    Implements :class:`~ats_sync.runtime.executor.Grants`. Thread-safe; holds no lock while it waits for the store. Of
    one process and its threads: a forked child makes its own.
    """

    def __init__(self, config: Config, clock: Clock, budget: Budget, store: SharedStore | None = None) -> None:
        self.store = store if store is not None else SharedStore.of(config, answer_timeout=ANSWER_TIMEOUT)
        self.account = Account(self.store, uuid.uuid4().hex, egress=config.egress)
        self._log = RateLimitedLogger(logging.getLogger(__name__))
        self._fraction = config.shared_fraction
        self._life = config.request_timeout + ARRIVES_WITHIN
        self._clock = clock
        self._budget = budget
        self._budget_lock = budget.shared()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards everything below
        self._checked = False
        self._alone = False
        self._processes, self._counted_at = 0, float("-inf")  # the most that were seen lately; 0 before an answer
        self._show_due = self._blocked_until = float("-inf")
        self._generations: dict[Bucket, str] = {}
        self._owed: dict[Bucket, deque[tuple[float, int]]] = {bucket: deque() for bucket in WINDOWS}

    @property
    def alone(self) -> bool:
        """Whether the last request went without the account, since the store is away."""
        return self._alone

    def check(self) -> None:
        """Raise :class:`~ats_sync.errors.ConfigError` for a store that will not do; one that does not answer may."""
        try:
            self.store.connect(writes=True)
        except SharedStoreUnavailable as error:
            self._goes_alone(error)
        else:
            self._checked = True

    # --- before a request ------------------------------------------------------------------------------

    def take(self, send: Send) -> float | None:
        """Return None where the request may be sent now; else from when on (steady) it may."""
        send.grant = ""
        if send.request.bucket is Bucket.OTHER:
            return None  # not of this exchange
        try:
            if not self._checked:
                self.store.connect(writes=True, insist=False)
                self._checked = True
            return self._ask(send)
        except (SharedStoreUnavailable, ConfigError) as error:
            self._goes_alone(error)
        except Exception:  # noqa: BLE001 - it is logged
            self._log.exception("take", "the shared account failed; this process goes on with its part of the limit")
        return self._take_alone(send)

    def _ask(self, send: Send) -> float | None:
        request, cause = send.request, send.job.charged_to
        bucket, host, cost = request.bucket, request.host, request.weight
        with self._budget_lock:
            allowed = self._budget.allowance(request, cause)
            rank = self._budget.rank(request, cause)
            patience = WINDOWS[bucket] if send.job.for_engine else send.deadline - self._clock.now()
        # Before an answer tells a new account what the exchange has counted, one request at a time: those who knew what
        # was used may be gone.
        cautious = 0 if bucket in _WEIGHED else -1
        wish = Wish(bucket, host, cost, allowed, rank, self._life, patience, cautious)
        grant = str(next(self._numbers))
        with self._lock:
            known = self._generations.get(bucket, "")
            owed = self._take_owed(bucket)
        own = f"{self.account.process}:{grant}"
        try:
            taken = self.account.take(wish, own, known, owed=owed)
            while taken.verdict == "seed":  # once for each time that the store has lost its data
                seed, block = self._used(bucket, host, cost)
                taken = self.account.take(wish, own, taken.generation, seed=seed, seed_block=block)
                owed = 0
        except AtsSyncError:
            self._owe(bucket, owed)
            raise
        self._note_processes(taken.processes)
        with self._lock:
            self._generations[bucket] = taken.generation
            returned, self._alone = self._alone, False
        if returned:
            self._log.info("together", "requests are counted together with other processes again, in %s", self.store)
        if taken.verdict == "granted":
            send.grant = own
            return None
        until = self._clock.now() + max(LEAST_WAIT, taken.wait)
        if taken.verdict == "blocked":
            with self._budget_lock:
                self._budget.block(host, until)
            self._note_block(until)
        return until

    def _used(self, bucket: Bucket, host: Host, cost: int) -> tuple[int, float]:
        """Return what this process has used of a bucket, without the request of this cost that is about to be sent, and
        for how many seconds its host is blocked as far as it knows."""
        now = self._clock.now()
        with self._budget_lock:
            blocked = self._budget.blocked_until(host, now)
            return max(0, self._budget.own(bucket, now) - cost), 0.0 if blocked is None else blocked - now

    # --- after a request -------------------------------------------------------------------------------

    def ended(self, send: Send, outcome: Answer | AtsSyncError) -> None:
        """Report how a request ended: that it counts from now on, what the exchange counts, and whether it blocks."""
        request = send.request
        block = max(0.0, outcome.retry_at - self._clock.wall()) if isinstance(outcome, RateLimited) else 0.0
        if not send.grant and not block:
            return
        if block:
            self._note_block(self._clock.now() + block)
        how, count = "done", None
        if isinstance(outcome, Answer):
            count = self._count(send, outcome)
        elif isinstance(outcome, ConnectionFailed) and outcome.unsent:
            how = "unsent"
        elif isinstance(outcome, RequestTimeout):
            how = "lost"
        try:
            self.account.end(
                request.bucket, request.host, send.grant, request.weight, how=how, count=count, block=block
            )
        except (SharedStoreUnavailable, ConfigError) as error:
            # The account assumes the worst of a request whose end it does not learn.
            self._goes_alone(error)
        except Exception:  # noqa: BLE001 - it is logged
            self._log.exception("end", "the end of a request could not be reported to the shared account")

    def _count(self, send: Send, answer: Answer) -> Count | None:
        request = send.request
        used = used_weight(answer.headers)
        if used is None or not request.used_weight_is_true or request.bucket not in _WEIGHED:
            return None
        at = moment(self._clock)
        began = minute_of_count(at, at.exchange - round((at.steady - answer.sent_at) * 1000))
        if began is None:
            return None
        since = (at.exchange - began) / 1000.0
        return Count(used, began, since, _MINUTE - since + at.uncertain / 1000.0)

    # --- others ----------------------------------------------------------------------------------------

    def show(self) -> None:
        """Have this process seen in the account now and then, though it requests nothing: when the store dies it will,
        beside all others. What it knows of blocks is seen, too."""
        now = self._clock.now()
        if now < self._show_due:
            return
        with self._lock:
            self._show_due = now + (BLOCK_SHOWN_EVERY if now < self._blocked_until else SHOWN_EVERY)
        with contextlib.suppress(SharedStoreUnavailable, ConfigError):  # what reads the store will say so
            for host, seconds in self._blocks(now):
                self._note_processes(self.account.show(host, seconds))

    def _blocks(self, now: float) -> list[tuple[Host, float]]:
        """Return the hosts that are blocked and for how many seconds, or any of them with 0."""
        hosts = (Host.FUTURES, Host.SPOT)
        with self._budget_lock:
            known = [(host, self._budget.blocked_until(host, now)) for host in hosts]
        return [(host, until - now) for host, until in known if until is not None] or [(hosts[0], 0.0)]

    def _note_block(self, until: float) -> None:
        with self._lock:
            self._blocked_until = max(self._blocked_until, until)
            self._show_due = float("-inf")

    def _note_processes(self, count: int) -> None:
        """Note how many processes were seen: one that has died counts for a while, and so does one that a store which
        has lost its data has not seen yet."""
        now = self._clock.now()
        with self._lock:
            if count >= self._processes or now - self._counted_at > SEEN_FOR:
                self._processes, self._counted_at = count, now

    def fraction(self) -> float:
        """Return the part of the share that this process may use alone."""
        return min(self._fraction, 1.0 / max(1, self._processes))

    # --- without the store -----------------------------------------------------------------------------

    def _take_alone(self, send: Send) -> float | None:
        request, cause = send.request, send.job.charged_to
        with self._budget_lock:
            now = self._clock.now()
            until = self._budget.alone_at(request, cause, now, self.fraction())
        if until > now:
            # (The store may be back long before.)
            return min(max(until, now + LEAST_WAIT), now + LONGEST_PAUSE)
        self._owe(request.bucket, request.weight)
        return None

    def _goes_alone(self, error: AtsSyncError) -> None:
        with self._lock:
            known, self._alone = self._alone, True
            self._checked = False
        if not known:
            self._log.warning(
                "alone",
                "%s; until it is back, this process sends requests by itself, with %.0f %% of its share of the limit "
                "(the smaller of Config.shared_fraction and 1/N for the %d processes seen lately)",
                error,
                self.fraction() * 100,
                self._processes,
            )

    def _owe(self, bucket: Bucket, cost: int) -> None:
        if cost:
            with self._lock:
                self._owed[bucket].append((self._clock.now(), cost))

    def _take_owed(self, bucket: Bucket) -> int:
        """Return what was used without the account in the window, and forget it. The caller holds the lock."""
        assert self._lock.locked()
        owed, oldest = self._owed[bucket], self._clock.now() - WINDOWS[bucket]
        total = sum(cost for at, cost in owed if at > oldest)
        owed.clear()
        return total

    def close(self) -> None:
        """Close the connections to the store. A later request opens one again."""
        self.store.close()
