"""The reader's side of the feed: one round trip brings what a read needs, as it is now, into series of the usual kind.

A reader follows nothing. Between two reads it keeps what it has decoded, so that only what is new is sent again, and it
judges nothing by its own clock: the exchange's time comes from the store's, with the difference that the collector
wrote.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ..clock import Clock, Reading
from ..config import Config
from ..errors import ConfigError, SharedStoreUnavailable
from ..feeds import FEEDS, Key
from ..reads import Reads, reads_memory_only
from ..store.klines import KlineSeries
from ..store.link import Link
from ..store.market import MarketStore
from ..store.series import Copied, SeriesState
from ..store.tickers import TickerReplica
from ..venue.listings import Phase
from ..venue.payload import DecodeError
from .ahead import ReadAhead
from .client import SharedStore
from .layout import Feed, Head, MalformedFeed, board_of, exchange_text, head_in, wish_of
from .liquidations import LiquidationReplica
from .notices import Notices
from .pull import PULL, Known, Pulled, Resharded, joined
from .sources import AT_ONCE, Source, Sources
from .wishes import Wishes

T = TypeVar("T")

WISHES_AT_ONCE = 1000
PREFETCHED_FOR = 1.0
"""Seconds for which reads take what :meth:`Replica.prefetch` has brought."""
NOTHING: Mapping[Key, int] = {}
UNREADABLE = (SharedStoreUnavailable, ConfigError, MalformedFeed)
"""Errors of a store that cannot be read, after which reads go to REST."""


class Seen(NamedTuple):
    """How the collector has a series at this moment."""

    event: int
    """Exchange time (ms) of its newest event or answer, 0 where there is none."""
    doubt: str
    """Why it is not served from there, "" where it is."""


class Replica(MarketStore):
    """What this process has of the collector's market store. Any thread may call any method."""

    may_derive = False

    def __init__(self, config: Config, clock: Clock, shared: SharedStore) -> None:
        self._ticker_replica = TickerReplica()
        super().__init__(
            config,
            clock.now,
            clock.exchange_ms,
            liquidations=LiquidationReplica(
                config.max_liquidations, lambda key: None if self.pull([key]) else self.sources.why
            ),
            tickers=self._ticker_replica,
        )
        self._clock = clock
        self._shared = shared
        self._exchange = exchange_text(config.exchange)
        self.sources = Sources()
        """Where it comes from."""
        self.watched_until = 0.0
        self.pulls = 0
        """Round trips."""
        self._applying = threading.Lock()  # guards the sources, and the order of what is taken over; never over I/O
        self._ahead = ReadAhead()
        self._wishes = Wishes()
        self._prefetched: tuple[float, frozenset[Key]] = (0.0, frozenset())

    # --- bringing it up to date ----------------------------------------------------------------------

    def pull(self, keys: Sequence[Key], rows: int | None = None) -> bool:
        """Bring these series up to date, in one round trip; return whether what is in memory may be judged.

        It may not where the store does not answer, where nobody leads, and where what it holds is not what this version
        writes. So many ``rows`` of them are wished for, if nobody follows them yet; None: they are not.
        """
        now = self._clock.now()
        if self.has_prefetched(keys):
            return True
        came = self._pull(keys, rows, now)
        return came is not None and len(came) == len(keys) and (bool(keys) or self.sources.feed is not None)

    def bring(self, key: Key, rows: int) -> bool:
        """Bring one series up to date for a read of so many rows, and what is usually read after it in the same round
        trip; return as :meth:`pull`."""
        now = self._clock.now()
        if self.has_prefetched([key]) or self._ahead.takes(key, rows, now):
            return True
        along = self._ahead.along(key)
        came = self._pull([key, *along], rows, now, along)
        if came is None:
            return False
        self._ahead.brought(came, self._clock.now())
        return key in came

    def notices(self) -> Notices:
        """Return the stream of notices for one who reads it from its beginning on."""
        return Notices(self._shared)

    def pull_each(self, keys: Sequence[Key], rows: int | None = None) -> Sequence[Key]:
        """Bring these series up to date as :meth:`pull` does; return those of which that could be done."""
        return self._pull(keys, rows, self._clock.now()) or ()

    def has_listings(self) -> bool:
        """Return whether the listings are those by which the collector went when its feed was last looked at."""
        first, listings = self.sources.all[0].feed, self.listings.get()
        return first is None or first.listed_as_of <= (listings.as_of if listings is not None else 0)

    def has_prefetched(self, keys: Iterable[Key]) -> bool:
        """Return whether :meth:`prefetch` has brought all of these a moment ago."""
        until, fetched = self._prefetched
        return self._clock.now() < until and fetched.issuperset(keys)

    def prefetch(self, keys: Iterable[Key], rows: int = 0) -> bool:
        """Bring all of these up to date in one round trip, for the reads of the next second; return as
        :meth:`pull`."""
        needed = list(dict.fromkeys(keys))
        now = self._clock.now()
        came = self._pull(needed, rows, now)
        if came is None:
            return False
        self._prefetched = self._clock.now() + PREFETCHED_FOR, frozenset(came)
        return len(came) == len(needed)

    def pull_tickers(self) -> bool:
        """Bring the tickers of all symbols up to date that the collector has; return as :meth:`pull`."""
        own = self.tickers.key
        if not self.pull([own]):
            return False
        entries = [Key(own.kind, symbol) for symbol in self._ticker_replica.order]
        # Each script's own head dates the entries that come with it.
        batches = [entries[start : start + AT_ONCE - 1] for start in range(0, len(entries), AT_ONCE - 1)]
        return self.pull([key for batch in batches for key in (own, *batch)])

    def wish(self, keys: Iterable[Key]) -> None:
        """Say that these series are of use, followed or not yet."""
        now = self._clock.now()
        needed = self._wishes.follow(list(keys), now)
        try:
            for start in range(0, len(needed), WISHES_AT_ONCE):
                wishes = [wish_of(key, 0) for key in needed[start : start + WISHES_AT_ONCE]]
                source = self.sources.all[0]
                answer = self._shared.evaluate(PULL, source.keys, source.question((), wishes)[0])
                try:
                    pulled = Pulled.of(answer)
                    self.sources.note(source, self._take(source, (), (), pulled, self._clock.now() - now))
                except Resharded as other:
                    self._share_out(other.count)  # the wishes have been noted
        except UNREADABLE as error:
            self._wishes.failed(needed)
            self.lose(str(error))

    def intend(self, keys: Iterable[Key]) -> None:
        """As :meth:`wish`, but without I/O: it is said when these are looked at."""
        self._wishes.failed(self._wishes.follow(list(keys), self._clock.now()))

    def followed(self) -> list[Key]:
        """Return what :meth:`wish` was called with: what this process wants whether it reads it or not."""
        return self._wishes.followed()

    def forget_wishes(self, symbols: Collection[str]) -> None:
        """Want nothing of these symbols any more."""
        self._wishes.forget(symbols)

    def lacking(self, keys: Sequence[Key], reads: Reads) -> list[Key]:
        """Return which of these the collector does not serve fresh at this moment; all of them where nobody leads."""
        found = self.look(keys, reads)
        return [key for key in keys if key not in found or found[key].doubt]

    def look(self, keys: Sequence[Key], reads: Reads, *, whole: bool = False) -> dict[Key, Seen]:
        """Return how the collector has these at this moment, without those that it has not: none where nobody leads.

        It costs one round trip, in which the heads come and none of the rows, and shows how the feed is, too; where it
        is to be ``whole``, also that of shards which have none of these.
        """
        if later := self._wishes.take_failed():
            self.wish(later)
        return self._attempted(lambda: self._look(keys, reads, whole)) or {}

    def _look(self, keys: Sequence[Key], reads: Reads, whole: bool) -> dict[Key, Seen]:
        batches = self.sources.batches(keys, whole=whole)
        calls = [(source.keys, source.look(batch)) for source, batch in batches]
        now = self._clock.now()
        found: dict[Key, Seen] = {}
        for (source, batch), answer in zip(batches, self._shared.evaluate_all(PULL, calls), strict=True):
            pulled = Pulled.of(answer)
            why = self._take(source, (), (), pulled._replace(heads=(), parts=()), self._clock.now() - now)
            self.sources.note(source, why)
            if why or source.feed is None or pulled.feed is None:  # another thread may lose it meanwhile
                continue
            _, links = source.decoded(pulled.feed)
            time = self._clock.reading()
            for key, text in zip(batch, pulled.heads, strict=True):
                if text is not None:
                    head = head_in(text)
                    found[key] = Seen(self._event_in(key, head), self._doubt(key, head, links, reads, time))
        return found

    def _event_in(self, key: Key, head: Head) -> int:
        try:
            return self.event_in(key, Copied(None, head.suspected, head.facts, head.texts))
        except (ValueError, TypeError, LookupError, DecodeError) as error:
            raise MalformedFeed(f"what the shared store has of {key} cannot be used: {error!r}") from error

    @staticmethod
    def _doubt(key: Key, head: Head, links: Mapping[int, Link], reads: Reads, time: Reading) -> str:
        feed = FEEDS[key.kind]
        if not feed.own_stream:
            return ""
        link = links.get(head.link) if head.link is not None else None
        return reads.stream_doubt(SeriesState(link, head.suspected), time, feed.stream_timeout)

    def lose(self, why: str) -> None:
        """Note that the store cannot be read: nothing in memory may be judged."""
        self._prefetched = 0.0, frozenset()
        self.sources.lose(why)

    def _share_out(self, count: int) -> None:
        """Look for each symbol where so many shards have it."""
        with self._applying:
            self.sources.share_out(count)
            self._prefetched = 0.0, frozenset()

    def _attempted(self, call: Callable[[], T]) -> T | None:
        """Return what a call returns that reads the store, made again where it shows another number of shards; None
        where the store cannot be read."""
        try:
            try:
                return call()
            except Resharded as other:
                self._share_out(other.count)
            try:
                return call()
            except Resharded as other:
                raise MalformedFeed(f"the number of shards changes again and again; {other}") from None
        except UNREADABLE as error:
            self.lose(str(error))
            return None

    def _pull(
        self, keys: Sequence[Key], rows: int | None, now: float, along: Mapping[Key, int] = NOTHING
    ) -> Sequence[Key] | None:
        """Bring series up to date; return those whose shard has a leader, None where the store cannot be read. Of those
        in ``along`` it is so many rows that are wished for."""
        return self._attempted(lambda: self._request(keys, rows, now, along))

    def _request(self, keys: Sequence[Key], rows: int | None, now: float, along: Mapping[Key, int]) -> Sequence[Key]:
        needed = keys
        if not self.has_listings():
            keys = [*keys, self.listings.key]  # at the end: batches are cut from the beginning
        wishes: list[bytes] = []
        if rows is not None:
            wishes = [wish_of(key, along.get(key, rows)) for key in keys if self._wishes.due(key, now)]
        batches = self.sources.batches(keys)
        calls: list[list[Any]] = []
        had: list[list[Known | None]] = []
        for source, batch in batches:
            arguments, before = source.question(batch, wishes)
            wishes = []
            had.append(before)
            calls.append(arguments)
        if len(calls) == 1:
            answers = [self._shared.evaluate(PULL, batches[0][0].keys, calls[0])]
        else:
            together = [(source.keys, args) for (source, _), args in zip(batches, calls, strict=True)]
            answers = self._shared.evaluate_all(PULL, together)
        self.pulls += 1
        took = self._clock.now() - now
        lost: set[Source] = set()
        for (source, batch), before, answer in zip(batches, had, answers, strict=True):
            why = self._take(source, batch, before, Pulled.of(answer), took)
            self.sources.note(source, why)
            if why:
                lost.add(source)
        feeds = [source.feed for source, _ in batches]
        if any(feed is not None and not feed.proven for feed in feeds):
            self._clock.doubt()  # whatever the other shards say
        if not lost:
            return needed
        without = {key for source, batch in batches if source in lost for key in batch}
        return [key for key in needed if key not in without]

    def _take(
        self, source: Source, keys: Sequence[Key], had: Sequence[Known | None], pulled: Pulled, took: float
    ) -> str:
        """Take over one answer, which came ``took`` seconds after it was requested; return "", or why there is none."""
        server, life, text, exchange, heads, parts = pulled
        if text is None:
            source.feed = None
            return source.unled()
        if exchange not in (self._exchange, None):
            source.feed = None
            return source.foreign(exchange, self._exchange)
        feed, links = source.decoded(text)
        with self._applying:
            if life != source.life:
                source.life, source.known, source.renewed = life, {}, feed.renewed
            self._clock.follow(server + feed.earliest, server + feed.latest + took, proven=feed.proven)
            source.feed = feed
            self._watched(source, feed)
            for key, one, head, bodies in zip(keys, had, heads, parts, strict=True):
                self._apply(
                    source, key, one if one is not None and one.life == life else None, head, bodies, links, server
                )
        return ""

    def _watched(self, source: Source, feed: Feed) -> None:
        """Note what counts for all series. The caller holds the lock."""
        assert self._applying.locked()
        if renewed := {symbol: at for symbol, at in feed.renewed.items() if at != source.renewed.get(symbol)}:
            self.renewed = {**self.renewed, **renewed}
        if source.shard.count == 1:
            self.watched_until, self.delisted = feed.watched_until, feed.delisted
            return
        now = self._clock.now()
        source.watched = feed.watched_until, now
        # Of all whose series may be judged now: those that were brought a moment ago.
        recent = (
            watched for each in self.sources.all for watched, at in [each.watched] if now - at < 2 * PREFETCHED_FOR
        )
        self.watched_until = min(recent, default=feed.watched_until)
        self.delisted = {symbol: why for each in self.sources.feeds() for symbol, why in each.delisted.items()}

    def _apply(
        self,
        source: Source,
        key: Key,
        had: Known | None,
        text: bytes | None,
        bodies: list[bytes | None],
        links: Mapping[int, Link],
        server: float,
    ) -> None:
        """Have a series as the collector has it. The caller holds the lock."""
        assert self._applying.locked()
        current = source.known.get(key)
        if current is not None and current.at > server:
            return  # another thread made its request later, and was answered sooner
        own = board_of(key)
        board = self.boards[own] if own is not None else None
        series = board if board is not None else self.series.get(key)
        if text is None:
            source.known.pop(key, None)
            if not FEEDS[key.kind].shared:
                self.unfollow([key])
            elif board is not None:
                board.forget(key.symbol)
            return
        if series is None:
            self.follow([key])
            series = self.series[key]
        untouched = current is not None and current.series is series and current.answers == series.answers
        if current is not None and untouched and text == current.head:
            source.known[key] = current._replace(at=server)
            if board is not None:
                board.confirm_entry(key.symbol)
            elif series.link is not None:
                series.follow_link(links.get(series.link.number))
            return
        head = head_in(text)
        known, numbers = joined(had, head, bodies)
        same = untouched and current is not None and current.parts == head.parts
        body = None if same else [known[number] for number in numbers]
        link = links.get(head.link) if head.link is not None else None
        copied = Copied(link, head.suspected, head.facts, head.texts, body)
        taken = True
        try:
            if board is not None:
                board.take_entry(key.symbol, copied)
            else:
                taken = series.take_copy(copied)
        except (ValueError, TypeError, LookupError, DecodeError) as error:
            source.known.pop(key, None)
            raise MalformedFeed(f"what the shared store has of {key} cannot be used: {error!r}") from error
        source.known[key] = Known(source.life, text, head.parts, known, series.answers if taken else -1, series, server)

    # --- what a reader looks up beside its series ------------------------------------------------------

    def is_gone(self, symbol: str) -> bool:
        feed = self.sources.feed
        return self.phase(symbol) is Phase.GONE and not (feed is not None and symbol in feed.traded)

    def spot_candles(self, symbol: str) -> list[KlineSeries]:
        """Return the candles of the spot pair that this process has read, as they are now."""
        found = super().spot_candles(symbol)
        keys = [each.key for each in found]
        if not found or (reads_memory_only() and not self.has_prefetched(keys)) or not self.pull(keys):
            return []
        return super().spot_candles(symbol)
