-- due: fire timers whose time has come.

local again = require("lib.again")
local depend = require("lib.depend")
local finish = require("lib.finish")
local hold = require("lib.hold")
local keys = require("lib.keys")

local function time_of_gate(opened, ending, task)
  require("lib.gate").due(opened, ending, task)
end

-- It waited too long. While an engine has it, its budget stands still.
local function time_out(opened, ending, task)
  if task.state == "waiting" or task.state == "ready" or task.state == "assigned" then
    finish.task(opened, ending, task, "failed", "timeout",
      task.state == "waiting" and "it waited too long for what it depends on"
      or "it waited too long for an engine")
  end
end

-- Its delay, or the backoff before its next attempt, is over.
local function wake(opened, ending, task)
  if task.state ~= "waiting" or not task.start then
    return
  end
  depend.drop(task, "start")
  local score = redis.call("ZSCORE", keys.waiting, task.id)
  again.resume_budget(opened, task)
  local what, more = depend.judge(opened, task)
  if what == "ready" then
    hold.release(opened, task, score, more)
  end
  depend.save(task)
  if what == "never" then
    finish.task(opened, ending, task, "failed", "impossible", more)
  end
end

local KINDS = { g = time_of_gate, t = time_out, w = wake }

-- Fire at most `count` timers that are due; returns how many.
local function fire(opened, ending, count)
  local fired = redis.call("ZRANGEBYSCORE", keys.timers, "-inf", opened.now, "LIMIT", 0, count)
  for _, member in ipairs(fired) do
    redis.call("ZREM", keys.timers, member)
    local task = depend.read(string.sub(member, 3))
    if task then
      KINDS[string.sub(member, 1, 1)](opened, ending, task)
    end
  end
  return #fired
end

return {
  fire = fire,
}
