-- engines: what the hub knows of an engine, and whether it has room.

local held = require("lib.held")
local keys = require("lib.keys")
local scheme = require("scheme")

-- A drained engine has `leaving` set, like one that is being taken apart: so whoever
-- places tasks has one thing to look at.
local DRAINED = "drained"

local function split(text)
  if not string.find(text, ",", 1, true) then
    return { text }
  end
  local words = {}
  for word in string.gmatch(text, "[^,]+") do
    words[#words + 1] = word
  end
  return words
end

-- The registered engine, or nil if it was given up or never existed.
local function find(uuid)
  local f = redis.call(
    "HMGET", keys.engine(uuid), "id", "queues", "number", "nonce", "used", "next", "tied",
    "leaving", "done"
  )
  if not f[1] then
    return nil
  end
  return {
    uuid = uuid,
    id = f[1],
    queues = split(f[2]),
    number = tonumber(f[3]),
    nonce = f[4],
    used = tonumber(f[5]),
    next = f[6],
    tied = f[7],
    -- It gets nothing more: it is drained, or ("1") being taken apart, unless it turns
    -- out to be alive.
    leaving = f[8],
    -- How many tasks have ended on it.
    done = f[9] or 0,
  }
end

-- An engine's name in records: its label, for people, and its uuid.
local function name_of(engine)
  return engine.id .. "/" .. engine.uuid
end

local function uuid_of(name)
  return string.match(name, "/(.*)$")
end

-- Tasks placed on it and not yet taken, and tasks it took.
local function load_of(uuid)
  return redis.call("ZCARD", keys.engine(uuid, "assigned"))
    + held.count(uuid)
end

-- Has it no task, placed or taken?
local function is_idle(uuid)
  return redis.call("EXISTS", keys.engine(uuid, "held"), keys.engine(uuid, "lots"),
    keys.engine(uuid, "assigned")) == 0
end

-- May an engine with this load be given another task? With hwm 0 (automatic) an idle
-- engine gets one; a busy one asks for more by itself.
local function has_room(opened, load)
  if opened.hwm == 0 then
    return load == 0
  end
  return load < opened.hwm
end

-- Add the engine to the free sets of its queues, or remove it. `busy`: it is known to
-- have a task, so that with hwm 0 nobody need ask.
local function show(opened, engine, busy)
  local load = 1
  if opened.hwm > 0 then
    load = load_of(engine.uuid)
  elseif not busy and is_idle(engine.uuid) then
    load = 0
  end
  local room = has_room(opened, load) and not engine.leaving
  if room then
    opened.nobody = nil
  end
  for _, queue in ipairs(engine.queues) do
    if room then
      redis.call("ZADD", keys.free(queue), scheme.score(load, engine.used), engine.uuid)
    else
      redis.call("ZREM", keys.free(queue), engine.uuid)
    end
  end
  return room
end

-- Number the engine's latest assignment: the lowest number is the least recently used.
local function use(engine)
  engine.used = redis.call("HINCRBY", keys.hub, "used", "1")
end

-- Seldom: log that a drained engine has nothing left: somebody may wait for that.
local function tell_drained(opened, engine)
  if engine.leaving == DRAINED and is_idle(engine.uuid) then
    require("lib.story").tell(opened, "engine drained", "engine", engine.uuid, "id", engine.id)
  end
end

-- Wake the engine's blocked pop. A lost ring costs time, never a task.
local function ring(uuid)
  redis.call("RPUSH", keys.engine(uuid, "bell"), 1)
end

-- Ring an idle engine if there is anything that it may take, as `any` says.
local function call(opened, engine, any)
  if engine and is_idle(engine.uuid)
    and redis.call("LLEN", keys.engine(engine.uuid, "bell")) == 0
    and any(opened, engine) then
    ring(engine.uuid)
  end
end

-- The name of the engine's worker; nil if there is no such engine.
local function worker_of(uuid)
  return redis.call("HGET", keys.engine(uuid), "worker") or nil
end

-- Forget the engine. Everything it had must have been moved before.
local function remove(engine)
  local worker = keys.worker(worker_of(engine.uuid))
  for _, queue in ipairs(engine.queues) do
    redis.call("ZREM", keys.free(queue), engine.uuid)
    redis.call("HINCRBY", keys.queues, queue, -1)
    require("lib.queues").drop_unused(queue)
  end
  redis.call("ZREM", keys.engines, engine.uuid)
  redis.call("ZREM", keys.labels, engine.uuid)
  redis.call("ZREM", keys.hidden, engine.uuid)
  redis.call("UNLINK", keys.engine(engine.uuid), keys.engine(engine.uuid, "bell"),
    keys.engine(engine.uuid, "classes"))
  -- A card that has expired must not be recreated, to stay for ever.
  if redis.call("EXISTS", worker) == 1 then
    redis.call("HINCRBY", worker, "engines", -1)
  end
end

return {
  DRAINED = DRAINED,
  find = find,
  name_of = name_of,
  uuid_of = uuid_of,
  load_of = load_of,
  is_idle = is_idle,
  has_room = has_room,
  show = show,
  use = use,
  tell_drained = tell_drained,
  ring = ring,
  call = call,
  worker_of = worker_of,
  remove = remove,
}
