"""The collector's side of the feed: the thread ``ats-publish`` writes what has changed into the shared store."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

from ..clock import Clock
from ..engine.quality import SAMPLE_EVERY, Quality
from ..errors import AtsSyncError, SharedStoreUnavailable, ThreadUnavailable
from ..feeds import Key
from ..logs import RateLimitedLogger
from ..store.market import MarketStore
from .client import SharedStore
from .copies import Copies
from .layout import EXCHANGE, Feed, exchange_text, feed_text, quality_field, quality_text
from .lease import MOST_ARGUMENTS
from .lease_keeper import LeaseKeeper
from .notices import EVERYTHING, NOTICES_KEY, notice
from .protocol import Command, Packed
from .shards import SHARDS_KEY, WHOLE, Shard
from .wishes import WishList

T = TypeVar("T")
Write = Callable[[Sequence[Command]], "list[Any] | None"]
"""Sends commands in one step; returns their answers, None where this process may not write."""

FLUSH = 0.05
"""Seconds between two writes."""
AFTER_FAILURE = 0.2
BATCH = 1024 * 1024
"""Parts are written so many bytes at once: a script that takes long makes every reader wait."""
KEPT = 600
"""Seconds for which the feed stays in the store when nobody writes any more."""
UNREAD_KEPT = 10
"""The same for a life that no reader has seen yet, so that one whose collector has died does not stay."""
RENEWED_EVERY = 60.0
STATE_EVERY = 2.0
"""Seconds between two looks at the state of the manager, which goes through every series, ..."""
STILL_EVERY = 10.0
"""... and while it is live and no series has changed its connection."""
ABLE_EVERY = 0.5
"""Seconds between two looks of a process that stands by whether it is still starting."""
COMPLETE_WITHIN = 300.0
"""Seconds after which a process takes over though not every series of its own is fresh."""
QUALITY_EVERY = SAMPLE_EVERY
"""Seconds between two writes of how good the data of each symbol is, ..."""
FIRST_QUALITY_EVERY = 1.0
"""... and while that of one is not known yet."""


class Condition(NamedTuple):
    """How the manager is."""

    state: str
    reason: str


class _Refused(Exception):
    """This process may not write: it does not lead, or another one prepares to."""


class Names:
    """The keys of one life of a feed."""

    def __init__(self, life: str, shard: Shard = WHOLE) -> None:
        self.life = life
        self.meta, self.heads, self.parts = (f"{shard.feed_key}:{life}:{name}" for name in ("meta", "heads", "parts"))

    def __iter__(self) -> Iterator[str]:
        return iter((self.meta, self.heads, self.parts))

    def unlinked(self) -> Command:
        """Return the command that removes them."""
        return "UNLINK", *self


FEED_KEY = WHOLE.feed_key


class FeedPublisher:
    """Writes one market store into the shared one, while this process leads.

    A new life is written whole under names that no reader knows, and renamed when it is. A process that stands by does
    the first before it takes the lease, where the leader wants to leave or seems to be gone, so that readers have the
    new life as soon as it leads; until then it keeps what it has written up to date.

    ``condition()`` says how the manager is, ``qualities()`` how good the data of each symbol was, ``demand(key, rows)``
    follows a series that readers want. All run on the thread ``ats-publish``, without any lock, and so does
    ``complete()``, which says whether every series is fresh: then this process takes the lease over from the one that
    leads, if it is to (``take_over``).
    """

    def __init__(
        self,
        shared: SharedStore,
        keeper: LeaseKeeper,
        clock: Clock,
        store: MarketStore,
        *,
        exchange: Sequence[str],
        condition: Callable[[], Condition],
        demand: Callable[[Key, int], None],
        qualities: Callable[[], Mapping[str, Quality]] = dict,
        complete: Callable[[], bool] = lambda: True,
        take_over: bool = False,
        flush: float = FLUSH,
        shard: Shard = WHOLE,
    ) -> None:
        """``exchange``: the base URLs that the rows come from."""
        self._log = RateLimitedLogger(logging.getLogger(__name__))
        self._shared = shared
        self._keeper = keeper
        self._exchange = exchange_text(exchange)
        self._clock = clock
        self._store = store
        self._condition = condition
        self._complete = complete
        self._take_over = take_over
        self._qualities = qualities
        self._flush = flush
        self._shard = shard
        self._feed_key = shard.feed_key
        self._shards = str(shard.count).encode() if shard.count > 1 else None
        self._copies = Copies(store, clock.now)
        self._wishes = WishList(shared, shard, demand)
        self._names: Names | None = None
        self._unread: Names | None = None  # a life that no reader knows, ...
        self._whole = False  # ... and whether it has been written whole
        self._epoch: int | None = None
        self._lives = 0
        self._refused = False  # whether the server has refused to write a life, as it does when its memory is full
        self._offset = 0.0, 0.0  # the exchange's time minus the store's (s), at the least and at the most
        self._state = Condition("starting", "")
        self._assessed = -1  # how often series had changed their connections by then
        self._able = False
        self._patient_until = math.inf  # for every series to be fresh
        self._state_due = self._able_due = self._renew_due = 0.0
        self._quality_due = 0.0
        self._measured: set[str] = set()  # symbols whose quality is written in this life
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.flushes = 0
        """Writes that have succeeded."""
        self.written: tuple[float, float] | None = None
        """When (epoch seconds) the last of them was answered, and how long (seconds) after the look at what had
        changed; None before. Replaced whole."""

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread. Raises :class:`~ats_sync.errors.ThreadUnavailable`."""
        thread = threading.Thread(target=self._run, name="ats-publish", daemon=True)
        try:
            thread.start()
        except RuntimeError as failure:
            raise ThreadUnavailable(f"the thread of the shared feed could not be started: {failure}") from failure
        self._thread = thread

    def close(self, timeout: float) -> None:
        """End the thread within ``timeout`` seconds. What is in the store stays, for those who come after."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            if thread.is_alive():
                self._log.warning("close", "the shared store keeps %s; it ends with its answer", thread.name)

    def _run(self) -> None:
        clock = self._clock
        while not self._stop.is_set():
            began, pause = clock.now(), self._flush
            try:
                self._turn()
            except SharedStoreUnavailable as error:
                self._log.warning("away", "the feed is not written: %s", error)
                self._names, self._whole, pause = None, False, AFTER_FAILURE
                self._refused = self._refused or error.refused
            except Exception as failure:  # noqa: BLE001 - a dead thread would publish nothing any more
                self._log.failure("publish", failure, "the feed could not be written; it is written again")
                self._names, self._whole, pause = None, False, AFTER_FAILURE
            clock.wait(self._stop, max(0.001, began + pause - clock.now()))
        with contextlib.suppress(AtsSyncError):
            self._discard()

    def _turn(self) -> None:
        """Write what has changed, if this process leads, and prepare to lead where it should."""
        epoch = self._keeper.epoch()
        now = self._clock.now()
        try:
            if epoch is None:
                self._names = None
                self._stand_by(now)
                return
            if self._names is None or epoch != self._epoch:
                self._begin(epoch)
            else:
                self._go_on(self._names)
        except _Refused:
            self._whole = False
            return
        self._wishes.follow_due(now)
        self._wishes.trim_due(now, self._keeper.write)

    # --- writing -----------------------------------------------------------------------------------

    def _stand_by(self, now: float) -> None:
        """Write everything before this process leads, where it should; remove what was written where it need not."""
        self._wishes.follow_due(now)  # what it would have to follow the moment it leads
        self._look_whether_able(now)
        prepared = False
        try:
            if not (self._able and self._keeper.should_prepare()):
                self._discard()
                self._refused = False
            elif self._refused:
                self._discard()
                prepared = True  # There is no memory for two lives: a hand-over with a gap is better than none.
            elif self._unread is None or not self._whole:
                self._write_whole(self._keeper.prepare)
                prepared = True
            else:
                prepared = self._keep_prepared(self._unread)
        finally:
            self._keeper.note_prepared(able=self._able, prepared=prepared)

    def _look_whether_able(self, now: float) -> None:
        """Note whether this process has started, and take over where it is to and every series is fresh."""
        if now < self._able_due or (self._able and not self._take_over):
            return
        self._able_due = now + ABLE_EVERY
        if not self._able and self._condition().state != "starting":
            self._able, self._patient_until = True, now + COMPLETE_WITHIN
        if self._take_over and self._able and (self._complete() or now >= self._patient_until):
            self._take_over = False
            self._keeper.take_over()

    def _begin(self, epoch: int) -> None:
        """Let readers see everything, once it is written whole."""
        before = self._shared.run(lambda redis: redis.hget(self._feed_key, "life"))
        old = Names(before.decode(), self._shard) if before is not None else None
        if self._unread is None or not self._whole:
            if old is not None and self._refused:
                self._write([old.unlinked()], self._keeper.write)  # there is no memory for both
                old = None
            self._write_whole(self._keeper.write)
        assert self._unread is not None
        unread, self._whole = self._unread, False
        names = Names(f"{epoch}-{self._lives}", self._shard)
        had = [self._copies.heads, self._copies.parts]
        commands: list[Command] = [("TIME",), *_sizes(unread), *_kept(unread, UNREAD_KEPT)]
        if self._write(commands, self._keeper.write)[1:3] != had:
            self._log.warning("lost", "the shared store has lost what was prepared; it is written again")
            return
        commands = self._changes(unread, self._keeper.write)
        sizes = 1, self._copies.heads, self._copies.parts  # a hash without fields is no key
        commands += [
            *(("RENAME", here, there) for here, there, size in zip(unread, names, sizes, strict=True) if size),
            ("HSET", self._feed_key, "life", names.life, "epoch", epoch),
            ("SET", SHARDS_KEY, self._shards) if self._shards is not None else ("UNLINK", SHARDS_KEY),
            notice([EVERYTHING]),
            *self._renewals(names),
        ]
        if old is not None:
            commands.append(old.unlinked())
        whole = self._finish(names, commands)
        self._unread = None  # its keys have the life's name now
        if whole:
            self._names, self._epoch, self._refused = names, epoch, False
            self._quality_due, self._measured = 0.0, set()
            self._log.info(f"life {names.life}", "the feed is written: %d series and symbols", self._copies.heads)

    def _write_whole(self, write: Write) -> None:
        """Write everything under names that no reader knows."""
        commands: list[Command] = [("TIME",)]
        if self._unread is not None:
            commands.append(self._unread.unlinked())
        self._write(commands, write)
        self._lives += 1
        names = self._unread = Names(f"unread-{self._keeper.lease.holder}-{self._lives}", self._shard)
        self._whole = False
        self._copies.restart()
        self._write([*self._changes(names, write), *_kept(names, UNREAD_KEPT)], write)
        self._whole = True

    def _keep_prepared(self, unread: Names) -> bool:
        """Write what has changed before anybody reads it; return whether all of it is there."""
        self._whole = False  # unless it is written
        commands = [*self._changes(unread, self._keeper.prepare), *_kept(unread, UNREAD_KEPT), *_sizes(unread)]
        answers = self._write(commands, self._keeper.prepare)
        self._whole = answers[-2:] == [self._copies.heads, self._copies.parts]
        return self._whole

    def _go_on(self, names: Names) -> None:
        """Write what has changed, and look whether all that was written is still there."""
        began = self._clock.now()
        # Before anything is copied, which is not to wait for it.
        measurements = self._measurements(names) if began >= self._quality_due else []
        self._names = None  # unless it is written: then what was copied counts as written
        commands = self._changes(names, self._keeper.write) + measurements
        if self._clock.now() >= self._renew_due:
            commands += self._renewals(names)
        if self._finish(names, commands):
            self._names = names
            self.flushes += 1
            self.written = self._clock.wall(), self._clock.now() - began

    def _finish(self, names: Names, commands: list[Command]) -> bool:
        """Write to the life that readers know; return whether all of it is there."""
        checks: list[Command] = [*_sizes(names), ("HGET", self._feed_key, "life"), ("GET", SHARDS_KEY)]
        answers = self._write([*commands, *checks], self._keeper.write)
        if answers[-4:] == [self._copies.heads, self._copies.parts, names.life.encode(), self._shards]:
            return True
        self._log.warning("lost", "the shared store has lost a part of the feed; it is written again")
        return False

    def _discard(self) -> None:
        """Remove what was prepared."""
        if (unread := self._unread) is not None:
            self._shared.run(lambda redis: redis.execute_command(*unread.unlinked()))
            self._unread, self._whole = None, False

    def _changes(self, names: Names, write: Write) -> list[Command]:
        """Write most of the parts that are new, and return the commands that write the rest and then make all of it
        true: the heads, and after them what vouches for them."""
        unread = names is self._unread
        feed = self._feed()
        changes = self._copies.changes()
        *large, rest = [*_batches(changes.parts)] or [[]]
        for batch in large:
            self._write([("HSET", names.parts, *batch), *(_kept([names.parts], UNREAD_KEPT) if unread else ())], write)
        commands: list[Command] = [("TIME",)]
        if rest:
            commands.append(("HSET", names.parts, *rest))
        begin = 0
        for ends in _batched(changes.ends, 2):
            commands.append(("HSET", names.heads, Packed(2 * len(ends), changes.heads[begin : ends[-1]])))
            begin = ends[-1]
        commands += [("HDEL", names.heads, *batch) for batch in _batched(changes.gone_heads)]
        commands += [("HDEL", names.parts, *batch) for batch in _batched(changes.gone_parts)]
        # Both each time, since nobody counts what this hash has lost.
        commands.append(("HSET", names.meta, "feed", feed_text(feed), EXCHANGE, self._exchange))
        if changes.closed and not unread:  # readers of a new life look at everything
            commands.append(notice(changes.closed))
        return commands

    def _renewals(self, names: Names) -> list[Command]:
        self._renew_due = self._clock.now() + RENEWED_EVERY
        return _kept((*names, self._feed_key, NOTICES_KEY), KEPT)

    def _measurements(self, names: Names) -> list[Command]:
        """Return what writes the quality of each symbol."""
        at, qualities = self._clock.exchange_ms(), self._qualities()
        whole = self._store.symbols <= qualities.keys()
        self._quality_due = self._clock.now() + (QUALITY_EVERY if whole else FIRST_QUALITY_EVERY)
        fields = [(quality_field(symbol), quality_text(each, at)) for symbol, each in qualities.items()]
        gone = [quality_field(symbol) for symbol in self._measured - qualities.keys()]
        self._measured = set(qualities)
        commands: list[Command] = [
            ("HSET", names.meta, *(text for field in batch for text in field)) for batch in _batched(fields, 2)
        ]
        return commands + [("HDEL", names.meta, *batch) for batch in _batched(gone)]

    def _write(self, commands: Sequence[Command], write: Write) -> list[Any]:
        """Write, and learn from the answer how far the store's clock is from the exchange's. Raises
        :class:`_Refused`."""
        clock = self._clock
        earliest = clock.earliest_ms() / 1000.0
        answers = write(commands)
        if answers is None:
            raise _Refused
        if commands[0] == ("TIME",):
            seconds, micros = cast(list[bytes], answers[0])
            server = int(seconds) + int(micros) / 1e6
            self._offset = earliest - server, clock.exchange() - server
        return answers

    def _feed(self) -> Feed:
        """Return how the feed is, before its series are copied: whatever had arrived by these watermarks is in them."""
        clock, store = self._clock, self._store
        now, relinked = clock.now(), self._copies.relinked
        still = relinked == self._assessed and self._state.state == "live"
        if now >= self._state_due + (STILL_EVERY - STATE_EVERY if still else 0.0):
            self._state_due, self._assessed = now + STATE_EVERY, relinked
            self._state = self._condition()
        watched_until = store.watched_until
        listings = store.listings.get()
        earliest, latest = self._offset
        return Feed(
            earliest,
            latest,
            clock.synchronised and clock.proven(),
            watched_until if math.isfinite(watched_until) else 0.0,
            {number: (link.route, link.up, link.watermark) for number, link in self._copies.links.items()},
            True,
            store.delisted,
            [],
            listings.as_of if listings is not None else 0,
            self._keeper.lease.label,
            *self._state,
            len(store.series),
            store.renewed,
        )


def _sizes(names: Names) -> list[Command]:
    return [("HLEN", names.heads), ("HLEN", names.parts)]


def _kept(keys: Iterable[str], seconds: int) -> list[Command]:
    return [("PEXPIRE", key, seconds * 1000) for key in keys]


def _batched(items: list[T], arguments: int = 1) -> Iterator[list[T]]:
    """Yield as many items at once as one command can take; each stands for so many arguments."""
    most = (MOST_ARGUMENTS - 4) // arguments
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _batches(parts: list[bytes]) -> Iterator[list[bytes]]:
    """Yield pairs of fields and parts, some :data:`BATCH` bytes together."""
    batch: list[bytes] = []
    size = 0
    for field, part in zip(parts[::2], parts[1::2], strict=True):
        batch += field, part
        size += len(part)
        if size >= BATCH or len(batch) >= MOST_ARGUMENTS - 8:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
