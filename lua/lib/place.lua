-- place: place a ready task on an engine with room, or take it back.
--
-- MOVES    ready>assigned assigned>ready

local engines = require("lib.engines")
local keys = require("lib.keys")
local rare = require("lib.rare")
local record = require("lib.record")
local scheme = require("scheme")
local states = require("lib.states")
local work = require("lib.work")

-- Labels of engines, by uuid, as far as this script has asked.
local labels = {}

local function label_of(uuid)
  labels[uuid] = labels[uuid] or tonumber(redis.call("HGET", keys.engine(uuid), "id"))
  return labels[uuid]
end

-- Says of an engine with room whether it may have a task of this class. If the class names
-- few, it also has these (lib/candidates.lua); nil if none of them has room.
local function admission(free, class, except)
  local class_of = require("lib.class")
  local function admits(uuid)
    return uuid ~= except and (class == "" or class_of.admits(class, label_of(uuid)))
  end
  if not class_of.is_few(class) then
    return admits
  end
  local uuids, scores = class_of.with_room(free, class)
  return #uuids > 0 and setmetatable({ uuids = uuids, scores = scores }, {
    __call = function(_, uuid)
      return admits(uuid)
    end,
  }) or nil
end

-- The engine with room for a task of this class, never `except`; nil if there is none.
local function choose(queue, class, except)
  local free = keys.free(queue)
  if class == "" and not except then
    return scheme.choose(free)
  end
  local only = string.match(class, "^=(%d+)$")
  if only then
    local uuid = redis.call("ZRANGEBYSCORE", keys.labels, only, only)[1]
    local room = uuid and uuid ~= except and redis.call("ZSCORE", free, uuid)
    return room and uuid or nil
  end
  local admits = admission(free, class, except)
  return admits and scheme.choose(free, admits) or nil
end

-- Likewise, unless this script has found that there is none: many tasks are of one class.
-- Whoever gets room since then has that forgotten (lib/engines.lua).
local function find(opened, queue, class, except)
  local about = class == "" and not except or queue .. ":" .. class .. ":" .. (except or "")
  if opened.nobody and opened.nobody[about] then
    return nil
  end
  local uuid = choose(queue, class, except)
  if not uuid and about ~= true then
    opened.nobody = opened.nobody or {}
    opened.nobody[about] = true
  end
  return uuid
end

-- Put a ready task on an engine with room, which a turn of its own will take.
local function give(opened, engine, id, score)
  states.check("ready", "assigned")
  rare.set(opened, "a")
  local assigned = keys.engine(engine.uuid, "assigned")
  redis.call("ZADD", assigned, score, id)
  redis.call("HSET", record.own(id), "state", "assigned", "engine", engines.name_of(engine))
  if redis.call("ZCARD", assigned) == 1 then
    engines.ring(engine.uuid)
  end
  if opened.hwm > 0 then
    -- It may keep room, as the engine used latest. With hwm 0 the turn that takes the
    -- task notes its use.
    engines.use(engine)
    redis.call("HSET", keys.engine(engine.uuid), "used", engine.used)
  end
  engines.show(opened, engine, true)
end

-- The scheme's choice among the engines with room gets the task and its bell is rung; to
-- an idle one that has named a nonce for it, the task is pushed. The task must be in no
-- index. Returns the engine's uuid, or nil if the queue is paused, or if no engine with
-- room may take tasks of its class, not counting `except` and the one that just put it
-- back (`opened.spared`).
local function assign(opened, queue, id, score, class, except)
  if opened.rare and string.find(opened.rare, "p", 1, true)
    and require("lib.paused").is(opened, queue) then
    return nil
  end
  local uuid = find(opened, queue, class, except or (opened.spared and opened.spared[id]))
  if not uuid then
    return nil
  end
  local engine = engines.find(uuid)
  if opened.hwm == 0 and engine.next and engine.next ~= "" then
    work.hand_over(opened, engine, id, score)
  else
    give(opened, engine, id, score)
  end
  return uuid
end

-- Up to `count` tasks leave an engine that will not take them; with `goes`, only those
-- for which it is true. Returns them, flat: id, score, ready again, for the caller to put
-- in line; and a second list of the others, which the engine takes.
local function give_back(uuid, count, goes)
  local popped = redis.call("ZPOPMIN", keys.engine(uuid, "assigned"), count)
  local back, kept = {}, {}
  for at = 1, #popped, 2 do
    local list = kept
    if not goes or goes(popped[at]) then
      states.check("assigned", "ready")
      redis.call("HSET", keys.task(popped[at]), "state", "ready")
      list = back
    end
    list[#list + 1], list[#list + 2] = popped[at], popped[at + 1]
  end
  return back, kept
end

return {
  assign = assign,
  give = give,
  give_back = give_back,
}
