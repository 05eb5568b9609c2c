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
from ..engine.demand import LEAST_KEPT
from ..errors import ConfigError, DataUnavailableError, SharedStoreUnavailable
from ..feeds import FEEDS, Key, Kind, Scope
from ..logs import RateLimitedLogger
from ..reads import Reads, reads_memory_only
from ..store.klines import KlineSeries
from ..store.link import Link
from ..store.market import MarketStore
from ..store.series import Board, Copied, Series, SeriesState
from ..store.tickers import TickerReplica
from ..store.values import EVERYBODY, LiquidationBoard
from ..venue.listings import Phase
from ..venue.payload import DecodeError
from ..venue.values import Liquidation
from .ahead import ReadAhead
from .client import Script, SharedStore
from .layout import Feed, Head, MalformedFeed, board_of, feed_in, field_of, head_in, numbers_in, wish_of
from .publish import EVERYTHING, NOTICES_KEY, WISHES_KEY
from .shards import SHARDS_KEY, Shard, home, shards

WISHED_EVERY = 60.0
"""A reader says so often (seconds) at most that it wants a series, which is kept much longer than that."""
assert WISHED_EVERY < LEAST_KEPT
AT_ONCE = 64
"""The most series that one script looks up: others wait meanwhile."""
WISHES_AT_ONCE = 1000
PREFETCHED_FOR = 1.0
"""Seconds for which reads take what :meth:`Replica.prefetch` has brought."""
NOTHING: Mapping[Key, int] = {}
NOT_SHARED = frozenset({Kind.DEPTH, Kind.ANSWER, Kind.CLOCK})

_PULL = Script("""
local now = redis.call('TIME')
local out = {now[1], now[2]}
local wishes = tonumber(ARGV[2])
for i = 4, 3 + wishes do
  redis.call('ZADD', KEYS[3], now[1] .. '.' .. string.format('%06d', now[2]), ARGV[i])
end
local count = redis.call('GET', KEYS[4]) or '1'
if count ~= ARGV[3] then
  out[3] = count
  return out
end
local lease = redis.call('HMGET', KEYS[1], 'epoch', 'until')
local feed = redis.call('HMGET', KEYS[2], 'life', 'epoch')
if not feed[1] or feed[2] ~= lease[1] or tonumber(lease[2] or '0') <= now[1] * 1000000 + now[2] then
  return out
end
local base = KEYS[2] .. ':' .. feed[1] .. ':'
local same = feed[1] == ARGV[1]
out[3] = feed[1]
out[4] = redis.call('HGET', base .. 'meta', 'feed')
local first = 4 + wishes
local fields = {}
for i = first, #ARGV, 2 do
  fields[#fields + 1] = ARGV[i]
end
if #fields == 0 then
  return out
end
local heads = redis.call('HMGET', base .. 'heads', unpack(fields))
for i = 1, #fields do
  local head = heads[i]
  out[#out + 1] = head
  local parts = {}
  if head then
    local needs = string.sub(head, 1, string.find(head, '|', 1, true) - 1)
    local has = ARGV[first + 2 * i - 1]
    if has ~= '*' and not same then has = '' end
    if needs ~= '' and needs ~= has and has ~= '*' then
      local known = {}
      for a, b in string.gmatch(has, '(%d+)%-(%d+)') do
        for number = tonumber(a), tonumber(b) do known[number] = true end
      end
      local needed = {}
      for a, b in string.gmatch(needs, '(%d+)%-(%d+)') do
        for number = tonumber(a), tonumber(b) do
          if not known[number] then needed[#needed + 1] = fields[i] .. '#' .. string.format('%d', number) end
        end
      end
      if #needed > 0 then
        parts = redis.call('HMGET', base .. 'parts', unpack(needed))
      end
    end
  end
  out[#out + 1] = parts
end
return out
""")


class _Resharded(Exception):
    """The symbols are shared out over another number of shards than this process thought."""

    def __init__(self, count: int) -> None:
        super().__init__(f"there are {count} shards")
        self.count = count


class _Source:
    """What this process has of one shard's feed. Replaced by another one where the number of shards changes."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.keys = (SharedStore.key("lease", shard.lease), shard.feed_key, WISHES_KEY, SHARDS_KEY)
        self.count = str(shard.count)
        self.life = b""
        self.known: dict[Key, _Known] = {}
        self.feed: Feed | None = None
        self.watched: tuple[float, float] = (0.0, float("-inf"))
        """Up to when it has looked out for silent streams, and when (steady) it said so."""


class _Known(NamedTuple):
    """What this process has of one field. Replaced whole."""

    life: bytes
    head: bytes
    parts: bytes
    """The numbers of its parts, as the head writes them."""
    bodies: Mapping[int, bytes]
    answers: int
    """How many answers of REST this process had merged into the series by then."""
    series: Series
    at: float
    """The store's time (s)."""


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
        self._sources = [_Source(shard) for shard in shards(1)]
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
        self._wished: dict[Key, float] = {}
        self._followed: dict[Key, None] = {}
        self._wishes_left: set[Key] = set()  # wishes that the store did not take
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
        try:
            came = self._pull(keys, rows, now)
        except (SharedStoreUnavailable, ConfigError, MalformedFeed) as error:
            self._lost(str(error))
            return False
        return len(came) == len(keys) and (bool(keys) or self.feed is not None)

    def bring(self, key: Key, rows: int) -> bool:
        """Bring one series up to date for a read of so many rows, and what is usually read after it in the same round
        trip; return as :meth:`pull`."""
        now = self._clock.now()
        if self.has_prefetched([key]) or self._ahead.takes(key, rows, now):
            return True
        along = self._ahead.along(key)
        if not along:
            return self.pull([key], rows)
        try:
            came = self._pull([key, *along], rows, now, along)
        except (SharedStoreUnavailable, ConfigError, MalformedFeed) as error:
            self._lost(str(error))
            return False
        self._ahead.brought([each for each in came if each != key], self._clock.now())
        return key in came

    @property
    def epoch(self) -> int:
        """Return the epoch under which what was read last of the first shard has been written; 0 before."""
        return int(self._sources[0].life.partition(b"-")[0] or 0)

    def feeds(self) -> list[Feed | None]:
        """Return how the feed of each shard was when it was last looked at, None where nobody led or the store was
        away."""
        return [source.feed for source in self._sources]

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

    def has_prefetched(self, keys: Iterable[Key]) -> bool:
        """Return whether :meth:`prefetch` has brought all of these a moment ago."""
        until, fetched = self._prefetched
        return self._clock.now() < until and fetched.issuperset(keys)

    def prefetch(self, keys: Iterable[Key], rows: int = 0) -> bool:
        """Bring all of these up to date in one round trip, for the reads of the next second; return as
        :meth:`pull`."""
        needed = list(dict.fromkeys(keys))
        now = self._clock.now()
        try:
            came = self._pull(needed, rows, now)
        except (SharedStoreUnavailable, ConfigError, MalformedFeed) as error:
            self._lost(str(error))
            return False
        self._prefetched = self._clock.now() + PREFETCHED_FOR, frozenset(came)
        return len(came) == len(needed)

    def pull_tickers(self, symbols: Sequence[str] | None) -> bool:
        """Bring the tickers of these symbols up to date, or of all that the collector has; return as :meth:`pull`."""
        own = self.tickers.key
        if symbols is None:
            if not self.pull([own]):
                return False
            symbols = self._ticker_replica.order
        entries = [Key(own.kind, symbol) for symbol in symbols]
        # Each script's own head dates the entries that come with it.
        batches = [entries[start : start + AT_ONCE - 1] for start in range(0, len(entries), AT_ONCE - 1)]
        return self.pull([key for batch in batches for key in (own, *batch)])

    def wish(self, keys: Iterable[Key]) -> None:
        """Say that these series are of use, followed or not yet."""
        now, keys = self._clock.now(), list(keys)
        self._followed.update(dict.fromkeys(keys))
        needed = [key for key in keys if self._is_to_be_wished(key, now)]
        try:
            for start in range(0, len(needed), WISHES_AT_ONCE):
                wishes = [wish_of(key, 0) for key in needed[start : start + WISHES_AT_ONCE]]
                source = self._sources[0]
                answer = self._shared.evaluate(_PULL, source.keys, [source.life, len(wishes), source.count, *wishes])
                try:
                    self._note(source, self._take(source, (), (), answer, self._clock.now() - now))
                except _Resharded as other:
                    self._share_out(other.count)  # the wishes have been noted
        except (SharedStoreUnavailable, ConfigError, MalformedFeed) as error:
            for key in needed:
                del self._wished[key]
            self._wishes_left.update(needed)
            self._lost(str(error))

    def followed(self) -> list[Key]:
        """Return what :meth:`wish` was called with: what this process wants whether it reads it or not."""
        return list(self._followed)

    def forget_wishes(self, symbols: Collection[str]) -> None:
        """Want nothing of these symbols any more."""
        for key in [key for key in self._followed if key.symbol in symbols]:
            del self._followed[key]

    def lacking(self, keys: Sequence[Key], reads: Reads) -> list[Key]:
        """Return which of these the collector does not serve fresh at this moment; all of them where nobody leads."""
        if later := [key for key in self._wishes_left if key not in self._wished]:
            self._wishes_left.clear()
            self.wish(later)
        try:
            try:
                return self._lacking(keys, reads)
            except _Resharded as other:
                self._share_out(other.count)
                return self._lacking(keys, reads)
        except _Resharded:
            return list(keys)
        except (SharedStoreUnavailable, ConfigError, MalformedFeed) as error:
            self._lost(str(error))
            return list(keys)

    def _lacking(self, keys: Sequence[Key], reads: Reads) -> list[Key]:
        batches = self._batches(keys)
        calls = [
            (source.keys, [b"", 0, source.count, *(part for key in batch for part in (field_of(key), b"*"))])
            for source, batch in batches
        ]
        now = self._clock.now()
        lacking: list[Key] = []
        for (source, batch), answer in zip(batches, self._shared.evaluate_all(_PULL, calls), strict=True):
            why = self._take(source, (), (), answer[:4], self._clock.now() - now)
            self._note(source, why)
            feed = source.feed  # another thread may lose it meanwhile
            if why or feed is None:
                return list(keys)
            time, links = self._clock.reading(), feed.links
            for key, text in zip(batch, answer[4::2], strict=True):
                if text is None or self._is_doubtful(key, head_in(text), links, reads, time):
                    lacking.append(key)
        return lacking

    @staticmethod
    def _is_doubtful(
        key: Key, head: Head, links: Mapping[int, tuple[str, bool, float]], reads: Reads, time: Reading
    ) -> bool:
        feed = FEEDS[key.kind]
        if not feed.own_stream:
            return False
        known = links.get(head.link) if head.link is not None else None
        link = _link(head.link or 0, *known) if known is not None else None
        return bool(reads.stream_doubt(SeriesState(link, head.suspected), time, feed.stream_timeout))

    def _lost(self, why: str) -> None:
        """Nothing in memory may be judged."""
        self.feed, self.why = None, why
        for source in self._sources:
            source.feed = None
        self._prefetched = 0.0, frozenset()
        self._log.info("no feed", "reads go to REST: %s", why)

    def _note(self, source: _Source, why: str) -> None:
        """Note whether one shard has a leader, or why it has none."""
        self.feed, self.why = source.feed, why
        if why:
            self._log.info("no feed", "reads go to REST: %s", why)

    def _share_out(self, count: int) -> None:
        """Look for each symbol where so many shards have it."""
        with self._applying:
            self._sources = [_Source(shard) for shard in shards(count)]
            self._prefetched = 0.0, frozenset()

    def _batches(self, keys: Sequence[Key]) -> list[tuple[_Source, Sequence[Key]]]:
        """Return keys by shard, few enough for one script each; all shards where there are none."""
        sources = self._sources
        if len(sources) == 1:
            shared_out: list[tuple[_Source, Sequence[Key]]] = [(sources[0], keys)]
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
    ) -> Sequence[Key]:
        """Bring series up to date; return those whose shard has a leader. Of those in ``along`` it is so many rows that
        are wished for."""
        try:
            return self._request(keys, rows, now, along)
        except _Resharded as other:
            self._share_out(other.count)
        try:
            return self._request(keys, rows, now, along)
        except _Resharded as other:
            raise MalformedFeed(f"the number of shards changes again and again; {other}") from None

    def _request(self, keys: Sequence[Key], rows: int | None, now: float, along: Mapping[Key, int]) -> Sequence[Key]:
        sources, needed = self._sources, keys
        first = sources[0].feed
        listings = self.listings.get()
        if first is not None and first.listed_as_of > (listings.as_of if listings is not None else 0):
            keys = [*keys, self.listings.key]  # at the end: batches are cut from the beginning
        wishes: list[bytes] = []
        if rows is not None:
            wishes = [wish_of(key, along.get(key, rows)) for key in keys if self._is_to_be_wished(key, now)]
        batches = self._batches(keys)
        calls: list[list[Any]] = []
        had: list[list[_Known | None]] = []
        for source, batch in batches:
            life, known = source.life, source.known
            args: list[Any] = [life, len(wishes), source.count, *wishes]
            wishes = []
            before = [known.get(key) for key in batch]
            for key, one in zip(batch, before, strict=True):
                args += field_of(key), one.parts if one is not None and one.life == life else b""
            had.append(before)
            calls.append(args)
        if len(calls) == 1:
            answers = [self._shared.evaluate(_PULL, batches[0][0].keys, calls[0])]
        else:
            together = [(source.keys, args) for (source, _), args in zip(batches, calls, strict=True)]
            answers = self._shared.evaluate_all(_PULL, together)
        self.pulls += 1
        took = self._clock.now() - now
        lost: set[_Source] = set()
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

    def _is_to_be_wished(self, key: Key, now: float) -> bool:
        feed = FEEDS[key.kind]
        if feed.scope is Scope.EVERYTHING or now - self._wished.get(key, -WISHED_EVERY) < WISHED_EVERY:
            return False
        self._wished[key] = now
        return True

    def _take(
        self, source: _Source, keys: Sequence[Key], had: Sequence[_Known | None], answer: list[Any], took: float
    ) -> str:
        """Take over one answer, which came ``took`` seconds after it was requested; return "", or why there is none."""
        seconds, micros, *rest = answer
        server = int(seconds) + int(micros) / 1e6
        if len(rest) == 1:
            raise _Resharded(int(rest[0]))
        if len(rest) < 2 or rest[1] is None:
            source.feed = None
            part = f" shard {source.shard}" if source.shard.count > 1 else ""
            option = f" --shard {source.shard}" if source.shard.count > 1 else ""
            return f"no collector leads{part}; start one with: python -m ats_sync collect{option}"
        life: bytes = rest[0]
        feed = feed_in(rest[1])
        heads, parts = rest[2::2], rest[3::2]
        links = {number: _link(number, route, up, watermark) for number, (route, up, watermark) in feed.links.items()}
        with self._applying:
            if life != source.life:
                source.life, source.known = life, {}
            self._clock.follow(server + feed.earliest, server + feed.latest + took, proven=feed.proven)
            source.feed = feed
            self._watched(source, feed)
            for key, one, head, bodies in zip(keys, had, heads, parts, strict=True):
                self._apply(
                    source, key, one if one is not None and one.life == life else None, head, bodies, links, server
                )
        return ""

    def _watched(self, source: _Source, feed: Feed) -> None:
        """Note what counts for all series. The caller holds the lock."""
        assert self._applying.locked()
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
        source: _Source,
        key: Key,
        had: _Known | None,
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
        board = board_of(key)
        series = self.series.get(board or key)
        if text is None:
            source.known.pop(key, None)
            if board is None and FEEDS[key.kind].scope is not Scope.EVERYTHING:
                self.unfollow([key])
            elif isinstance(series, Board) and board is not None:
                series.forget(key.symbol)
            return
        if series is None:
            self.follow([key])
            series = self.series[key]
        untouched = current is not None and current.series is series and current.answers == series.answers
        if current is not None and untouched and text == current.head:
            source.known[key] = current._replace(at=server)
            if board is not None and isinstance(series, Board):
                series.confirm_entry(key.symbol)
            elif series.link is not None:
                series.follow_link(links.get(series.link.connection))
            return
        head = head_in(text)
        known, numbers = _joined(had, head, bodies)
        same = untouched and current is not None and current.parts == head.parts
        body = None if same else [known[number] for number in numbers]
        link = links.get(head.link) if head.link is not None else None
        copied = Copied(link, head.suspected, head.facts, head.texts, body)
        taken = True
        try:
            if board is not None and isinstance(series, Board):
                series.take_entry(key.symbol, copied)
            else:
                taken = series.take_copy(copied)
        except (ValueError, TypeError, LookupError, DecodeError) as error:
            source.known.pop(key, None)
            raise MalformedFeed(f"what the shared store has of {key} cannot be used: {error!r}") from error
        source.known[key] = _Known(
            source.life, text, head.parts, known, series.answers if taken else -1, series, server
        )

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


def _joined(had: _Known | None, head: Head, bodies: list[bytes | None]) -> tuple[dict[int, bytes], list[int]]:
    """Return the parts of a head by number, and their numbers in order: those that were known when it was requested,
    and those that came with it. Raises :class:`~ats_sync.shared.layout.MalformedFeed`."""
    numbers = numbers_in(head.parts)
    before = had.bodies if had is not None else {}
    came = iter(bodies)
    known: dict[int, bytes] = {}
    for number in numbers:
        body = before.get(number)
        if body is None:
            body = next(came, None)
        if body is None:
            raise MalformedFeed("the shared store lacks a part of a series")
        known[number] = body
    return known, numbers


def _link(number: int, route: str, up: bool, watermark: float) -> Link:
    link = Link(number, route, watermark)
    link.up = up
    return link
