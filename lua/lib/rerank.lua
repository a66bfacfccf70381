-- rerank: after a change of the scheme or of hwm, find the new rank of each engine among
-- those with room.
--
-- There may be many engines, so this is done in pieces: `unranked` has those still to do.
-- Whoever made the change continues it, or else the sweep.

local engines = require("lib.engines")
local keys = require("lib.keys")
local take = require("lib.take")

-- All engines are to be ranked again. If some may lose their room, none has any until it
-- is ranked: the bound is a hard one.
local function begin(shrinks)
  redis.call("COPY", keys.engines, keys.unranked, "REPLACE")
  if shrinks then
    for _, queue in ipairs(redis.call("HKEYS", keys.queues)) do
      redis.call("UNLINK", keys.free(queue))
    end
  end
end

-- An engine that has never taken a turn has no room. One that was hidden while tasks
-- arrived is rung to come for them.
local function one(opened, uuid)
  local engine = engines.find(uuid)
  if not engine or engine.number == 0 then
    return
  end
  engines.show(opened, engine)
  engines.call(opened, engine, take.any)
end

-- Rank at most `count` engines; returns how many.
local function some(opened, count)
  local popped = redis.call("ZPOPMIN", keys.unranked, count)
  for at = 1, #popped, 2 do
    one(opened, popped[at])
  end
  require("lib.strays").see_to(opened)
  return #popped / 2
end

-- How many are still to be ranked.
local function left()
  return redis.call("ZCARD", keys.unranked)
end

return {
  begin = begin,
  some = some,
  left = left,
}
