"""The account of an address: what all processes together have requested of the exchange, in the shared store.

It counts as :class:`~ats_sync.engine.budget.Window` does for one process: a request counts from when it was granted
until a window's length after its answer, so that no minute, wherever it begins and whatever the clocks of store and
exchange say, has more than the share; one without an answer counts for longer; and what others have used of the
exchange's own count stands until that minute is over. The time is the server's ``TIME``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..engine.budget import ARRIVES_WITHIN, COUNT_BORDER
from ..venue.endpoints import (
    FUNDING_LIMIT,
    OPEN_INTEREST_LIMIT,
    OTHER_LIMIT,
    WEIGHT_WINDOW,
    Bucket,
    Host,
)
from .client import Script, SharedStore
from .scripts import GENERATION, GENERATION_KEY, TIME
from .server import FORMAT, FORMATS_KEY

SLOTS = 120
"""Into how many parts a window is cut: what ended in one of them counts until its end plus a window."""
KEPT_FOR = 0.5
"""Seconds for which room that has come free is kept for a request of a better tier that was refused before."""
CAUTION = 0.25
"""Seconds to wait for the first answer that says what the exchange has counted."""

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

_COMMON = (
    TIME
    + GENERATION
    + """
local bucket_key, open_key, blocks_key, generation_key, formats_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now = ARGV[1] ~= '' and tonumber(ARGV[1]) or micros()
local window, slots = tonumber(ARGV[2]), tonumber(ARGV[3])
local process, host = ARGV[4], ARGV[5]
local length = window / slots
local gen = generation(generation_key)
local known = redis.call('HGET', bucket_key, 'generation') == gen

local function slot_of(at)
  return math.floor(at / length)
end
local function count(at, cost)
  redis.call('HINCRBY', bucket_key, 's' .. whole(slot_of(at)), cost)
end
local function keep()
  local milliseconds = math.ceil(window / 1000) * 2 + 60000
  redis.call('PEXPIRE', bucket_key, milliseconds)
  redis.call('PEXPIRE', open_key, milliseconds)
end
local function block_until(at)
  if at > tonumber(redis.call('HGET', blocks_key, host) or '0') then
    redis.call('HSET', blocks_key, host, whole(at))
    local left = redis.call('PTTL', blocks_key)
    redis.call('PEXPIRE', blocks_key, math.max(left, math.ceil((at - now) / 1000) + 60000))
  end
end
local function blocked_for()
  return math.max(0, tonumber(redis.call('HGET', blocks_key, host) or '0') - now)
end
-- What has no answer until its time is assumed to have ended then.
local function expire()
  local over = redis.call('ZRANGEBYSCORE', open_key, '-inf', whole(now), 'WITHSCORES')
  for index = 1, #over, 2 do
    local cost = string.match(over[index], ' (%d+)$')
    redis.call('ZREM', open_key, over[index])
    redis.call('HINCRBY', bucket_key, 'open', '-' .. cost)
    count(tonumber(over[index + 1]), cost)
  end
end
-- All that the account has: ended (by slot), open, foreign, what better tiers wait for.
local function load(rank)
  local fields = redis.call('HGETALL', bucket_key)
  local found = {used = 0, open = 0, foreign = 0, foreign_until = 0, foreign_minute = 0, awaited = 0, born = now,
    granted = 0, ended = {}}
  for index = 1, #fields, 2 do
    local name, value = fields[index], fields[index + 1]
    local first = string.sub(name, 1, 1)
    if first == 's' then
      local number, cost = tonumber(string.sub(name, 2)), tonumber(value)
      if (number + 1) * length + window <= now then
        redis.call('HDEL', bucket_key, name)
      else
        if number > slot_of(now + window) then -- written before the clock was set back
          redis.call('HDEL', bucket_key, name)
          count(now, value)
          number = slot_of(now)
        end
        found.used = found.used + cost
        found.ended[#found.ended + 1] = {(number + 1) * length + window, cost}
      end
    elseif first == 'w' then
      local cost, ends = string.match(value, '(%d+) (%d+)')
      local other = tonumber(string.match(name, '^w(%d+):'))
      if tonumber(ends) <= now then
        redis.call('HDEL', bucket_key, name)
      elseif other < rank then
        found.awaited = found.awaited + tonumber(cost)
      end
    elseif name == 'open' or name == 'foreign' or name == 'foreign_until' or name == 'foreign_minute'
        or name == 'born' or name == 'granted' or name == 'corrected' then
      found[name] = tonumber(value)
    end
  end
  if found.foreign_until <= now then
    found.foreign = 0
  end
  return found
end
"""
)

_TAKE = Script(
    _COMMON
    + """
local id, cost, allowed, rank = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local life, known_by_process, seed, seed_block = tonumber(ARGV[10]), ARGV[11], ARGV[12], tonumber(ARGV[13])
local owed, cautious = tonumber(ARGV[14]), tonumber(ARGV[15])
if not known then
  redis.call('DEL', bucket_key, open_key)
  redis.call('HSET', bucket_key, 'generation', gen, 'born', whole(now), 'open', 0)
end
keep()
redis.call('HSET', formats_key, ARGV[16], whole(math.floor(now / 1000)))
if known_by_process ~= gen then
  return {'seed', gen, '0'}
end
if seed ~= '' then
  if redis.call('HSETNX', bucket_key, 'p' .. process, '1') == 1 and tonumber(seed) > 0 then
    count(now, seed)
  end
  if seed_block > 0 then
    block_until(now + seed_block)
  end
end
if owed > 0 then
  count(now, whole(owed))
end
local blocked = blocked_for()
if blocked > 0 then
  return {'blocked', gen, whole(blocked)}
end
expire()
local found = load(rank)
local wish = 'w' .. rank .. ':' .. process
local surplus = found.used + found.open + found.foreign + found.awaited + cost - allowed
local ignorant = cautious >= 0 and not found.corrected and found.born + window > now
if surplus <= 0 and ignorant and found.granted + cost > cautious and found.open > 0 then
  return {'refused', gen, ARGV[18]}
end
if surplus <= 0 then
  if ignorant then
    redis.call('HINCRBY', bucket_key, 'granted', whole(cost))
  end
  redis.call('ZADD', open_key, whole(now + life), id .. ' ' .. whole(cost))
  redis.call('HINCRBY', bucket_key, 'open', whole(cost))
  redis.call('HDEL', bucket_key, wish)
  keep()
  return {'granted', gen, '0'}
end
local ended = found.ended
if found.foreign > 0 then
  ended[#ended + 1] = {found.foreign_until, found.foreign}
end
table.sort(ended, function(a, b) return a[1] < b[1] end)
local at = now + window
for _, each in ipairs(ended) do
  surplus = surplus - each[2]
  if surplus <= 0 then
    at = math.min(at, each[1])
    break
  end
end
if at - now <= tonumber(ARGV[17]) then
  redis.call('HSET', bucket_key, wish, whole(cost) .. ' ' .. whole(at + tonumber(ARGV[19])))
end
return {'refused', gen, whole(at - now)}
"""
)

_END = Script(
    _COMMON
    + """
local id, cost, how, used = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])
local minute, since, left = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local block, late, border = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])
if block > 0 then
  block_until(now + block)
end
if not known then
  return gen
end
if redis.call('ZREM', open_key, id .. ' ' .. cost) == 1 then
  redis.call('HINCRBY', bucket_key, 'open', '-' .. cost)
end
-- (Also one that was assumed to have ended long ago: its process was stopped, and went on.)
if id ~= '' and how ~= 'unsent' then
  count(how == 'lost' and now + late or now, cost)
end
if used >= 0 then
  expire()
  local found = load(0)
  local began, own = now - since - border, found.open
  for _, each in ipairs(found.ended) do
    if each[1] - window > began then
      own = own + each[2]
    end
  end
  local foreign = math.max(0, used - own)
  if minute == found.foreign_minute then
    foreign = math.max(foreign, found.foreign)
  end
  if minute >= found.foreign_minute or found.foreign_until <= now then
    redis.call('HSET', bucket_key, 'foreign', whole(foreign), 'foreign_minute', whole(minute),
      'foreign_until', whole(now + left), 'corrected', '1')
  end
end
return gen
"""
)

_LOOK = Script(
    _COMMON
    + """
if not known then
  return {'0', '0', '0', whole(blocked_for())}
end
expire()
local found = load(0)
return {whole(found.used), whole(found.open), whole(found.foreign), whole(blocked_for())}
"""
)


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
        verdict, current, wait = self._evaluate(
            _TAKE,
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
        )
        return Taken(verdict.decode(), current.decode(), int(wait) / 1e6)

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
            _END,
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
        used, under_way, foreign, blocked = self._evaluate(_LOOK, bucket, host)
        return Use(int(used), int(under_way), int(foreign), int(blocked) / 1e6)

    def _evaluate(self, script: Script, bucket: Bucket, host: Host, *args: Any) -> Any:
        window = _micros(WINDOWS[bucket])
        return self.store.evaluate(
            script, self._keys[bucket], (self._now(), window, SLOTS, self.process, host.value, *args)
        )


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)
