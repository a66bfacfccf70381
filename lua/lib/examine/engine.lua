-- engine: is an engine's state consistent, and is it where others look for it?

local engines = require("lib.engines")
local held = require("lib.held")
local keys = require("lib.keys")
local lots = require("lib.lots")
local take = require("lib.take")

local function look_at_lease(opened, engine, note)
  local lease = redis.call("ZSCORE", keys.engines, engine.uuid)
  if not lease then
    note("lease", "nobody looks whether it lives", function()
      redis.call("ZADD", keys.engines, opened.now, engine.uuid)
    end)
  end
  return lease and tonumber(lease) >= opened.now
end

local function look_at_room(opened, engine, note)
  if engine.number == 0 or redis.call("ZSCORE", keys.unranked, engine.uuid) then
    return
  end
  local load = engines.load_of(engine.uuid)
  local room = engines.has_room(opened, load) and not engine.leaving
  for _, queue in ipairs(engine.queues) do
    local is_free = redis.call("ZSCORE", keys.free(queue), engine.uuid)
    if room ~= (is_free ~= false) then
      note("room", string.format("it has %d tasks and is %s in %s", load,
        is_free and "free" or "not free", queue), function()
        engines.show(opened, engine)
      end)
      return
    end
  end
end

-- Is it idle although it has something to do? Temporary, if a ring is on its way.
local function look_at_bell(opened, engine, note)
  local key = keys.engine(engine.uuid)
  if engine.number == 0 or redis.call("LLEN", key .. ":bell") > 0
    or not held.is_empty(engine.uuid) then
    return
  end
  local function ring()
    engines.ring(engine.uuid)
  end
  if redis.call("ZCARD", keys.engine(engine.uuid, "assigned")) > 0 then
    note("silent", "it has tasks and nothing tells it so", ring)
  elseif take.any(opened, engine) then
    note("silent", "it is idle and tasks wait for it", ring)
  end
end

local function look(opened, uuid, note, tally)
  local engine = engines.find(uuid)
  if not engine then
    return
  end
  if not lots.are_right(uuid) then
    note("lots", "what it took at once cannot be read", function()
      held.open(uuid)
    end)
  end
  local lives = look_at_lease(opened, engine, note)
  for _, queue in ipairs(engine.queues) do
    tally("engines " .. queue, 1)
  end
  tally("worker " .. engines.worker_of(uuid), 1)
  if not lives or engine.leaving then
    return
  end
  if redis.call("ZSCORE", keys.labels, uuid) ~= engine.id then
    note("label", "nobody knows it by its label " .. engine.id, function()
      redis.call("ZADD", keys.labels, engine.id, uuid)
    end)
  end
  look_at_room(opened, engine, note)
  look_at_bell(opened, engine, note)
end

-- Something beside an engine: "uuid part".
local function owned(name, note)
  local uuid, part = string.match(name, "^(%S+) (%S+)$")
  if uuid and redis.call("EXISTS", keys.engine(uuid)) == 0
    and redis.call("EXISTS", keys.engine(uuid, part)) == 1 then
    note("orphan", "there is no engine " .. uuid .. ", and its " .. part .. " takes room",
      function()
        -- Its tasks are mended one by one, and do not need it.
        redis.call("UNLINK", keys.engine(uuid, part))
      end)
  end
end

return {
  look = look,
  owned = owned,
}
