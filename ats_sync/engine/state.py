"""What the engine knows about one series."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import AtsSyncError
from ..feeds import Cause, Feed, Key
from ..store.link import Link
from .jobs import Fetch


@dataclass(slots=True)
class State:
    """What is under way for one series, when it is due next, and what came of it so far."""

    key: Key
    feed: Feed
    live_once: bool = False
    known: bool = False
    """Whether an answer was ever merged."""
    link: Link | None = None
    """Its acknowledged subscription."""
    subscribed: int = 0
    """Exchange time (ms) of its acknowledgement: what happens later is delivered."""
    unstreamed_since: float = 0.0
    """Since when (steady) it has no acknowledged subscription, where it has none."""
    backfilled_to: int | None = None
    """How far back the backfill under way has reached (:meth:`~ats_sync.store.series.Series.reached`)."""
    fetching: Fetch | None = None
    due: float | None = None
    cause: Cause = Cause.WARM_UP
    attempts: int = 0
    error: AtsSyncError | None = None
    outdated_until: int = 0
    """Exchange time (ms) before which no request can have had the answer that is needed now."""
    retry_at: float | None = None
    """When (steady) what failed last is tried again, None where the last answer was good."""
    delisted: str = ""
    epoch: int = 0
    """Counts its subscriptions: what was requested before one proves nothing for it."""
    audit_at: float = 0.0
    remedies: int = 0
    """How often its stream was found dead in a row."""
    remedied: float = -math.inf
    """When it was last (steady)."""
    frames_at_quarantine: int = 0

    def count_from_zero(self) -> None:
        """Forget the attempts that failed, and how far a backfill has reached: nothing is missing, or the series starts
        over."""
        self.attempts, self.backfilled_to = 0, None

    @property
    def poll_cause(self) -> Cause:
        """Why it is polled."""
        return self.feed.poll.cause if self.feed.poll is not None else Cause.POLL

    @property
    def left_alone(self) -> bool:
        """Whether nothing is requested and nothing is due but an audit, which may be minutes away."""
        return self.fetching is None and (self.due is None or self.cause is Cause.AUDIT)

    @property
    def repair_cause(self) -> Cause:
        """Why it is requested when something is missing: a repair, once it was live; a poll, where it has no stream of
        its own."""
        if self.feed.shared:
            return self.poll_cause
        return Cause.REPAIR if self.live_once else Cause.WARM_UP
