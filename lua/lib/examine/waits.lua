-- waits: will what a task waits for come, and will somebody tell it?

local depend = require("lib.depend")
local gate = require("lib.gate")
local hold = require("lib.hold")
local keys = require("lib.keys")
local record = require("lib.record")
local settle = require("lib.settle")
local states = require("lib.states")
local timers = require("lib.timers")
local where = require("lib.examine.where")

-- Members of larger sets are not checked.
local MOST_MEMBERS = 1000
local COUNTERS = { after = "na", follow = "nf" }

local function set_of(f, name)
  local text = f[name] and record.part(f.id, name, f[name])
  return text and depend.parse(text)
end

-- How many members will tell the task; nil if there are too many to check.
local function count(opened, f, name)
  local set = set_of(f, name)
  if not set then
    return 0
  elseif #set.ids > MOST_MEMBERS then
    return nil
  end
  opened.looks = opened.looks + #set.ids
  local told, entry = 0, string.sub(name, 1, 1) .. f.id
  for _, id in ipairs(set.ids) do
    if redis.call("ZSCORE", keys.task(id, "dependents"), entry) then
      told = told + 1
    end
  end
  return told
end

-- The gate in front of it may have opened or been given up. Returns whether it was given
-- up.
local function stand_behind(opened, task)
  local known = task.gate and depend.member_of(opened, task.gate)
  if known and not states.is_ended(known.state) then
    depend.join(task, "g", known)
  elseif task.gate then
    depend.drop(task, "gate")
    return not known or known.state ~= "completed"
  end
  return false
end

-- Join all members again.
local function ask_again(opened, task)
  for name in pairs(COUNTERS) do
    local set = set_of(task, name)
    if set then
      local entry = string.sub(name, 1, 1) .. task.id
      for _, id in ipairs(set.ids) do
        redis.call("ZREM", keys.task(id, "dependents"), entry)
      end
      depend.set_open(task, name, set.letters, 0)
      local why, verdict = depend.look(opened, task, name, set)
      if why then
        return verdict, why
      end
    end
  end
end

-- Judge a waiting task again, as if it had just entered.
local function judge(opened, id)
  local task = depend.read(id)
  task.score = redis.call("ZSCORE", keys.waiting, id)
  if not task.score then
    -- It is mended already, and no longer waiting.
    return
  end
  local ending = settle.begin(opened)
  if stand_behind(opened, task) then
    require("lib.finish").task(opened, ending, task, "aborted", "aborted",
      "its graph was given up")
    where.finish(opened, ending)
    return
  end
  local verdict, why = ask_again(opened, task)
  local what, more
  if not verdict then
    what, more = depend.judge(opened, task)
  end
  if what == "ready" then
    hold.release(opened, task, task.score, more)
  end
  depend.save(task)
  if verdict or what == "never" then
    require("lib.finish").task(opened, ending, task, "failed", verdict or "impossible",
      why or more)
  end
  where.finish(opened, ending)
end

local function waits_for_nothing(f)
  return not (f.na or f.nf or f.gate or f.start)
end

local function look_at_sets(opened, f, note)
  local function again()
    judge(opened, f.id)
  end
  for name, counter in pairs(COUNTERS) do
    local left = tonumber(string.match(f[counter] or "", ":(%d+)"))
    local told = left and count(opened, f, name)
    if told and told ~= left then
      note("counter", string.format("%s has %d to come, and %d will", name, left, told),
        f.state == "waiting" and again or nil)
      return
    end
  end
  if f.state == "waiting" and waits_for_nothing(f) then
    note("nothing", "it waits for nothing", again)
  end
end

local function look_at_gate_entry(opened, f, note)
  if f.state == "waiting" and f.gate
    and not redis.call("ZSCORE", keys.task(f.gate, "dependents"), "g" .. f.id) then
    note("gate", "the gate " .. f.gate .. " will not tell it", function()
      judge(opened, f.id)
    end)
  end
end

local function look_at_timers(opened, f, note)
  if f.start and not redis.call("ZSCORE", keys.timers, "w:" .. f.id) then
    note("timer", "nobody wakes it", function()
      timers.set(opened, "w", f.id, math.max(0, tonumber(f.start) - opened.stamp))
    end)
  end
  local counts = f.timeout and f.state ~= "running" and not f.start
  if counts and not redis.call("ZSCORE", keys.timers, "t:" .. f.id) then
    note("timer", "its time to wait does not run out", function()
      timers.set(opened, "t", f.id, tonumber(f.left or f.timeout))
    end)
  end
end

local function look(opened, f, note)
  look_at_sets(opened, f, note)
  look_at_gate_entry(opened, f, note)
  look_at_timers(opened, f, note)
end

-- A gate must be given up if nobody opens it, and be forgotten. One of an earlier release
-- is forgotten like a task.
local function look_at_gate(opened, f, note)
  if f.ttl and f.state ~= "waiting" then
    return
  elseif not redis.call("ZSCORE", keys.timers, "g:" .. f.id) then
    note("timer", "the gate is never given up or forgotten", function()
      timers.set(opened, "g", f.id, f.state == "waiting" and 0 or gate.KEPT)
    end)
  end
end

return {
  look = look,
  look_at_gate = look_at_gate,
}
