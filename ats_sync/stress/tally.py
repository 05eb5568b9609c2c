"""The findings of a run, counted by many threads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

MOST_EXAMPLES = 20


class Promise(str, Enum):
    """A promise, with the name under which its violations are counted."""

    STALE = "stale reads"
    INVARIANT = "broken invariants"
    DIVERGENCE = "divergences"
    CONVERGENCE = "recoveries above 30 s"
    BUDGET = "minutes above the budget"
    WAIT = "requests sent during a required wait"
    BANNED = "refused requests (429, 418) not caused by a fault"
    CONNECTIONS = "times with too many connections"
    LEAK = "leaks"
    OLD_EPOCH = "entries of an old epoch"
    DELISTED = "delisted symbols still served"
    CRASH = "errors that are not the library's own"


@dataclass(frozen=True)
class Finding:
    """A promise that was broken."""

    promise: Promise
    text: str


@dataclass
class Tally:
    """Counts. ``active`` names the faults of the moment."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    """Guards everything below."""
    reads: int = 0
    from_memory: int = 0
    raised: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    broken: Counter[Promise] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    active: str = ""
    began: float = field(default_factory=time.monotonic)

    def read(self, *, memory: bool) -> None:
        """Count a read that was answered."""
        with self.lock:
            self.reads += 1
            self.from_memory += memory

    def refused(self, error: Exception) -> None:
        """Count a read that raised."""
        with self.lock:
            self.reads += 1
            self.raised[type(error).__name__] += 1

    def checked(self, kind: str) -> None:
        """Count an answer that was compared with the truth."""
        with self.lock:
            self.checks[kind] += 1

    def found(self, finding: Finding) -> None:
        """Count a broken promise."""
        with self.lock:
            self.broken[finding.promise] += 1
            if len(self.examples) < MOST_EXAMPLES or self.broken[finding.promise] == 1:
                at = time.monotonic() - self.began
                self.examples.append(
                    f"{at:7.1f} s  {finding.promise.value}: {finding.text} [{self.active or 'healthy'}]"
                )
