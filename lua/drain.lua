-- drain: stop giving tasks to engines, or resume.
--
-- KEYS     root
-- ARGV     now verb worker (engine)*
-- RETURNS  {"ok", ("drained" | "resumed" | "unknown" | "more")*}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG NOWORKER
-- COST     O(engines + tasks placed on them), of at most 500 tasks
--
-- Verbs: `drain` and `resume`. One word per engine, in order: its new state, or `more`
-- while tasks are still placed on it: repeat the call. Tasks placed and not taken go to
-- other engines; what an engine has begun it may finish. With a worker, not "", engines
-- that it adds later are drained too; its present ones have to be named.

local again = require("lib.again")
local cascade = require("lib.cascade")
local engines = require("lib.engines")
local held = require("lib.held")
local hold = require("lib.hold")
local hub = require("lib.hub")
local keys = require("lib.keys")
local place = require("lib.place")
local reply = require("lib.reply")
local settle = require("lib.settle")
local story = require("lib.story")
local strays = require("lib.strays")
local take = require("lib.take")

-- Index of the first engine in ARGV.
local ENGINES = 4
local MOST = 500

local verb, worker = ARGV[2], ARGV[3] or ""

local function refuse()
  if (verb ~= "drain" and verb ~= "resume") or #ARGV - ENGINES + 1 > MOST then
    return reply.fail("BADARG", "drain or resume, at most " .. MOST .. " engines")
  elseif worker ~= "" and redis.call("EXISTS", keys.worker(worker)) == 0 then
    return reply.fail("NOWORKER", "No such worker: " .. string.sub(worker, 1, 64))
  end
end

local function tell(opened, engine, what)
  story.tell(opened, what, "engine", engine.uuid, "id", engine.id)
end

-- Log that the engine is drained or, while it holds tasks, draining: then its last turn
-- logs the rest.
local function tell_of_drain(opened, engine)
  tell(opened, engine, held.is_empty(engine.uuid) and "engine drained" or "engine draining")
end

-- Returns how many tasks were moved, and whether all were.
local function drain(opened, ending, engine, budget)
  local key = keys.engine(engine.uuid)
  if redis.call("HSETNX", key, "drained", 1) == 1 then
    tell_of_drain(opened, engine)
  end
  if not engine.leaving then
    redis.call("HSET", key, "leaving", engines.DRAINED)
    engine.leaving = engines.DRAINED
    engines.show(opened, engine)
  end
  local placed = place.give_back(engine.uuid, budget)
  again.seat_all(opened, ending, placed, engine.uuid)
  return #placed / 2, redis.call("ZCARD", keys.engine(engine.uuid, "assigned")) == 0
end

local function resume(opened, engine)
  if redis.call("HDEL", keys.engine(engine.uuid), "drained") == 1 then
    tell(opened, engine, "engine resumed")
  end
  if engine.leaving == engines.DRAINED then
    redis.call("HDEL", keys.engine(engine.uuid), "leaving")
    engine.leaving = nil
    if engine.number > 0 then
      engines.show(opened, engine)
      engines.call(opened, engine, take.any)
    end
  end
end

local function main(opened)
  local refused = refuse()
  if refused then
    return refused
  end

  -- Writes below. The first is allowed at maxmemory.
  redis.call("PERSIST", keys.hub)
  local ending, left = settle.begin(opened), MOST
  if worker ~= "" and verb == "drain" then
    redis.call("HSET", keys.worker(worker), "drained", 1)
  elseif worker ~= "" then
    redis.call("HDEL", keys.worker(worker), "drained")
  end
  local answer = { "ok" }
  for at = ENGINES, #ARGV do
    local engine = engines.find(ARGV[at])
    if not engine then
      answer[#answer + 1] = "unknown"
    elseif verb == "resume" then
      resume(opened, engine)
      answer[#answer + 1] = "resumed"
    else
      local moved, all = drain(opened, ending, engine, left)
      left = math.max(0, left - moved)
      answer[#answer + 1] = all and "drained" or "more"
    end
  end
  hold.flush(opened)
  cascade.run(opened, ending)
  settle.close(ending)
  strays.see_to(opened)
  return answer
end

return hub.run(main)
