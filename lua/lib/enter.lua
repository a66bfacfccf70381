-- enter: a new task that has to wait, or that not every engine may run.
--
-- Plain tasks take the short path, lib/line.lua.

local depend = require("lib.depend")
local finish = require("lib.finish")
local hold = require("lib.hold")
local keys = require("lib.keys")
local record = require("lib.record")
local states = require("lib.states")
local timers = require("lib.timers")

local function stand_behind(opened, task)
  local known = depend.member_of(opened, task.gate)
  if known and not states.is_ended(known.state) then
    depend.join(task, "g", known)
    return nil
  end
  -- It was opened or given up before this call.
  task.gate = nil
  return (not known or known.state ~= "completed") and "aborted" or nil
end

-- The members of a set. Those of a task that was to be told them `later`, and whose gate
-- is open already, were not looked at when it was parsed.
local function all_of(task, name, set)
  if task.later then
    return depend.parse(task[name]) or set
  end
  return set
end

-- Look at everything that the task depends on. `sets` has `after` and `follow`, parsed;
-- with `later`, `link` adds their members, and what is to be kept. Returns the verdict if
-- it can never run, and why.
local function look(opened, task, sets)
  local later = task.later and task.gate
  task.refs = not later and task.refs and depend.keep_parents(opened, task.refs) or nil
  for _, name in ipairs({ "after", "follow" }) do
    local set = sets[name]
    if set then
      depend.set_open(task, name, set.letters, 0)
      local why, verdict
      if not later then
        why, verdict = depend.look(opened, task, name, all_of(task, name, set))
      end
      if why then
        return verdict, why
      end
    end
  end
end

-- Record fields that are the task's own.
local function set_marks(task)
  local marks = task.marks or ""
  if task.timeout then
    marks = marks .. "o"
  end
  if task.refs then
    marks = marks .. "r"
  end
  if marks ~= "" then
    task.marks = marks
    depend.put(task, "marks", marks)
  end
end

local function write(task, fields)
  local function add(name, value)
    if value then
      task.write[#task.write + 1], task.write[#task.write + 2] = name, value
    end
  end
  for _, name in ipairs({ "after", "follow", "targets", "refs" }) do
    add(name, task[name] and record.fit(task.id, name, task[name]))
  end
  add("timeout", task.timeout)
  add("gate", task.gate)
  set_marks(task)
  for _, value in ipairs(fields) do
    task.write[#task.write + 1] = value
  end
  redis.call("HSET", keys.task(task.id), "state", "waiting", unpack(task.write))
  -- Fields that were dropped meanwhile were never written.
  task.write, task.drop = {}, {}
end

local function start(opened, task)
  if task.start then
    local ahead = task.start - opened.stamp
    if ahead > 0 then
      depend.put(task, "start", string.format("%.0f", task.start))
      timers.set(opened, "w", task.id, ahead)
    else
      task.start = nil
    end
  end
  if task.timeout and not task.start then
    timers.set(opened, "t", task.id, tonumber(task.timeout))
  end
end

-- Enter a task. `task` has id, score, queue, fn and the flags of lib/flags.lua that it
-- has; `fields` are further fields of its record, flat.
local function enter(opened, ending, task, sets, fields)
  task.state, task.write, task.drop = "waiting", {}, {}
  local aborted = task.gate and stand_behind(opened, task)
  local verdict, why = look(opened, task, sets)
  start(opened, task)
  local what, more
  if not verdict and not aborted then
    what, more = depend.judge(opened, task)
  end
  write(task, fields)
  hold.enter(opened, task.id, task.score)
  if what == "wait" then
    depend.remember(opened, task.id, task.marks)
    return
  end
  hold.settle_in(opened)
  if aborted then
    finish.task(opened, ending, task, "aborted", "aborted", "its graph was given up")
  elseif verdict then
    finish.task(opened, ending, task, "failed", verdict, why)
  elseif what == "never" then
    finish.task(opened, ending, task, "failed", "impossible", more)
  elseif what == "ready" then
    hold.release(opened, task, task.score, more)
    depend.save(task)
  end
end

return {
  enter = enter,
}
