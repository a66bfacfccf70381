-- finish: the hub itself ends a task, in whatever state it is.

local class = require("lib.class")
local engines = require("lib.engines")
local keys = require("lib.keys")
local record = require("lib.record")
local settle = require("lib.settle")
local timers = require("lib.timers")

-- The longest value in a compact record.
local LONGEST = 64

-- Remove a task from its state's index. A running one has left its engine's already.
local function remove(opened, task)
  local id = task.id
  if task.state == "waiting" then
    redis.call("ZREM", keys.waiting, id)
    if task.start then
      timers.clear("w", id)
    end
  elseif task.state == "ready" then
    local name = task.class or ""
    if redis.call("ZREM", keys.ready(task.queue or "default", name), id) == 1
      and name ~= "" then
      class.left(task.queue or "default", 1)
    end
  elseif task.state == "assigned" then
    local uuid = engines.uuid_of(task.engine)
    redis.call("ZREM", keys.engine(uuid, "assigned"), id)
    local engine = engines.find(uuid)
    if engine then
      engines.show(opened, engine)
    end
  end
end

-- Its engine is where it last ran, if it ever did; not where it was to run next, nor one
-- that gave it back.
local function set_engine(task)
  if task.ran then
    redis.call("HSET", record.key(task.id), "engine", task.ran)
  elseif task.engine then
    redis.call("HDEL", record.key(task.id), "engine", "token", "started")
    task.token = nil
  end
end

-- End a task, as read by lib/depend.lua. `to` is failed or aborted; the reason is for
-- people.
local function task_ends(opened, ending, task, to, verdict, reason)
  if task.gate == task.id then
    require("lib.gate").finish(opened, ending, task, to, reason)
    return
  end
  remove(opened, task)
  settle.leave_queue(ending, task.queue or "default")
  local marks = task.marks or ""
  if string.find(marks, "o", 1, true) then
    timers.clear("t", task.id)
  end
  set_engine(task)
  reason = string.sub(reason, 1, LONGEST)
  redis.call("HDEL", record.key(task.id), "na", "nf", "gate", "start", "class")
  redis.call("HSET", keys.task(task.id), "state", to, "verdict", verdict,
    "ended", opened.stamp, "reason", reason)
  settle.outcome(ending, task.id, task.state, to, task.token or "", marks,
    "v", verdict .. " " .. reason)
  task.state = to
end

return {
  task = task_ends,
}
