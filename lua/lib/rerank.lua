-- rerank: after a change of the scheme or of hwm, find each engine's place among
-- those with room anew.
--
-- Engines may be many, so it is done in pieces: `unranked` holds those to come.
-- Whoever has changed something goes on with it, and else the sweep does.

local engines = require("lib.engines")
local keys = require("lib.keys")
local take = require("lib.take")

-- All engines are to be ranked anew. When some may have no room any more, until then
-- nobody has: a bound is hard.
local function begin(shrinks)
  redis.call("COPY", keys.engines, keys.unranked, "REPLACE")
  if shrinks then
    for _, queue in ipairs(redis.call("HKEYS", keys.queues)) do
      redis.call("UNLINK", keys.free(queue))
    end
  end
end

-- An engine that has not come yet has no room. One that was hidden while tasks
-- arrived is to come for them.
local function one(opened, uuid)
  local engine = engines.find(uuid)
  if not engine or engine.number == 0 then
    return
  end
  engines.show(opened, engine)
  engines.call(opened, engine, take.any)
end

-- Rank at most `count` engines. Returns how many.
local function some(opened, count)
  local popped = redis.call("ZPOPMIN", keys.unranked, count)
  for at = 1, #popped, 2 do
    one(opened, popped[at])
  end
  require("lib.strays").see_to(opened)
  return #popped / 2
end

-- How many are to come.
local function left()
  return redis.call("ZCARD", keys.unranked)
end

return {
  begin = begin,
  some = some,
  left = left,
}
