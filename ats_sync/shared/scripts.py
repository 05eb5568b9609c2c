"""What the scripts of the shared store have in common: its time, and the generation of what it contains."""

from __future__ import annotations

GENERATION_KEY = "generation"
"""A hash: the run id of the server that made it, and the id that lasts as long as that server and this key."""

TIME = """
local function micros()
  local now = redis.call('TIME')
  return now[1] * 1000000 + now[2]
end
local function whole(number)
  return string.format('%.0f', number)
end
"""
"""``micros()``: the server's time in microseconds, exact in a double for the next two centuries; ``whole(number)``: as
text, since Redis would cut a number in an answer or write it as 1.7e+15."""

GENERATION = """
local function generation(key)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local known = redis.call('HMGET', key, 'server', 'id')
  if known[1] == run and known[2] then
    return known[2]
  end
  local id = string.sub(run, 1, 8) .. '-' .. whole(micros())
  redis.call('HSET', key, 'server', run, 'id', id)
  return id
end
"""
"""``generation(key)``: an id of what the store contains. It changes when the server starts again, be it empty or from a
file of yesterday, when another server takes over, and when somebody deletes everything: whoever remembers an id knows
whether what it wrote is still there. (INFO in a script costs some 6 µs.)"""
