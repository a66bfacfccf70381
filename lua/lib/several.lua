-- several: take from several queues, as if they were one line.

local keys = require("lib.keys")

-- The queue whose head goes first. `heads` has id and score of each queue's head.
local function foremost(queues, heads)
  local best
  for _, queue in ipairs(queues) do
    local head = heads[queue]
    if head and not (best and heads[best].score <= head.score) then
      best = queue
    end
  end
  return best
end

-- The best `count` of several queues: flat id, score, id, score ...
local function pop(queues, count)
  local heads, popped = {}, {}
  local function look(queue)
    local head = redis.call("ZRANGE", keys.ready(queue), 0, 0, "WITHSCORES")
    heads[queue] = head[1] and { id = head[1], score = tonumber(head[2]) } or nil
  end
  for _, queue in ipairs(queues) do
    look(queue)
  end
  while #popped < 2 * count do
    local best = foremost(queues, heads)
    if not best then
      break
    end
    redis.call("ZREM", keys.ready(best), heads[best].id)
    popped[#popped + 1] = heads[best].id
    popped[#popped + 1] = string.format("%.0f", heads[best].score)
    look(best)
  end
  return popped
end

return {
  pop = pop,
}
