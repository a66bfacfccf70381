-- lose: an engine is gone; what it had goes back or counts as lost.

local batches = require("lib.batches")
local engines = require("lib.engines")
local keys = require("lib.keys")
local place = require("lib.place")
local report = require("lib.report")
local settle = require("lib.settle")
local story = require("lib.story")

local lose = {}

-- Lose at most `budget` of an engine's tasks, and the engine with the last of
-- them. `begun` is a set of ids if it is known which it had begun (a supervisor
-- saw it die), nil when everything taken counts as begun (a machine is lost).
-- Returns how many tasks were moved and whether the engine is gone.
function lose.engine(opened, engine, begun, reason, budget)
  local uuid = engine.uuid
  -- Nobody may place anything on it while it is taken apart.
  for _, queue in ipairs(engine.queues) do
    redis.call("ZREM", keys.free(queue), uuid)
  end
  local placed = place.give_back(uuid, budget)
  local again = {}
  for at = 1, #placed, 2 do
    again[#again + 1] = { id = placed[at], score = placed[at + 1] }
  end
  local moved = #again
  local held = {}
  if moved < budget then
    held = redis.call("ZRANGE", keys.engine(uuid, "held"), 0, budget - moved - 1)
  end
  local lost, unbegun = {}, {}
  for _, id in ipairs(held) do
    local f = redis.call("HMGET", keys.task(id), "state", "token", "ends")
    if f[1] == "running" then
      local outcome = {
        id = id, token = f[2], ends = f[3], reason = reason,
      }
      if begun and not begun[id] then
        outcome.kind = "unbegun"
        unbegun[#unbegun + 1] = outcome
      else
        outcome.kind = "lost"
        lost[#lost + 1] = outcome
        story.tell(opened, "lost", "task", id, "engine", uuid, "why", reason)
      end
    else
      redis.call("ZREM", keys.engine(uuid, "held"), id)
    end
  end
  local ending = settle.begin(opened)
  local back = report.apply(opened, ending, uuid, unbegun)
  for _, task in ipairs(report.apply(opened, ending, uuid, lost, "engine_lost")) do
    back[#back + 1] = task
  end
  settle.close(ending)
  report.put_back(opened, back, uuid)
  lose.return_placed(opened, again, uuid)
  moved = moved + #held
  if moved >= budget then
    return moved, false
  end
  engines.remove(engine)
  story.tell(opened, "engine gone", "engine", uuid, "id", engine.id, "why", reason)
  return moved, true
end

-- Tasks that were only placed are ready already; they find another engine or
-- stand in their line again.
function lose.return_placed(opened, again, except)
  local lines = {}
  for _, task in ipairs(again) do
    local queue = redis.call("HGET", keys.task(task.id), "queue") or "default"
    if not place.assign(opened, queue, task.id, task.score, except) then
      lines[queue] = lines[queue] or {}
      local entries = lines[queue]
      entries[#entries + 1] = task.score
      entries[#entries + 1] = task.id
    end
  end
  for queue, entries in pairs(lines) do
    batches.call("ZADD", keys.ready(queue), entries)
  end
end

return lose
