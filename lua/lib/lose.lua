-- lose: an engine is gone; what it had goes back or counts as lost.

local again = require("lib.again")
local batches = require("lib.batches")
local engines = require("lib.engines")
local keys = require("lib.keys")
local place = require("lib.place")
local report = require("lib.report")
local settle = require("lib.settle")
local story = require("lib.story")

-- Part what the engine holds into what counts as lost and what had not begun.
local function part(opened, uuid, begun, reason, count)
  local lost, unbegun = {}, {}
  local held = redis.call("ZRANGE", keys.engine(uuid, "held"), 0, count - 1)
  for _, id in ipairs(held) do
    local f = redis.call("HMGET", keys.task(id), "state", "token", "ends")
    local outcome = { id = id, token = f[2], ends = f[3], reason = reason }
    if f[1] ~= "running" then
      redis.call("ZREM", keys.engine(uuid, "held"), id)
    elseif begun and not begun[id] then
      outcome.kind = "unbegun"
      unbegun[#unbegun + 1] = outcome
    else
      outcome.kind = "lost"
      lost[#lost + 1] = outcome
      story.tell(opened, "lost", "task", id, "engine", uuid, "why", reason)
    end
  end
  return lost, unbegun, #held
end

-- Nobody may place anything on an engine while it is taken apart.
local function hide(engine)
  for _, queue in ipairs(engine.queues) do
    redis.call("ZREM", keys.free(queue), engine.uuid)
  end
end

-- Tasks that were only placed are ready already; they find another engine or
-- stand in their line again.
local function return_placed(opened, placed, except)
  local lines = {}
  for at = 1, #placed, 2 do
    local id, score = placed[at], placed[at + 1]
    local queue = redis.call("HGET", keys.task(id), "queue") or "default"
    if not place.assign(opened, queue, id, score, except) then
      lines[queue] = lines[queue] or {}
      local entries = lines[queue]
      entries[#entries + 1] = score
      entries[#entries + 1] = id
    end
  end
  for queue, entries in pairs(lines) do
    batches.zadd(keys.ready(queue), entries)
  end
end

-- Lose at most `budget` of an engine's tasks, and the engine with the last of
-- them. `begun` is a set of ids if it is known which it had begun (a supervisor
-- saw it die), nil when everything taken counts as begun (a machine is lost).
-- Returns how many tasks were moved and whether the engine is gone.
local function lose_engine(opened, engine, begun, reason, budget)
  local uuid = engine.uuid
  hide(engine)
  local placed = place.give_back(uuid, budget)
  local moved = #placed / 2
  local back = {}
  if moved < budget then
    local lost, unbegun, count = part(opened, uuid, begun, reason, budget - moved)
    local ending = settle.begin(opened)
    back = report.apply(opened, ending, uuid, unbegun)
    for _, task in ipairs(report.apply(opened, ending, uuid, lost, "engine_lost")) do
      back[#back + 1] = task
    end
    settle.close(ending)
    moved = moved + count
  end
  again.put_back(opened, back, uuid)
  return_placed(opened, placed, uuid)
  if moved >= budget then
    return moved, false
  end
  engines.remove(engine)
  story.tell(opened, "engine gone", "engine", uuid, "id", engine.id, "why", reason)
  return moved, true
end

return {
  engine = lose_engine,
}
