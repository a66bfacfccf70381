-- paused: queues whose tasks must not start.
--
-- Few hubs have any: the letter p of `rare` says so.

local keys = require("lib.keys")

-- Seldom: is this queue paused?
local function is(opened, queue)
  local known = opened.paused
  if not known then
    known = {}
    opened.paused = known
  end
  if known[queue] == nil then
    known[queue] = redis.call("SISMEMBER", keys.paused, queue) == 1
  end
  return known[queue]
end

-- Seldom: the engine as if it served only its queues that are not paused.
local function without(opened, engine)
  local left = {}
  for _, queue in ipairs(engine.queues) do
    if not is(opened, queue) then
      left[#left + 1] = queue
    end
  end
  return { uuid = engine.uuid, id = engine.id, tied = engine.tied, queues = left }
end

return {
  is = is,
  without = without,
}
