-- entry: does what is in an index exist, and belong there?

local class = require("lib.class")
local keys = require("lib.keys")
local record = require("lib.record")
local states = require("lib.states")
local where = require("lib.examine.where")

local function drop(index, member)
  return function()
    where.leave(keys.named(index), member)
  end
end

-- Remove from a line; lines of classes are counted.
local function drop_from_line(index, member)
  local queue, name = string.match(index, "^ready:([^:]+):?(.*)$")
  if not queue or name == "" then
    return drop(index, member)
  end
  return function()
    if redis.call("ZREM", keys.named(index), member) == 1 then
      class.left(queue, 1)
    end
  end
end

-- An entry of an index of tasks by state.
local function task_entry(index, id, note)
  local f = record.get(id, "state", "queue", "class", "engine", "fn", "ttl")
  if not f[1] then
    note("stray", "there is no task " .. id, drop_from_line(index, id))
    return
  end
  local task = {
    state = f[1], queue = f[2] or nil, class = f[3] or nil, engine = f[4] or nil,
  }
  local is_gate = not f[5] and not f[6]
  if is_gate or where.index_of(task) ~= keys.named(index) then
    note("stray", id .. " is " .. f[1] .. " and stands in " .. index, drop_from_line(index, id))
  end
end

-- Does a task need a timer of this kind?
local function needs(kind, id)
  local f = redis.call("HMGET", keys.task(id), "state", "timeout", "start", "fn", "ttl")
  if kind == "t" then
    return f[2] and (f[1] == "waiting" or f[1] == "ready" or f[1] == "assigned")
  end
  if kind == "g" then
    -- A gate; one of an earlier release only while it is closed.
    return f[1] and not f[4] and (f[1] == "waiting" or not f[5])
  end
  return kind == "w" and f[1] == "waiting" and f[3]
end

local function timer(index, member, note)
  local kind, id = string.match(member, "^(%a):(.+)$")
  if not kind or not needs(kind, id) then
    note("stray", "the timer " .. member .. " is of no task that needs it",
      drop(index, member))
  end
end

local function unsettled(index, id, note)
  local state = redis.call("HGET", keys.task(id), "state")
  if not state or not states.is_ended(state) then
    note("stray", id .. " has not ended and has nothing to tell", drop(index, id))
  end
end

local function idle_function(index, digest, note)
  local count = redis.call("HGET", keys.fn(digest), "count")
  if count ~= "0" then
    note("stray", "the function " .. digest .. (count and " is needed" or " is no more"),
      drop(index, digest))
  end
end

local function engine(index, uuid, note)
  if redis.call("EXISTS", keys.engine(uuid)) == 0 then
    note("stray", "there is no engine " .. uuid, drop(index, uuid))
  end
end

local function free(index, uuid, note)
  local queue = string.match(index, "^free:(.+)$")
  local queues = redis.call("HGET", keys.engine(uuid), "queues")
  if not queues then
    engine(index, uuid, note)
  elseif not require("lib.queues").has(queues, queue) then
    note("stray", "the engine " .. uuid .. " does not serve " .. queue, drop(index, uuid))
  end
end

-- An entry of those that ended with a retention of their own.
local function latest(index, id, note)
  local f = redis.call("HMGET", keys.task(id), "state", "ttl")
  if index ~= "latest:" .. (f[1] or "") or not f[2] then
    note("stray", id .. " did not end so with a retention of its own", drop(index, id))
  end
end

local BY_INDEX = {
  timers = timer, unsettled = unsettled, ["functions:idle"] = idle_function,
  engines = engine, unranked = engine, labels = engine,
}

local function holds_tasks(index)
  return index == "waiting" or string.find(index, "^ready:") or string.find(index, "^ended:")
    or string.find(index, "^engine:[^:]+:held$")
    or string.find(index, "^engine:[^:]+:assigned$")
end

-- "index member".
local function look(name, note)
  local index, member = string.match(name, "^(%S+) (.+)$")
  if not index or not where.stands_in(keys.named(index), member) then
    -- It has left meanwhile.
    return
  elseif BY_INDEX[index] then
    BY_INDEX[index](index, member, note)
  elseif string.find(index, "^free:") then
    free(index, member, note)
  elseif string.find(index, "^latest:") then
    latest(index, member, note)
  elseif holds_tasks(index) then
    task_entry(index, member, note)
  end
end

return {
  look = look,
}
