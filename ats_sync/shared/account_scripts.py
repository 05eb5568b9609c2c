"""The scripts of an address's account: what they count, and where.

A bucket is a hash and a sorted set. The hash has a field ``s<number>`` for each slot of the window in which requests
ended, ``open`` for what is under way, ``foreign`` for what others have used of the exchange's own minute, ``w<rank>:…``
for the room that a refused request comes back for, and what the account knows of itself. The set has each request
under way, by when it must have ended. So neither grows with the number of requests. One more set, of all buckets
together, has the processes of the address by when they were seen last.
"""

from __future__ import annotations

from .client import Script
from .scripts import GENERATION, TIME

_COMMON = (
    TIME
    + GENERATION
    + """
local bucket_key, open_key, blocks_key, generation_key, formats_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local processes_key = KEYS[6]
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
-- This process is seen, and how many are by now.
local function seen(lasts)
  redis.call('ZADD', processes_key, whole(now), process)
  redis.call('ZREMRANGEBYSCORE', processes_key, '-inf', '(' .. whole(now - lasts))
  redis.call('ZREMRANGEBYSCORE', processes_key, '(' .. whole(now + lasts), '+inf') -- the clock was set back
  redis.call('PEXPIRE', processes_key, math.ceil(lasts / 1000))
  return redis.call('ZCARD', processes_key)
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

TAKE = Script(
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
local processes = seen(tonumber(ARGV[20]))
if known_by_process ~= gen then
  return {'seed', gen, '0', processes}
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
  return {'blocked', gen, whole(blocked), processes}
end
expire()
local found = load(rank)
local wish = 'w' .. rank .. ':' .. process
local surplus = found.used + found.open + found.foreign + found.awaited + cost - allowed
local ignorant = cautious >= 0 and not found.corrected and found.born + window > now
if surplus <= 0 and ignorant and found.granted + cost > cautious and found.open > 0 then
  return {'refused', gen, ARGV[18], processes}
end
if surplus <= 0 then
  if ignorant then
    redis.call('HINCRBY', bucket_key, 'granted', whole(cost))
  end
  redis.call('ZADD', open_key, whole(now + life), id .. ' ' .. whole(cost))
  redis.call('HINCRBY', bucket_key, 'open', whole(cost))
  redis.call('HDEL', bucket_key, wish)
  keep()
  return {'granted', gen, '0', processes}
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
return {'refused', gen, whole(at - now), processes}
"""
)

END = Script(
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

SHOW = Script(
    _COMMON
    + """
local block = tonumber(ARGV[7])
-- (A block that is known stays as it is: repeated a little later each time, it would never end.)
if block > 0 and redis.call('HEXISTS', blocks_key, host) == 0 then
  block_until(now + block)
end
return seen(tonumber(ARGV[6]))
"""
)

LOOK = Script(
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
