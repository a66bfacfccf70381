-- again: find another engine for tasks that one had, or was to have.
--
-- MOVES    running>ready running>waiting ready>waiting

local class = require("lib.class")
local depend = require("lib.depend")
local finish = require("lib.finish")
local hold = require("lib.hold")
local keys = require("lib.keys")
local place = require("lib.place")
local record = require("lib.record")
local states = require("lib.states")
local timers = require("lib.timers")

-- Let the waiting budget run again.
local function resume_budget(opened, task)
  if task.timeout then
    timers.set(opened, "t", task.id, tonumber(task.left or task.timeout))
  end
end

-- No engine may take it any more. What went wrong last is the more useful half of the
-- reason.
local function give_up(opened, ending, task, why, last)
  local reason = last and last .. " (" .. why .. ")" or why
  finish.task(opened, ending, task, "failed", "impossible", reason)
end

local function wait(task, score)
  redis.call("HSET", record.key(task.id), "state", "waiting")
  task.state = "waiting"
  redis.call("ZADD", keys.waiting, score, task.id)
end

-- Seldom: an engine gives back, unbegun, a task with this score. Returns whether it still
-- waits for another, as it was taken along (lib/along.lua), and so waits again.
local function wait_again(id, score)
  local key = keys.task(id)
  if redis.call("HEXISTS", key, "na") == 0 then
    return false
  end
  states.check("running", "waiting")
  redis.call("HDEL", key, "engine", "token", "started")
  wait({ id = id }, score)
  return true
end

-- The engine that a ready task was to follow is gone, but others may still qualify.
local function hold_back(task, score)
  states.check("ready", "waiting")
  wait(task, score)
end

-- Does it stand in a line whose tasks are offered by the end of this script, the best
-- first? Of what the script has released some may be better.
local function joins(opened, task, name)
  return hold.gathers(opened)
    and class.line_of(task.queue or "default", name) ~= class.PICKY
end

-- Give a ready task in no index an engine with room, never `except`, or its place in a
-- line. Returns false if it has to wait in a line.
local function seat(opened, ending, task, score, except, last)
  local name, why = depend.find_class(opened, task)
  if not name then
    -- It is in no line.
    task.class = nil
    give_up(opened, ending, task, why, last)
    return true
  elseif name == "wait" then
    hold_back(task, score)
    return true
  end
  if not joins(opened, task, name)
    and place.assign(opened, task.queue or "default", task.id, score, name, except) then
    return true
  end
  if except then
    -- Nor may that one take it from the line in this script.
    opened.spared = opened.spared or {}
    opened.spared[task.id] = except
  end
  hold.note(opened, task, task.id, score, name)
  return false
end

-- Note in the record that this engine refused the task, or must not retry it. What a
-- function requires is noted with the function already.
local function shun(task, one)
  if one.by ~= "require" then
    depend.put(task, "not", require("lib.ranges").with(task["not"] or "", tonumber(one.shun)))
  end
end

-- An engine that only gave it back is not its engine.
local function forget_engine(task)
  depend.drop(task, "engine")
  depend.drop(task, "token")
  depend.drop(task, "started")
end

-- Seldom: it is to wait for the backoff; and if it was taken along and lost with what it
-- waits for, for that.
local function wait_for(opened, task, pause)
  if task.na then
    -- It may be bound to more now: no longer "!".
    depend.put(task, "na", (string.gsub(task.na, "!", "")))
  end
  if pause and pause > 0 then
    depend.put(task, "start", string.format("%.0f", opened.stamp + pause))
    timers.set(opened, "w", task.id, pause)
  end
end

-- Note in the record what its engine, or the loss of that, says of it.
local function note_outcome(task, one)
  for at = 1, #one.fields, 2 do
    depend.put(task, one.fields[at], one.fields[at + 1])
  end
  if one.unbegun then
    forget_engine(task)
  end
  if one.tried and not string.find(task.marks or "", "f", 1, true) then
    depend.put(task, "marks", (task.marks or "") .. "f")
  end
  if one.shun then
    shun(task, one)
  end
end

-- An attempt failed, or the engine refused the task or gave it back: it becomes ready at
-- its old place in the line, or after a backoff. Another engine with room gets it at
-- once, never `except`. The caller has removed it from its engine's set; one that was
-- only `placed` there is ready already. Returns false if it has to wait in a line.
local function one_back(opened, ending, one, except)
  if one.folded then
    -- It stays on the sheet, as it was submitted.
    states.check("running", "ready")
    return seat(opened, ending, record.unbegin(one.id), one.score, except)
  end
  local task = depend.read(one.id)
  if one.placed then
    return seat(opened, ending, task, one.score, except)
  end
  note_outcome(task, one)
  if task.na or one.pause and one.pause > 0 then
    states.check("running", "waiting")
    wait_for(opened, task, one.pause)
    depend.save(task)
    wait(task, one.score)
    return true
  end
  states.check("running", "ready")
  depend.put(task, "state", "ready")
  depend.save(task)
  resume_budget(opened, task)
  return seat(opened, ending, task, one.score, except, one.last)
end

-- Put the collected ones back. Returns how many found no engine at once and may be
-- retried by the one that had them.
local function put_back(opened, ending, collected, except)
  local waiting = 0
  -- Others are offered the best first, whatever its outcome here.
  table.sort(collected, function(one, other)
    return tonumber(one.score) < tonumber(other.score)
  end)
  for _, one in ipairs(collected) do
    if not one_back(opened, ending, one, except) and not one.shun then
      waiting = waiting + 1
    end
  end
  hold.flush(opened, not hold.gathers(opened))
  return waiting
end

-- Seat ready tasks that were placed on an engine, or bound to it: flat id, score ...
local function seat_all(opened, ending, placed, except)
  for at = 1, #placed, 2 do
    seat(opened, ending, depend.read(placed[at]), placed[at + 1], except)
  end
  hold.flush(opened, not hold.gathers(opened))
end

-- Seat tasks found in the line of an engine that cannot run them, or end them if no other
-- engine may take them either.
local function rescue(opened, ending)
  local stranded = opened.stranded
  opened.stranded = nil
  seat_all(opened, ending, stranded)
end

-- Seat at most `count` tasks of a class that has no engines any more, or that is to be
-- looked at again. Returns how many.
local function reseat(opened, ending, queue, name, count)
  local popped = redis.call("ZPOPMIN", keys.ready(queue, name), count)
  if #popped == 0 then
    return 0
  end
  class.left(queue, #popped / 2)
  seat_all(opened, ending, popped)
  return #popped / 2
end

return {
  wait_again = wait_again,
  resume_budget = resume_budget,
  hold_back = hold_back,
  put_back = put_back,
  rescue = rescue,
  seat_all = seat_all,
  reseat = reseat,
}
