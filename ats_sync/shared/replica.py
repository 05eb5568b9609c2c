"""The reader's side of the feed: one round trip brings what a read needs, as it is now, into series of the usual kind.

A reader follows nothing. Between two reads it keeps what it has decoded, so that only what is new is sent again, and it
judges nothing by its own clock: the exchange's time comes from the store's, with the difference that the collector
wrote.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..clock import Clock, Reading
from ..config import Config
from ..engine.quality import Quality
from ..errors import ConfigError, DataUnavailableError, InvalidSymbol, SharedStoreUnavailable, StaleDataError
from ..feeds import FEEDS, Key, Kind
from ..logs import RateLimitedLogger
from ..reads import Reads, reads_memory_only
from ..store.klines import KlineSeries
from ..store.link import Link
from ..store.market import MarketStore
from ..store.series import Copied, SeriesState
from ..store.tickers import TickerReplica
from ..store.values import EVERYBODY, LiquidationBoard
from ..venue.listings import Phase
from ..venue.payload import DecodeError
from ..venue.values import Liquidation
from .ahead import ReadAhead
from .client import SharedStore
from .layout import Feed, Head, MalformedFeed, board_of, head_in, quality_field, quality_in, wish_of
from .publish import EVERYTHING, NOTICES_KEY, QUALITY_EVERY, Names
from .pull import PULL, Known, Pulled, Resharded, Source, joined, link_of
from .shards import home, shards
from .wishes import Wishes

AT_ONCE = 64
"""The most series that one script looks up: others wait meanwhile."""
WISHES_AT_ONCE = 1000
PREFETCHED_FOR = 1.0
"""Seconds for which reads take what :meth:`Replica.prefetch` has brought."""
NOTHING: Mapping[Key, int] = {}
QUALITY_FOR = 3 * QUALITY_EVERY
"""Seconds for which what the collector wrote of a symbol's quality is believed."""
ATTEMPTS = 2
"""Looks for a symbol's quality: another collector may become the leader between two round trips."""
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
            liquidations=_LiquidationReplica(config.max_liquidations, self),
            tickers=self._ticker_replica,
        )
        self._log = RateLimitedLogger(logging.getLogger(__name__))
        self._clock = clock
        self._shared = shared
        self._sources = [Source(shard) for shard in shards(1)]
        self.watched_until = 0.0
        self.feed: Feed | None = None
        """How the feed was when it was last looked at; None where nobody led, or the store was away. With several
        shards, that of one of those that were needed."""
        self.why = "nothing was read yet"
        """Why there is none."""
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
        return came is not None and len(came) == len(keys) and (bool(keys) or self.feed is not None)

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

    @property
    def epoch(self) -> int:
        """Return the epoch under which what was read last of the first shard has been written; 0 before."""
        return int(self._sources[0].life.partition(b"-")[0] or 0)

    def feeds(self) -> list[Feed | None]:
        """Return how the feed of each shard was when it was last looked at, None where nobody led or the store was
        away."""
        return [source.feed for source in self._sources]

    def ages(self) -> dict[str, float]:
        """Return by shard how long ago (seconds), by what was read last, a connection of the collector that leads last
        proved that it delivers."""
        now = self._clock.exchange()
        newest = {
            str(source.shard): max((watermark for _, _, watermark in feed.links.values()), default=0.0)
            for source in self._sources
            if (feed := source.feed) is not None
        }
        return {shard: max(0.0, now - watermark) for shard, watermark in newest.items() if watermark}

    def newest_notice(self) -> bytes:
        """Return the id of the newest notice. Raises :class:`~ats_sync.errors.SharedStoreUnavailable`."""
        found: list[tuple[bytes, Any]] = self._shared.run(lambda redis: redis.xrevrange(NOTICES_KEY, count=1))
        return found[0][0] if found else b"0"

    def notices(self, after: bytes, seconds: float, most: int) -> list[tuple[bytes, bytes]]:
        """Wait at most so long for notices after one; return the id and the text of each, oldest first.

        Raises :class:`~ats_sync.errors.SharedStoreUnavailable`.
        """
        block = max(1, int(seconds * 1000))
        answer = self._shared.run(lambda redis: redis.xread({NOTICES_KEY: after}, count=most, block=block))
        return [(number, fields.get(b"closed", EVERYTHING)) for _, found in answer or () for number, fields in found]

    def pull_each(self, keys: Sequence[Key], rows: int | None = None) -> Sequence[Key]:
        """Bring these series up to date as :meth:`pull` does; return those of which that could be done."""
        return self._pull(keys, rows, self._clock.now()) or ()

    def has_listings(self) -> bool:
        """Return whether the listings are those by which the collector went when its feed was last looked at."""
        first, listings = self._sources[0].feed, self.listings.get()
        return first is None or first.listed_as_of <= (listings.as_of if listings is not None else 0)

    def unled(self) -> str:
        """Return why some symbols, or all, are not served now, as far as it was last looked at; "" where all are."""
        unled = next((source for source in self._sources if source.feed is None), None)
        return "" if unled is None else self.why or unled.unled()

    def quality(self, symbol: str) -> Quality:
        """Return how good a symbol's data was, as its collector wrote it at most a moment ago.

        Raises :class:`~ats_sync.errors.DataUnavailableError` where nobody leads and where it was not measured yet,
        :class:`~ats_sync.errors.StaleDataError` where it was not written for a while,
        :class:`~ats_sync.errors.InvalidSymbol` for what nobody follows.
        """
        for _ in range(ATTEMPTS):
            self._pull([], None, self._clock.now())
            source = next(each for each in self._sources if each.shard.has_symbol(symbol))
            life = source.life
            if source.feed is None:
                raise DataUnavailableError(
                    f"how good the data of {symbol} is, its collector knows alone, and {self.why or source.unled()}"
                )
            try:
                text = self._quality_text(Names(life.decode(), source.shard).meta, symbol)
            except UNREADABLE as error:
                self._lost(str(error))
                raise DataUnavailableError(f"how good the data of {symbol} is, cannot be read: {error}") from error
            if text is not None:
                break
        else:
            if all(key.symbol != symbol for key in self.followed()):
                raise InvalidSymbol(f"{symbol} is not watched; watch(['{symbol}']) first")
            raise DataUnavailableError(
                f"the collector has not measured {symbol} yet; it does so every {QUALITY_EVERY:g} s"
            )
        try:
            quality, at = quality_in(text)
        except MalformedFeed as error:
            raise DataUnavailableError(f"what the shared store has of {symbol} cannot be used: {error}") from error
        age = self._clock.exchange() - at / 1000.0
        if age > QUALITY_FOR:
            raise StaleDataError(
                f"the collector has written no quality of {symbol} for {age:.0f} s",
                age=age,
                bound=QUALITY_FOR,
                data=quality,
            )
        return quality

    def _quality_text(self, meta: str, symbol: str) -> bytes | None:
        text: bytes | None = self._shared.run(lambda redis: redis.hget(meta, quality_field(symbol)))
        return text

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
                source = self._sources[0]
                answer = self._shared.evaluate(PULL, source.keys, source.question((), wishes)[0])
                try:
                    self._note(source, self._take(source, (), (), answer, self._clock.now() - now))
                except Resharded as other:
                    self._share_out(other.count)  # the wishes have been noted
        except UNREADABLE as error:
            self._wishes.failed(needed)
            self._lost(str(error))

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
        try:
            try:
                return self._look(keys, reads, whole)
            except Resharded as other:
                self._share_out(other.count)
                return self._look(keys, reads, whole)
        except Resharded as other:
            self._lost(f"the number of shards changes again and again; {other}")
        except UNREADABLE as error:
            self._lost(str(error))
        return {}

    def _look(self, keys: Sequence[Key], reads: Reads, whole: bool) -> dict[Key, Seen]:
        batches = self._batches(keys)
        if whole:
            batches = [*self._batches(()), *batches]
        calls = [(source.keys, source.look(batch)) for source, batch in batches]
        now = self._clock.now()
        found: dict[Key, Seen] = {}
        for (source, batch), answer in zip(batches, self._shared.evaluate_all(PULL, calls), strict=True):
            why = self._take(source, (), (), answer[:4], self._clock.now() - now)
            self._note(source, why)
            feed = source.feed  # another thread may lose it meanwhile
            if why or feed is None:
                continue
            time, links = self._clock.reading(), feed.links
            for key, text in zip(batch, answer[4::2], strict=True):
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
    def _doubt(key: Key, head: Head, links: Mapping[int, tuple[str, bool, float]], reads: Reads, time: Reading) -> str:
        feed = FEEDS[key.kind]
        if not feed.own_stream:
            return ""
        known = links.get(head.link) if head.link is not None else None
        link = link_of(head.link or 0, *known) if known is not None else None
        return reads.stream_doubt(SeriesState(link, head.suspected), time, feed.stream_timeout)

    def _lost(self, why: str) -> None:
        """Nothing in memory may be judged."""
        self.feed, self.why = None, why
        for source in self._sources:
            source.feed = None
        self._prefetched = 0.0, frozenset()
        self._log.info("no feed", "reads go to REST: %s", why)

    def _note(self, source: Source, why: str) -> None:
        """Note whether one shard has a leader, or why it has none."""
        self.feed, self.why = source.feed, why
        if why:
            self._log.info("no feed", "reads go to REST: %s", why)

    def _share_out(self, count: int) -> None:
        """Look for each symbol where so many shards have it."""
        with self._applying:
            self._sources = [Source(shard) for shard in shards(count)]
            self._prefetched = 0.0, frozenset()

    def _batches(self, keys: Sequence[Key]) -> list[tuple[Source, Sequence[Key]]]:
        """Return keys by shard, few enough for one script each; all shards where there are none."""
        sources = self._sources
        if len(sources) == 1:
            shared_out: list[tuple[Source, Sequence[Key]]] = [(sources[0], keys)]
        elif not keys:
            shared_out = [(source, ()) for source in sources]
        else:
            by_number: dict[int, list[Key]] = {}
            for key in keys:
                by_number.setdefault(home(key, len(sources)), []).append(key)
            shared_out = [(sources[number - 1], own) for number, own in by_number.items()]
        return [
            (source, own[start : start + AT_ONCE])
            for source, own in shared_out
            for start in range(0, max(1, len(own)), AT_ONCE)
        ]

    def _pull(
        self, keys: Sequence[Key], rows: int | None, now: float, along: Mapping[Key, int] = NOTHING
    ) -> Sequence[Key] | None:
        """Bring series up to date; return those whose shard has a leader, None where the store cannot be read. Of those
        in ``along`` it is so many rows that are wished for."""
        try:
            try:
                return self._request(keys, rows, now, along)
            except Resharded as other:
                self._share_out(other.count)
            try:
                return self._request(keys, rows, now, along)
            except Resharded as other:
                raise MalformedFeed(f"the number of shards changes again and again; {other}") from None
        except UNREADABLE as error:
            self._lost(str(error))
            return None

    def _request(self, keys: Sequence[Key], rows: int | None, now: float, along: Mapping[Key, int]) -> Sequence[Key]:
        sources, needed = self._sources, keys
        if not self.has_listings():
            keys = [*keys, self.listings.key]  # at the end: batches are cut from the beginning
        wishes: list[bytes] = []
        if rows is not None:
            wishes = [wish_of(key, along.get(key, rows)) for key in keys if self._wishes.due(key, now)]
        batches = self._batches(keys)
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
            why = self._take(source, batch, before, answer, took)
            self._note(source, why)
            if why:
                lost.add(source)
        feeds = [source.feed for source, _ in batches]
        if any(feed is not None and not feed.proven for feed in feeds):
            self._clock.doubt()  # whatever the other shards say
        if not lost:
            return needed
        return [key for key in needed if sources[home(key, len(sources)) - 1] not in lost]

    def _take(
        self, source: Source, keys: Sequence[Key], had: Sequence[Known | None], answer: list[Any], took: float
    ) -> str:
        """Take over one answer, which came ``took`` seconds after it was requested; return "", or why there is none."""
        server, life, feed, heads, parts = Pulled.of(answer)
        if feed is None:
            source.feed = None
            return source.unled()
        links = {number: link_of(number, *known) for number, known in feed.links.items()}
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
        recent = (watched for each in self._sources for watched, at in [each.watched] if now - at < 2 * PREFETCHED_FOR)
        self.watched_until = min(recent, default=feed.watched_until)
        feeds = (each.feed for each in self._sources if each.feed is not None)
        self.delisted = {symbol: why for each in feeds for symbol, why in each.delisted.items()}

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
        feed = self.feed
        return self.phase(symbol) is Phase.GONE and not (feed is not None and symbol in feed.traded)

    def spot_candles(self, symbol: str) -> list[KlineSeries]:
        """Return the candles of the spot pair that this process has read, as they are now."""
        found = super().spot_candles(symbol)
        keys = [each.key for each in found]
        if not found or (reads_memory_only() and not self.has_prefetched(keys)) or not self.pull(keys):
            return []
        return super().spot_candles(symbol)


class _LiquidationReplica(LiquidationBoard):
    """The liquidations that the collector has seen."""

    def __init__(self, capacity: int, replica: Replica) -> None:
        super().__init__(capacity)
        self._replica = replica

    def read(self, symbol: str | None, limit: int) -> list[Liquidation]:
        """As in the collector. Raises :class:`~ats_sync.errors.DataUnavailableError` where there is none: they cannot
        be requested."""
        replica = self._replica
        if not replica.pull([Key(Kind.LIQUIDATIONS, symbol if symbol is not None else EVERYBODY)]):
            raise DataUnavailableError(f"liquidations come by stream alone, and {replica.why}")
        return super().read(symbol, limit)

    def forget(self, symbol: str) -> None:
        """Of this symbol the collector has seen none."""
