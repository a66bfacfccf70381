-- plain: assign tasks of a queue's line without a class.

local keys = require("lib.keys")
local place = require("lib.place")

-- Give the best `count` of it to engines with room, as far as there are any.
local function advance(opened, queue, count)
  local left, key = count, keys.ready(queue)
  while left > 0 and redis.call("EXISTS", keys.free(queue)) == 1 do
    local head = redis.call("ZPOPMIN", key)
    if not head[1] then
      return
    end
    if not place.assign(opened, queue, head[1], head[2], "") then
      redis.call("ZADD", key, head[2], head[1])
      return
    end
    left = left - 1
  end
end

return {
  advance = advance,
}
