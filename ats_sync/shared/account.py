"""The account of an address: what all processes together have requested of the exchange, in the shared store.

It counts as :class:`~ats_sync.engine.window.Window` does for one process: a request counts from when it was granted
until a window's length after its answer, so that no minute, wherever it begins and whatever the clocks of store and
exchange say, has more than the share; one without an answer counts for longer; and what others have used of the
exchange's own count stands until that minute is over. The time is the server's ``TIME``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..engine.window import ARRIVES_WITHIN, COUNT_BORDER
from ..venue.endpoints import (
    FUNDING_LIMIT,
    OPEN_INTEREST_LIMIT,
    OTHER_LIMIT,
    WEIGHT_WINDOW,
    Bucket,
    Host,
)
from .account_scripts import END, LOOK, SHOW, TAKE
from .client import Redis, Script, SharedStore
from .scripts import GENERATION_KEY
from .server import FORMAT, FORMATS_KEY

SLOTS = 120
"""Into how many parts a window is cut: what ended in one of them counts until its end plus a window."""
KEPT_FOR = 0.5
"""Seconds for which room that has come free is kept for a request of a better tier that was refused before."""
CAUTION = 0.25
"""Seconds to wait for the first answer that says what the exchange has counted."""
SEEN_FOR = 120.0
"""Seconds for which a process that was seen counts as one of the address."""

WINDOWS: dict[Bucket, float] = {
    Bucket.FUTURES: WEIGHT_WINDOW,
    Bucket.SPOT: WEIGHT_WINDOW,
    Bucket.OPEN_INTEREST: OPEN_INTEREST_LIMIT[1],
    Bucket.FUNDING: FUNDING_LIMIT[1],
    Bucket.OTHER: OTHER_LIMIT[1],
}
"""Seconds."""
NAMES: dict[Bucket, str] = {
    Bucket.FUTURES: "futures",
    Bucket.SPOT: "spot",
    Bucket.OPEN_INTEREST: "open-interest",
    Bucket.FUNDING: "funding",
    Bucket.OTHER: "other",
}
"""Of the keys."""


@dataclass(frozen=True)
class Wish:
    """A request that a process would like to send."""

    bucket: Bucket
    host: Host
    cost: int
    allowed: int
    """How much of the bucket may be used, this request included."""
    rank: int
    """The place of its tier: room that one of a smaller rank waits for is not given to it."""
    life: float
    """Seconds after which it must have ended, answered or not."""
    patience: float
    """Seconds for which it can wait; where that is long enough, room is kept for it when there is some."""
    cautious: int = -1
    """How much may be granted in all before an answer tells a new account what the exchange has counted; beyond that,
    one request at a time. -1 where no answer ever does."""


class Taken(NamedTuple):
    """What the account says to a wish."""

    verdict: str
    """``granted``, ``refused``, ``blocked`` (a 429 or 418), or ``seed``: it is another account than the one that this
    process knew, which must first learn what the process has used."""
    generation: str
    wait: float
    """Seconds after which another attempt makes sense."""
    processes: int = 1
    """How many processes of the address were seen lately, this one included."""


class Count(NamedTuple):
    """The weight that the exchange says was used in a minute."""

    used: int
    minute: int
    """When that minute began, exchange time in ms."""
    since: float
    """Seconds that have passed of it at most."""
    left: float
    """Seconds that are left of it at most."""


class Use(NamedTuple):
    """What the account knows of a bucket."""

    used: int
    """Of requests that have ended in the window, by all processes together."""
    open: int
    """Of requests under way."""
    foreign: int
    """Of other programs, as far as known."""
    blocked: float
    """Seconds until requests to the host are allowed again."""


class Account:
    """The scripts of one address's account. Thread-safe; it remembers nothing but names.

    ``now`` is for tests: it returns the time in microseconds that the scripts are to use instead of the server's.
    """

    def __init__(
        self, store: SharedStore, process: str, *, egress: str = "default", now: Callable[[], int] | None = None
    ) -> None:
        self.store = store
        self.process = process
        self._now: Callable[[], Any] = now if now is not None else str
        self._keys = {
            bucket: (
                store.key("account", egress, name),
                store.key("account", egress, name, "open"),
                store.key("account", egress, "blocks"),
                store.key(GENERATION_KEY),
                FORMATS_KEY,
                store.key("account", egress, "processes"),
            )
            for bucket, name in NAMES.items()
        }

    def take(
        self,
        wish: Wish,
        grant: str,
        generation: str,
        *,
        seed: int | None = None,
        seed_block: float = 0.0,
        owed: int = 0,
    ) -> Taken:
        """Count a request under the number ``grant``, if there is room for it.

        ``generation`` is the one that this process knows. Where it is another, the answer names it, and the next call
        must bring ``seed``: what the process has used in the window, and ``seed_block``: for how many seconds it knows
        the host to be blocked.
        ``owed`` is what it has used without the account since the last call.
        """
        verdict, current, wait, processes = self._evaluate(
            TAKE,
            wish.bucket,
            wish.host,
            grant,
            wish.cost,
            wish.allowed,
            wish.rank,
            _micros(wish.life),
            generation,
            "" if seed is None else seed,
            _micros(seed_block),
            owed,
            wish.cautious,
            FORMAT,
            _micros(wish.patience),
            _micros(CAUTION),
            _micros(KEPT_FOR),
            _micros(SEEN_FOR),
        )
        return Taken(verdict.decode(), current.decode(), int(wait) / 1e6, int(processes))

    def show(self, host: Host = Host.FUTURES, block: float = 0.0) -> int:
        """Have this process seen, though it requests nothing; return how many were seen lately.

        ``block`` is for how many seconds it knows the host to be blocked: an account that knows of no block, since it
        has lost its data, learns of it.
        """
        return int(self._evaluate(SHOW, Bucket.FUTURES, host, _micros(SEEN_FOR), _micros(block)))

    def end(
        self,
        bucket: Bucket,
        host: Host,
        grant: str,
        cost: int,
        *,
        how: str = "done",
        count: Count | None = None,
        block: float = 0.0,
    ) -> None:
        """A granted request has ended: ``done``, ``unsent`` (it costs nothing) or ``lost`` (it may still arrive).

        ``count`` is what its answer says of the minute; ``block``: for how many seconds nobody may ask the host.
        """
        used, minute, since, left = count if count is not None else (-1, 0, 0.0, 0.0)
        self._evaluate(
            END,
            bucket,
            host,
            grant,
            cost,
            how,
            used,
            minute,
            _micros(since),
            _micros(left),
            _micros(block),
            _micros(ARRIVES_WITHIN),
            COUNT_BORDER * 1000,
        )

    def look(self, bucket: Bucket, host: Host) -> Use:
        """Return what the account knows of a bucket and its host."""
        used, under_way, foreign, blocked = self._evaluate(LOOK, bucket, host)
        return Use(int(used), int(under_way), int(foreign), int(blocked) / 1e6)

    def _evaluate(self, script: Script, bucket: Bucket, host: Host, *args: Any) -> Any:
        window = _micros(WINDOWS[bucket])
        return self.store.evaluate(
            script, self._keys[bucket], (self._now(), window, SLOTS, self.process, host.value, *args)
        )


def egresses(store: SharedStore) -> list[str]:
    """Return the names of all accounts in a store that were used in the last minutes."""
    before, after = store.key("account", ""), f":{NAMES[Bucket.FUTURES]}"

    def look(redis: Redis) -> list[str]:
        keys = (key.decode() for key in redis.scan_iter(f"{before}*{after}", count=1000))
        return sorted(key[len(before) : -len(after)] for key in keys)

    return store.run(look)


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)
