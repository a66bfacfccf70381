-- queues: which queues the hub knows.
--
-- R:queues counts the engines of each: of one that nobody serves 0, from its first task
-- on. Names may be as many as users have tenants, so one that has neither engines nor
-- tasks in its lines is forgotten; a task that still waits for others brings it back.

local keys = require("lib.keys")

-- Seldom: forget a queue if nobody serves it and nothing stands in its lines.
local function drop_unused(queue)
  if tonumber(redis.call("HGET", keys.queues, queue) or 1) <= 0
    and redis.call("EXISTS", keys.ready(queue)) == 0
    and redis.call("HEXISTS", keys.apart, queue) == 0 then
    redis.call("HDEL", keys.queues, queue)
  end
end

-- Seldom: is the queue among these, separated by commas?
local function has(queues, queue)
  return string.find("," .. queues .. ",", "," .. queue .. ",", 1, true) ~= nil
end

return {
  drop_unused = drop_unused,
  has = has,
}
