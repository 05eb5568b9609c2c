"""One round trip of a reader: what it requests of one shard, and what the answer holds.

Of each series the reader says which parts it has, so that only what is new is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..store.link import Link
from ..store.series import Series
from .client import Script
from .layout import Head, MalformedFeed, numbers_in

HANDED_OVER_FOR = 1.0
"""Seconds for which a feed is read whose collector has handed its lease over, until its successor's can be. Nobody can
write it any more, and it says itself how old it is: by its values, its connections' watermarks, and up to when somebody
has looked out for silent streams."""

PULL = Script(
    """
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
local micros = now[1] * 1000000 + now[2]
local lease = redis.call('HMGET', KEYS[1], 'epoch', 'until', 'handed', 'handed_at')
local feed = redis.call('HMGET', KEYS[2], 'life', 'epoch')
if not feed[1] then
  return out
end
if feed[2] ~= lease[1] or tonumber(lease[2] or '0') <= micros then
  local since = micros - tonumber(lease[4] or '0')
  if feed[2] ~= lease[3] or since < 0 or since >= HANDED_OVER then
    return out
  end
end
local base = KEYS[2] .. ':' .. feed[1] .. ':'
local same = feed[1] == ARGV[1]
out[3] = feed[1]
out[4] = redis.call('HGET', base .. 'meta', 'feed')
out[5] = not same and (redis.call('HGET', base .. 'meta', 'exchange') or '')
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
""".replace("HANDED_OVER", f"{HANDED_OVER_FOR * 1e6:.0f}"),
    repeatable=True,
)


class Resharded(Exception):
    """The symbols are shared out over another number of shards than this process thought."""

    def __init__(self, count: int) -> None:
        super().__init__(f"there are {count} shards")
        self.count = count


class Known(NamedTuple):
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


class Pulled(NamedTuple):
    """What an answer of the script holds."""

    server: float
    """The store's time (s)."""
    life: bytes = b""
    feed: bytes | None = None
    """The feed's state, None where nobody leads."""
    exchange: bytes | None = None
    """Of which exchange it is, None where it is the life that this process named."""
    heads: Sequence[bytes | None] = ()
    """Of each series that was requested, None where the collector has none."""
    parts: Sequence[list[bytes | None]] = ()
    """Of each the parts that this process has not had."""

    @classmethod
    def of(cls, answer: list[Any]) -> Pulled:
        """Return what an answer holds. Raises :class:`Resharded`."""
        seconds, micros, *rest = answer
        server = int(seconds) + int(micros) / 1e6
        if len(rest) == 1:
            raise Resharded(int(rest[0]))
        if len(rest) < 2 or rest[1] is None:
            return cls(server)
        life, feed, exchange, *series = rest
        return cls(server, life, feed, exchange, series[::2], series[1::2])


def joined(had: Known | None, head: Head, bodies: list[bytes | None]) -> tuple[dict[int, bytes], list[int]]:
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


def link_of(number: int, route: str, up: bool, watermark: float) -> Link:
    """Return a connection of the collector as it was."""
    link = Link(number, route, watermark)
    link.up = up
    return link
