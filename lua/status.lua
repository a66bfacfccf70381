-- status: a consistent snapshot of the hub.
--
-- KEYS     root
-- ARGV     now most
-- RETURNS  {"ok", hub, states, queues, engines}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(queues + engines)
--
-- Four flat lists. hub: the hub's fields and values, and `now`, `stamp`, `registered`.
-- states: state, count. queues: name, engines, ready, and 1 if paused. engines (at most
-- `most`, by end of lease): uuid, id, worker, queues, assigned, held, lease, joined, and
-- 1 if drained.

local argument = require("lib.argument")
local held = require("lib.held")
local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")
local states = require("lib.states")

local most = argument.count(ARGV[2])

local function paused_queues()
  local paused = {}
  for _, queue in ipairs(redis.call("SMEMBERS", keys.paused)) do
    paused[queue] = true
  end
  return paused
end

local function add_queue(lines, ...)
  for _, value in ipairs({ ... }) do
    lines[#lines + 1] = value
  end
end

local function queue_lines()
  local lines, ready = {}, 0
  local known = redis.call("HGETALL", keys.queues)
  local paused = paused_queues()
  for at = 1, #known, 2 do
    local length = redis.call("ZCARD", keys.ready(known[at]))
      + (redis.call("HGET", keys.apart, known[at]) or 0)
    ready = ready + length
    add_queue(lines, known[at], tonumber(known[at + 1]), length, paused[known[at]] and 1 or 0)
    paused[known[at]] = nil
  end
  -- Paused queues that are empty and that nobody serves.
  for queue in pairs(paused) do
    add_queue(lines, queue, 0, 0, 1)
  end
  return lines, ready
end

local function engine_lines(opened)
  local lines, assigned, running = {}, 0, 0
  local living = redis.call("ZRANGE", keys.engines, 0, -1, "WITHSCORES")
  for at = 1, #living, 2 do
    local uuid = living[at]
    local placed = redis.call("ZCARD", keys.engine(uuid, "assigned"))
    local taken = held.count(uuid)
    assigned, running = assigned + placed, running + taken
    local f = {}
    if at < 2 * most then
      f = redis.call("HMGET", keys.engine(uuid), "id", "worker", "queues", "joined",
        "drained")
    end
    if f[1] then
      local row = { uuid, tonumber(f[1]), f[2], f[3], placed, taken,
        tonumber(living[at + 1]) - opened.now, tonumber(f[4]),
        f[5] and 1 or 0 }
      for _, value in ipairs(row) do
        lines[#lines + 1] = value
      end
    end
  end
  return lines, assigned, running
end

local function hub_line(opened)
  local about = redis.call("HGETALL", keys.hub)
  local more = {
    "now", string.format("%.0f", opened.now), "stamp", string.format("%.0f", opened.stamp),
    "registered", tostring(redis.call("ZCARD", keys.engines)),
  }
  for _, value in ipairs(more) do
    about[#about + 1] = value
  end
  return about
end

local function main(opened)
  if not most or most < 0 or most > 10000 then
    return reply.fail("BADARG", "status shows 0 to 10000 engines")
  end
  hub.read_clock(opened)
  local queues, ready = queue_lines()
  local lines, assigned, running = engine_lines(opened)
  local counted = {
    "waiting", redis.call("ZCARD", keys.waiting), "ready", ready,
    "assigned", assigned, "running", running,
  }
  for _, state in ipairs(states.ended()) do
    counted[#counted + 1] = state
    counted[#counted + 1] = redis.call("ZCARD", keys.ended(state))
  end
  return { "ok", hub_line(opened), counted, queues, lines }
end

return hub.run(main)
