-- where: where a task belongs by its record; and how it is put back there.

local cascade = require("lib.cascade")
local engines = require("lib.engines")
local held = require("lib.held")
local hold = require("lib.hold")
local keys = require("lib.keys")
local rare = require("lib.rare")
local record = require("lib.record")
local settle = require("lib.settle")
local states = require("lib.states")

-- The key of the index that the task belongs in by its record; nil if that names no
-- engine.
local function index_of(f)
  if f.state == "waiting" then
    return keys.waiting
  elseif f.state == "ready" then
    return keys.ready(f.queue or "default", f.class)
  elseif f.state == "assigned" or f.state == "running" then
    local uuid = f.engine and engines.uuid_of(f.engine)
    return uuid and keys.engine(uuid, f.state == "running" and "held" or "assigned")
  end
  return keys.ended(f.state)
end

-- The engine that holds what stands in this index, if that is what it is; all others are
-- sorted sets.
local function holder_in(index)
  return string.match(index, "^.+:engine:([^:]+):held$")
end

local function stands_in(index, id)
  local uuid = holder_in(index)
  if uuid then
    return held.has(uuid, id)
  end
  return redis.call("ZSCORE", index, id) ~= false
end

local function leave(index, id)
  local uuid = holder_in(index)
  if uuid then
    return held.remove(uuid, { id })
  end
  return redis.call("ZREM", index, id)
end

-- Set a running task's entry to what its record says, with this score.
local function set_fence(f, uuid, score)
  record.own(f.id)
  held.remove(uuid, { f.id })
  held.add(uuid, { f.id, held.entry((f.token or "") .. " ", score, f.marks, f.na) })
end

-- A place behind all that was submitted, as its old one is lost.
local function new_score(f)
  local sequence = redis.call("HGET", keys.hub, "submitted") or 0
  return require("lib.line").score(tonumber(f.priority or 0), tonumber(sequence))
end

local function finish(opened, ending)
  cascade.run(opened, ending)
  settle.close(ending)
  hold.advance(opened)
end

-- Give a ready task in no line an engine or a place.
local function seat(opened, f, score)
  local ending = settle.begin(opened)
  redis.call("HSETNX", keys.queues, f.queue or "default", 0)
  require("lib.strays").note(opened, f.id, score)
  require("lib.again").rescue(opened, ending)
  finish(opened, ending)
end

-- Its engine is gone: make it ready again.
local function give_back(opened, f, uuid, score)
  redis.call("ZADD", keys.engine(uuid, "assigned"), score, f.id)
  local placed = require("lib.place").give_back(uuid, 1000)
  for at = 1, #placed, 2 do
    seat(opened, { id = placed[at], queue = f.queue }, placed[at + 1])
  end
end

-- Its engine is gone after taking it: the attempt is lost.
local function lose(opened, f, uuid, label, score)
  local ending = settle.begin(opened)
  record.own(f.id)
  held.remove(uuid, { f.id })
  local outcome = {
    id = f.id, token = f.token or "", marks = f.marks, reason = "its engine is unknown",
    kind = "lost",
  }
  local back = require("lib.failure").failed(opened, ending, uuid, label, outcome, "engine_lost")
  if back then
    back.id, back.score = f.id, score
    require("lib.again").put_back(opened, ending, { back }, uuid)
  end
  finish(opened, ending)
end

-- Its engine exists.
local function hand_back(opened, f, uuid, score)
  if f.state == "running" then
    set_fence(f, uuid, score)
  else
    rare.set(opened, "a")
    redis.call("ZADD", keys.engine(uuid, "assigned"), score, f.id)
    engines.ring(uuid)
  end
  engines.show(opened, engines.find(uuid))
end

local function restore_on_engine(opened, f)
  local uuid = f.engine and engines.uuid_of(f.engine)
  local score = new_score(f)
  if uuid and redis.call("EXISTS", keys.engine(uuid)) == 1 then
    return hand_back(opened, f, uuid, score)
  end
  local label = string.match(f.engine or "", "^%d+") or "0"
  if f.state == "running" then
    lose(opened, f, uuid or "unknown", label, score)
  else
    give_back(opened, f, uuid or "unknown", score)
  end
end

-- Returns a function that puts the task where its state says.
local function restorer(opened, f)
  return function()
    if states.is_ended(f.state) then
      settle.relist(opened, f)
    elseif f.state == "waiting" then
      redis.call("ZADD", keys.waiting, new_score(f), f.id)
    elseif f.state == "ready" then
      seat(opened, f, new_score(f))
    else
      restore_on_engine(opened, f)
    end
  end
end

return {
  index_of = index_of,
  stands_in = stands_in,
  leave = leave,
  set_fence = set_fence,
  restorer = restorer,
  finish = finish,
}
