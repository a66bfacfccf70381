-- forget: ended tasks leave when their retention is over.
--
-- MOVES    completed>gone failed>gone aborted>gone

local functions = require("lib.functions")
local keys = require("lib.keys")
local record = require("lib.record")
local states = require("lib.states")

-- The record, everything beside it, and its entry in the index of its state.
local function task(opened, id, state)
  states.check(state, "gone")
  local key = keys.task(id)
  local parts = record.parts()
  local f = redis.call("HMGET", key, "fn", "tries", unpack(parts))
  local doomed = { key }
  if f[2] then
    doomed[#doomed + 1] = keys.task(id, "attempts")
  end
  for at, part in ipairs(parts) do
    if f[2 + at] == "" then
      doomed[#doomed + 1] = keys.task(id, part)
    end
  end
  redis.call("UNLINK", unpack(doomed))
  redis.call("ZREM", keys.ended(state), id)
  if f[1] then
    functions.release(opened, string.match(f[1], "^%S+"), 1)
  end
end

-- Forget at most `count` ended tasks whose time is over; returns how many.
local function expired(opened, count)
  local forgotten = 0
  for _, state in ipairs(states.ended()) do
    local due = redis.call("ZRANGEBYSCORE", keys.ended(state), "-inf", opened.stamp,
      "LIMIT", 0, count - forgotten)
    for _, id in ipairs(due) do
      task(opened, id, state)
    end
    forgotten = forgotten + #due
    if forgotten >= count then
      break
    end
  end
  return forgotten
end

return {
  task = task,
  expired = expired,
}
