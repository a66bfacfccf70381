-- take: which tasks an engine takes.

local keys = require("lib.keys")
local engines = require("lib.engines")
local line = require("lib.line")

-- No turn gives more than this, so that no script holds Redis for long.
local MOST = 500

-- Guided self-scheduling (Polychronopoulos & Kuck, IEEE Trans. Computers C-36,
-- 1987): no engine takes more than its half share of what is left, so that the
-- last tasks spread over all engines.
local function share(queues, want)
  if want <= 1 then
    return want
  end
  local serving = 0
  for _, queue in ipairs(queues) do
    serving = math.max(serving, tonumber(redis.call("HGET", keys.queues, queue)) or 1)
  end
  local fair = math.floor(line.length(queues) / (2 * serving))
  return math.max(1, math.min(want, fair))
end

-- How many this engine may take now.
local function allowance(opened, uuid, want)
  want = math.min(want, MOST)
  if opened.hwm > 0 then
    want = math.min(want, opened.hwm - redis.call("ZCARD", keys.engine(uuid, "held")))
  end
  return math.max(0, want)
end

-- The engine takes what was placed on it, then the best it may have. Returns the
-- flat reply.
local function tasks(opened, engine, nonce, want)
  want = allowance(opened, engine.uuid, want)
  if want == 0 then
    return {}
  end
  local placed = redis.call("ZPOPMIN", keys.engine(engine.uuid, "assigned"), want)
  want = want - #placed / 2
  local popped = {}
  if want > 0 then
    popped = line.pop(engine.queues, share(engine.queues, want))
  end
  if #placed == 0 and #popped == 0 then
    return {}
  end
  engines.use(engine)
  return require("lib.work").start(opened, engine, nonce, placed, popped)
end

return {
  tasks = tasks,
}
