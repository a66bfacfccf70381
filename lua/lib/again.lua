-- again: tasks that an engine had are ready once more.
--
-- MOVES    running>ready

local keys = require("lib.keys")
local place = require("lib.place")
local states = require("lib.states")

-- A task that ran, or was to run, waits again at its old place in the line.
-- Another engine with room gets it at once, the engine `except` does not.
-- The caller has taken it out of its engine's set. Returns true when placed.
local function one(opened, queue, id, at, except, fields)
  states.check("running", "ready")
  redis.call("HSET", keys.task(id), "state", "ready", unpack(fields))
  if place.assign(opened, queue, id, at, except) then
    return true
  end
  redis.call("ZADD", keys.ready(queue), at, id)
  return false
end

-- Put the collected ones back in line. Returns how many found no engine at once.
local function put_back(opened, collected, except)
  local waiting = 0
  for _, task in ipairs(collected) do
    local queue = redis.call("HGET", keys.task(task.id), "queue") or "default"
    if not one(opened, queue, task.id, task.score, except, task.fields) then
      waiting = waiting + 1
    end
  end
  return waiting
end

return {
  put_back = put_back,
}
