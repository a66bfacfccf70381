-- sweep: do what is due by time alone: expired leases, timers, retention; and what other
-- scripts, or a caller that died, left undone.
--
-- KEYS     root
-- ARGV     now budget
-- RETURNS  {"ok", due, more}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(budget * log tasks)
--
-- Anybody may call it at any time; it does at most `budget` things. `due` is in how many
-- ms it is needed next (-1: never), `more` is 1 when the budget was used up.

local argument = require("lib.argument")
local cascade = require("lib.cascade")
local due = require("lib.due")
local engines = require("lib.engines")
local forget = require("lib.forget")
local functions = require("lib.functions")
local hub = require("lib.hub")
local keys = require("lib.keys")
local hold = require("lib.hold")
local lose = require("lib.lose")
local rare = require("lib.rare")
local reply = require("lib.reply")
local rerank = require("lib.rerank")
local settle = require("lib.settle")
local states = require("lib.states")

-- Enough for the engines of a lost machine, or of several.
local MOST_OVER = 500
-- Where there are engines, somebody is to come within this part of a lease: if nobody did
-- for half of one, none would be given up for another (lib/hub.lua).
local OFTEN = 1 / 3

local budget = argument.count(ARGV[2])

-- Up to MOST_OVER engines whose lease has expired, from this rank on.
local function expired(opened, from)
  return redis.call("ZRANGEBYSCORE", keys.engines, "-inf", opened.now - 1,
    "LIMIT", from, MOST_OVER)
end

-- Hide engines, before any of them is taken apart: so no task goes from one to another
-- and counts as lost twice. Returns false if there are more than can be hidden at once;
-- those hidden by calls before are a first part of them.
local function hide_all(opened, over)
  local from = 0
  while #over == MOST_OVER and redis.call("ZSCORE", keys.hidden, over[MOST_OVER]) do
    from = from + MOST_OVER
    over = expired(opened, from)
  end
  for _, uuid in ipairs(over) do
    local engine = engines.find(uuid)
    if engine and engine.leaving ~= "1" then
      lose.hide(engine)
    end
  end
  return #over < MOST_OVER
end

-- Engines whose lease has expired: everything they took counts as begun.
local function lose_engines(opened, left)
  if opened.now < opened.grace then
    return left
  end
  local over = expired(opened, 0)
  if not hide_all(opened, over) then
    return 0
  end
  for _, uuid in ipairs(over) do
    if left <= 0 then
      break
    end
    local engine = engines.find(uuid)
    if engine then
      local moved = lose.engine(opened, engine, nil, "its lease is over", left, "engine_lost")
      left = left - moved - 1
    else
      redis.call("ZREM", keys.engines, uuid)
    end
  end
  return left
end

-- The lowest score in an index, from the one given on.
local function first(key, from)
  local head = redis.call("ZRANGEBYSCORE", key, string.format("%d", from or 0), "+inf",
    "WITHSCORES", "LIMIT", 0, 1)
  return tonumber(head[2])
end

-- Plan the next timer, and return when it is due. Whoever sets an earlier one wakes a
-- supervisor; the caller comes back for this one.
local function plan_timers()
  local next_timer = first(keys.timers)
  if next_timer then
    redis.call("HSET", keys.hub, "due", string.format("%.0f", next_timer))
  else
    redis.call("HDEL", keys.hub, "due")
  end
  return next_timer or math.huge
end

-- In how many ms something is due, by whichever clock it is measured.
local function next_due(opened)
  local soonest = plan_timers() - opened.now
  local lease = first(keys.engines)
  if lease then
    soonest = math.min(soonest, math.max(lease, opened.grace) - opened.now + 1,
      math.floor(opened.lease * OFTEN))
  end
  for _, state in ipairs(states.ended()) do
    for _, from in ipairs({ 0, settle.OWN }) do
      local ends = first(keys.ended(state), from)
      if ends and ends - from < settle.OWN then
        soonest = math.min(soonest, ends - from - opened.stamp)
      end
    end
  end
  soonest = math.min(soonest, (first(keys.idle_functions) or math.huge) - opened.stamp)
  return soonest == math.huge and -1 or math.max(0, soonest)
end

-- Fire timers that are due, and continue notifying dependents.
local function settle_due(opened, left)
  local ending = settle.begin(opened)
  if rare.is(opened, "u") then
    left = cascade.resume(opened, ending, left)
  end
  if left > 0 then
    left = left - due.fire(opened, ending, left)
    left = cascade.run(opened, ending, math.max(0, left))
  end
  settle.close(ending)
  hold.advance(opened)
  return left
end

local function main(opened)
  if not budget or budget < 1 or budget > 500 then
    return reply.fail("BADARG", "the budget of a sweep is 1 to 500")
  end

  -- Writes below.
  redis.call("PERSIST", keys.hub)
  hub.tick(opened)
  local left = settle_due(opened, lose_engines(opened, budget))
  if left > 0 then
    left = left - forget.expired(opened, left)
  end
  if left > 0 then
    left = left - forget.over(opened, left)
  end
  if left > 0 then
    left = left - functions.forget(opened, left)
  end
  if left > 0 then
    left = left - rerank.some(opened, left)
  end
  local more = left <= 0 or redis.call("EXISTS", keys.unsettled) == 1
  return { "ok", next_due(opened), more and 1 or 0 }
end

return hub.run(main)
