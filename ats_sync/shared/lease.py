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
"""Seconds for which a lease that was released waits for the process that has requested it, and one that has run out for
the process that has prepared to take it."""
SEEN_FOR = 2.0
"""Seconds for which a process that stands by is shown after its last attempt."""
ABLE_FOR = 2.0
"""Seconds after its last attempt for which a process that could prepare to lead counts as one that will."""
PREPARES_FOR = 2.0
"""Seconds after its last write for which only the process that prepares to lead may do so."""

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

_RUN = """
local function run(at)
  local answers, last = {1}, #ARGV
  while at <= last do
    local stop = at + tonumber(ARGV[at])
    answers[#answers + 1] = redis.call(unpack(ARGV, at + 1, stop))
    at = stop + 1
  end
  return answers
end
"""
"""``run(at)``: the commands that stand in the arguments from there on, each after the number of its own."""

_ACQUIRE = Script(
    _COMMON
    + """
local me, ttl, above, label, wants = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1'
local standbys_key, formats_key = KEYS[3], KEYS[4]
-- (An end further away than a lease lasts was written before the clock was set back.)
local taken = valid() and ends <= now + ttl and stored[4] ~= me
local wanted_by = heir()
local prepares = redis.call('HMGET', lease_key, 'preparer', 'preparer_until')
local until_prepared = tonumber(prepares[2] or '0')
local prepared = prepares[1] and until_prepared > now and until_prepared <= now + tonumber(ARGV[10])
if prepared and epoch > 0 and ends <= now + ttl and now < ends + tonumber(ARGV[6]) then
  wanted_by = prepares[1] -- the leader is gone without a word
end
if taken or (wanted_by ~= '' and wanted_by ~= me) then
  redis.call('HSET', standbys_key, me, whole(now) .. ' ' .. label)
  redis.call('PEXPIRE', standbys_key, 10000)
  if wants and (wanted_by == '' or wanted_by == me) then
    redis.call('HSET', lease_key, 'heir', me, 'heir_until', whole(now + tonumber(ARGV[6])))
  end
  if ARGV[8] == '1' then
    redis.call('HSET', lease_key, 'able_until', whole(now + tonumber(ARGV[9])))
  end
  local leaving = taken and redis.call('HGET', lease_key, 'leaving') == whole(epoch)
  return {0, whole(epoch), gen, leaving and 1 or 0, whole(taken and ends - now or ttl)}
end
local given = math.max(now, epoch + 1, above + 1)
redis.call('HSET', lease_key, 'epoch', whole(given), 'until', whole(now + ttl), 'generation', gen, 'holder', me,
  'label', label, 'since', whole(now))
redis.call('HDEL', lease_key, 'heir', 'heir_until', 'able_until')
if prepares[1] == me then
  -- What it has prepared is in the store until its life has begun: nobody else prepares meanwhile.
  redis.call('HSET', lease_key, 'preparer_until', whole(now + tonumber(ARGV[10])))
else
  redis.call('HDEL', lease_key, 'preparer', 'preparer_until')
end
redis.call('HDEL', standbys_key, me)
redis.call('HSET', formats_key, ARGV[7], whole(math.floor(now / 1000)))
return {1, whole(given), gen, 0, whole(ttl)}
"""
)

_RENEW = Script(
    _COMMON
    + """
if not valid() or whole(epoch) ~= ARGV[1] then
  return {0, '', 0}
end
redis.call('HSET', lease_key, 'until', whole(now + tonumber(ARGV[2])))
redis.call('HSET', KEYS[3], ARGV[3], whole(math.floor(now / 1000)))
if ARGV[4] == '1' then
  redis.call('HSET', lease_key, 'leaving', ARGV[1])
end
local able = tonumber(redis.call('HGET', lease_key, 'able_until') or '0') > now
return {1, heir(), able and 1 or 0}
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
  redis.call('HSET', lease_key, 'handed', ARGV[1], 'handed_at', whole(now))
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
    + _RUN
    + """
if not valid() or whole(epoch) ~= ARGV[1] then
  return {0}
end
return run(2)
"""
)

_PREPARE = Script(
    _COMMON
    + _RUN
    + """
local me, lasts = ARGV[1], tonumber(ARGV[2])
local other = redis.call('HMGET', lease_key, 'preparer', 'preparer_until')
local ends = tonumber(other[2] or '0')
if other[1] and other[1] ~= me and ends > now and ends <= now + lasts then
  return {0}
end
redis.call('HSET', lease_key, 'preparer', me, 'preparer_until', whole(now + lasts))
return run(3)
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
    leaving: bool = False
    """Whether the process that has it will release it once another one has prepared to lead."""
    left: float = TTL
    """Seconds until the lease of another process ends unless it is renewed."""


class Renewed(NamedTuple):
    """How an extension of the lease ended."""

    mine: bool
    """Whether it still was this process's own."""
    requested: bool
    """Whether another process asks for it."""
    able: bool
    """Whether another process stands by that could prepare to lead."""


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

    def acquire(self, above: int, *, ttl: float = TTL, take_over: bool = False, able: bool = False) -> Acquired:
        """Request the lease, with an epoch greater than ``above``.

        Where another process has it: ``take_over``: that one is to release it for this one; ``able``: this one would
        prepare to lead if that one wants to leave.
        """
        limits = _micros(RESERVED), FORMAT, int(able), _micros(ABLE_FOR), _micros(PREPARES_FOR)
        mine, epoch, generation, leaving, left = self.store.evaluate(
            _ACQUIRE,
            (*self._keys, self._standbys, FORMATS_KEY),
            (self.holder, _micros(ttl), above, self.label, int(take_over), *limits),
            insist=True,
        )
        return Acquired(bool(mine), int(epoch), generation.decode(), bool(leaving), int(left) / 1e6)

    def renew(self, epoch: int, *, ttl: float = TTL, leaving: bool = False) -> Renewed:
        """Extend the lease; ``leaving``: say that this process will release it once another one has prepared."""
        arguments = epoch, _micros(ttl), FORMAT, int(leaving)
        mine, heir, able = self.store.evaluate(_RENEW, (*self._keys, FORMATS_KEY), arguments, insist=True)
        return Renewed(bool(mine), bool(heir), bool(able))

    def stand_by(self) -> str | None:
        """Be shown as one that stands by, without asking for the lease; return the label of the process that has it or
        is about to, None where there is none: then this one stands by no longer."""
        taken, label = self.store.evaluate(_STAND_BY, (*self._keys, self._standbys), (self.holder, self.label))
        return label.decode() if taken else None

    def release(self, epoch: int) -> bool:
        """Give the lease back; return whether it still was this process's own. Where another process has requested it,
        what was written under it may be read a little longer: see :data:`~ats_sync.shared.pull.PULL`."""
        return bool(self.store.evaluate(_RELEASE, self._keys, (epoch, _micros(RESERVED)), insist=True))

    def write(self, epoch: int, commands: Iterable[Command]) -> list[object] | None:
        """Send commands in one round trip and one step, if ``epoch`` still leads; return their answers, None where it
        does not and nothing was written.

        A command has at most :data:`MOST_ARGUMENTS` arguments. Where the server refuses one of them (its memory is
        full), those before it are done and those after it are not.
        """
        done, *answers = self.store.evaluate(_WRITE, self._keys, [epoch, *_flat(commands)])
        return answers if done else None

    def prepare(self, commands: Iterable[Command]) -> list[object] | None:
        """Send commands in one round trip and one step as a process that does not lead yet, about keys that only it
        writes; return as :meth:`write`: None where another process prepares to lead, since two of them at once would
        need the store's memory twice."""
        arguments = [self.holder, _micros(PREPARES_FOR), *_flat(commands)]
        done, *answers = self.store.evaluate(_PREPARE, self._keys, arguments)
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


def _flat(commands: Iterable[Command]) -> list[Argument]:
    """Return commands as arguments of a script, each after the number of its own."""
    flat: list[Argument] = []
    for command in commands:
        arguments = count(command)
        assert arguments <= MOST_ARGUMENTS
        flat.append(arguments)
        flat.extend(command)
    return flat
