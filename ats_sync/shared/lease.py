"""The lease in the shared store: scripts that give, extend and release it, and that write for its holder alone.

An epoch is the server's time in microseconds when the lease was given, or more: it is greater than every earlier one
even in a store that has forgotten them. Every write compares it, inside the script that writes, and the generation of
the store; so a process that was stopped for a minute and goes on writes nothing, and one whose data is gone from the
store notices before it adds to what is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .client import Redis, Script, SharedStore
from .lease_state import TTL
from .protocol import Argument, Command, count
from .scripts import GENERATION, GENERATION_KEY, TIME
from .server import FORMAT, FORMATS_KEY

RESERVED = 0.5
"""Seconds for which a lease that was released waits for the process that has requested it."""
SEEN_FOR = 2.0
"""Seconds for which a process that stands by is shown after its last attempt."""

_COMMON = (
    TIME
    + GENERATION
    + """
local lease_key, generation_key = KEYS[1], KEYS[2]
local now = micros()
local gen = generation(generation_key)
local stored = redis.call('HMGET', lease_key, 'epoch', 'until', 'generation', 'holder', 'heir', 'heir_until')
local epoch, ends = tonumber(stored[1] or '0'), tonumber(stored[2] or '0')
local function valid()
  return epoch > 0 and stored[3] == gen and ends > now
end
local function heir()
  if stored[5] and tonumber(stored[6]) > now then
    return stored[5]
  end
  return ''
end
"""
)

_ACQUIRE = Script(
    _COMMON
    + """
local me, ttl, above, label, wants = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1'
local standbys_key, formats_key = KEYS[3], KEYS[4]
-- (An end further away than a lease lasts was written before the clock was set back.)
local taken = valid() and ends <= now + ttl and stored[4] ~= me
local wanted_by = heir()
if taken or (wanted_by ~= '' and wanted_by ~= me) then
  redis.call('HSET', standbys_key, me, whole(now) .. ' ' .. label)
  redis.call('PEXPIRE', standbys_key, 10000)
  if wants and (wanted_by == '' or wanted_by == me) then
    redis.call('HSET', lease_key, 'heir', me, 'heir_until', whole(now + tonumber(ARGV[6])))
  end
  return {0, whole(epoch), gen}
end
local given = math.max(now, epoch + 1, above + 1)
redis.call('HSET', lease_key, 'epoch', whole(given), 'until', whole(now + ttl), 'generation', gen, 'holder', me,
  'label', label, 'since', whole(now))
redis.call('HDEL', lease_key, 'heir', 'heir_until')
redis.call('HDEL', standbys_key, me)
redis.call('HSET', formats_key, ARGV[7], whole(math.floor(now / 1000)))
return {1, whole(given), gen}
"""
)

_RENEW = Script(
    _COMMON
    + """
if not valid() or whole(epoch) ~= ARGV[1] then
  return {0, ''}
end
redis.call('HSET', lease_key, 'until', whole(now + tonumber(ARGV[2])))
redis.call('HSET', KEYS[3], ARGV[3], whole(math.floor(now / 1000)))
return {1, heir()}
"""
)

_RELEASE = Script(
    _COMMON
    + """
if not valid() or whole(epoch) ~= ARGV[1] then
  return 0
end
redis.call('HSET', lease_key, 'until', '0')
if heir() ~= '' then
  redis.call('HSET', lease_key, 'heir_until', whole(now + tonumber(ARGV[2])))
end
return 1
"""
)

_STAND_BY = Script(
    _COMMON
    + """
if valid() or heir() ~= '' then
  redis.call('HSET', KEYS[3], ARGV[1], whole(now) .. ' ' .. ARGV[2])
  redis.call('PEXPIRE', KEYS[3], 10000)
  return {1, redis.call('HGET', lease_key, 'label') or ''}
end
redis.call('HDEL', KEYS[3], ARGV[1])
return {0, ''}
"""
)

_WRITE = Script(
    _COMMON
    + """
if not valid() or whole(epoch) ~= ARGV[1] then
  return {0}
end
local answer = {1}
local at, last = 2, #ARGV
while at <= last do
  local stop = at + tonumber(ARGV[at])
  answer[#answer + 1] = redis.call(unpack(ARGV, at + 1, stop))
  at = stop + 1
end
return answer
"""
)

MOST_ARGUMENTS = 4000
"""The most arguments of one command: a script may unpack no more than some 8,000 values."""


class Acquired(NamedTuple):
    """How a request for the lease ended."""

    mine: bool
    epoch: int
    """This process's own, or that of the one who has it."""
    generation: str
    """Of what the store contains; see :mod:`ats_sync.shared.scripts`."""


class LeaseView(NamedTuple):
    """Who leads, as the store has it."""

    epoch: int
    """0 where nobody ever led."""
    holder: str
    label: str
    """What the holder calls itself: host and process."""
    left: float
    """Seconds until the lease ends unless it is renewed; 0 where nobody leads."""
    led_for: float
    """Seconds since the lease was given."""
    generation: str
    standbys: tuple[str, ...]
    """The labels of the processes that stand by."""
    silent_for: float | None = None
    """Seconds since the last sign of whoever led last: since the lease was given or renewed; None where that one gave
    it back, or nobody ever led."""


class Lease:
    """The scripts of one lease. Thread-safe; it remembers nothing but names."""

    def __init__(self, store: SharedStore, holder: str, *, name: str = "collector", label: str = "") -> None:
        """``holder`` is unique to this process and start; ``label`` is for people."""
        self.store = store
        self.holder = holder
        self.label = label or holder
        self.key = store.key("lease", name)
        self._standbys = store.key("lease", name, "standbys")
        self._keys = (self.key, store.key(GENERATION_KEY))

    def acquire(self, above: int, *, ttl: float = TTL, take_over: bool = False) -> Acquired:
        """Request the lease, with an epoch greater than ``above``; ``take_over``: where another process has it, that
        one is to release it for this one."""
        mine, epoch, generation = self.store.evaluate(
            _ACQUIRE,
            (*self._keys, self._standbys, FORMATS_KEY),
            (self.holder, _micros(ttl), above, self.label, int(take_over), _micros(RESERVED), FORMAT),
            insist=True,
        )
        return Acquired(bool(mine), int(epoch), generation.decode())

    def renew(self, epoch: int, *, ttl: float = TTL) -> tuple[bool, bool]:
        """Extend the lease; return whether it still was this process's own, and whether another one asks for it."""
        mine, heir = self.store.evaluate(_RENEW, (*self._keys, FORMATS_KEY), (epoch, _micros(ttl), FORMAT), insist=True)
        return bool(mine), bool(heir)

    def stand_by(self) -> str | None:
        """Be shown as one that stands by, without asking for the lease; return the label of the process that has it or
        is about to, None where there is none: then this one stands by no longer."""
        taken, label = self.store.evaluate(_STAND_BY, (*self._keys, self._standbys), (self.holder, self.label))
        return label.decode() if taken else None

    def release(self, epoch: int) -> bool:
        """Give the lease back; return whether it still was this process's own."""
        return bool(self.store.evaluate(_RELEASE, self._keys, (epoch, _micros(RESERVED)), insist=True))

    def write(self, epoch: int, commands: Iterable[Command]) -> list[object] | None:
        """Send commands in one round trip and one step, if ``epoch`` still leads; return their answers, None where it
        does not and nothing was written.

        A command has at most :data:`MOST_ARGUMENTS` arguments. Where the server refuses one of them (its memory is
        full), those before it are done and those after it are not.
        """
        flat: list[Argument] = [epoch]
        for command in commands:
            arguments = count(command)
            assert arguments <= MOST_ARGUMENTS
            flat.append(arguments)
            flat.extend(command)
        done, *answers = self.store.evaluate(_WRITE, self._keys, flat)
        return answers if done else None

    def view(self) -> LeaseView:
        """Return who leads and who stands by, in one round trip."""

        def look(redis: Redis) -> list[Any]:
            with redis.pipeline(transaction=False) as pipeline:
                pipeline.info("server").hgetall(self.key).hgetall(self._keys[1]).hgetall(self._standbys).time()
                return list(pipeline.execute())

        return lease_view(*self.store.run(look))

    def look_along(self, pipeline: Any) -> None:
        """Add to a pipeline the two commands whose answers are the second and the fourth that :func:`lease_view`
        takes."""
        pipeline.hgetall(self.key).hgetall(self._standbys)


def lease_view(
    server: Mapping[str, Any],
    lease: Mapping[bytes, bytes],
    generation: Mapping[bytes, bytes],
    standbys: Mapping[bytes, bytes],
    time: tuple[int, int],
) -> LeaseView:
    """Return the view that follows from ``INFO server``, the hashes of a lease, of the generation and of who stands by,
    and the server's ``TIME``."""
    now = int(time[0]) * 1_000_000 + int(time[1])
    current = generation.get(b"id", b"")
    if generation.get(b"server", b"").decode() != server.get("run_id"):
        current = b""  # The server has started again, and nobody has written since.
    ends = int(lease.get(b"until", 0))
    left = max(0, ends - now) if lease.get(b"generation") == current else 0
    waiting = (value.decode().partition(" ") for value in standbys.values())
    return LeaseView(
        int(lease.get(b"epoch", 0)),
        lease.get(b"holder", b"").decode(),
        lease.get(b"label", b"").decode(),
        left / 1e6,
        max(0, now - int(lease.get(b"since", now))) / 1e6,
        current.decode(),
        tuple(sorted(label for seen, _, label in waiting if now - int(seen) < SEEN_FOR * 1e6)),
        max(0.0, (now - ends) / 1e6 + TTL) if ends else None,
    )


def _micros(seconds: float) -> int:
    return round(seconds * 1e6)
