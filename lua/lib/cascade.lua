-- cascade: tell the dependents of tasks that have ended, and their dependents in turn.
--
-- A worklist in bounded pieces: what a script does not manage is left in R:unsettled, for
-- the next turn or sweep. An entry of `dependents` is consumed by the script that acts on
-- it, so each is told once.

local hold = require("lib.hold")
local keys = require("lib.keys")
local rare = require("lib.rare")
local states = require("lib.states")

-- Most dependents told in one script: with 64 taken and ended (lib/take.lua) it takes some
-- 6 ms. Fewer make graphs slower, whose nodes are told several times.
local MOST = 100
local PIECE = 100

-- It is ready already, and one more engine may run it.
local function move(opened, task, score, name)
  local before = task.class or ""
  if redis.call("ZREM", keys.ready(task.queue or "default", before), task.id) == 1 then
    if before ~= "" then
      require("lib.class").left(task.queue or "default", 1)
    end
  elseif not hold.take_back(opened, task) then
    return
  end
  hold.note(opened, task, task.id, score, name)
end

-- Find the engine it ran on, for those that are to follow it.
local function locate(member)
  if member.label == nil then
    local engine = redis.call("HGET", keys.task(member.id), "engine")
    member.label = string.match(engine or "", "^%d+") or false
  end
end

-- Seldom: how many successes a task waits for, and its queue, if it may run anywhere and
-- waits for nothing else, as "!" says. Returns 0 if it does not wait at all: an engine
-- took it along, and may have ended it.
local function left_of(key)
  local f = redis.call("HMGET", key, "state", "na", "queue")
  if f[1] ~= "waiting" then
    if f[2] then
      redis.call("HDEL", key, "na")
    end
    return 0
  end
  return tonumber(string.match(f[2] or "", "^as:(%d+)!$")), f[3]
end

-- Write how many members are left of a task that was counted down; of all of them without
-- an id.
local function write_count(opened, id)
  local counted = opened.counted
  if not id then
    for one in pairs(counted or {}) do
      write_count(opened, one)
    end
  elseif counted and counted[id] then
    redis.call("HSET", keys.task(id), "na", "as:" .. counted[id] .. "!")
    counted[id] = nil
  end
end

-- The common case: one success fewer to wait for. Several of them are often heard of in
-- one script, so the record is read once and written by the end. Returns whether it was
-- that; lib/depend.lua does the rest.
local function count_down(opened, id, score, member)
  if member.state ~= "completed" or rare.is(opened, "r") then
    return false
  end
  local key, counted = keys.task(id), opened.counted
  local left, queue = counted and counted[id]
  if left then
    queue = opened.queues_of[id]
  else
    left, queue = left_of(key)
  end
  if not left or left == 0 then
    return left == 0
  elseif left > 1 then
    if not counted then
      opened.counted, opened.queues_of = {}, {}
    end
    opened.counted[id], opened.queues_of[id] = left - 1, queue or nil
    return true
  end
  hold.release_plain(opened, id, score, queue)
  redis.call("HDEL", key, "na")
  if counted then
    counted[id] = nil
  end
  return true
end

-- While an engine has a task, where else it may run matters only when it comes back. But
-- one that was taken along ends with what it waits for.
local function is_open(task, what)
  if task.state == "running" then
    return what == "never" and task.na ~= nil
  end
  return task.state ~= "assigned"
end

local function act(opened, ending, task, score, what, more)
  if not is_open(task, what) then
    return
  elseif task.state == "running" then
    require("lib.along").part(opened, task)
  end
  if what == "never" then
    require("lib.finish").task(opened, ending, task, "failed", "impossible", more)
  elseif what == "aborted" then
    require("lib.finish").task(opened, ending, task, "aborted", "aborted",
      "its graph was given up")
  elseif what == "ready" then
    move(opened, task, score, more)
  end
end

local function tell(opened, ending, member, entry, score)
  local letter, id = string.sub(entry, 1, 1), string.sub(entry, 2)
  if letter == "a" and count_down(opened, id, score, member) then
    return
  end
  write_count(opened, id)
  local depend = require("lib.depend")
  local task = depend.read(id)
  if not task or states.is_ended(task.state) then
    return
  end
  if letter == "f" then
    locate(member)
  end
  local what, more = depend.told(opened, task, letter, member)
  if what == "ready" and task.state == "waiting" then
    hold.release(opened, task, score, more)
    depend.save(task)
  elseif what then
    depend.save(task)
    act(opened, ending, task, score, what, more)
  end
end

-- Tell at most `most` dependents of one ended task; returns how many were told and
-- whether these were all.
local function tell_of(opened, ending, member, most)
  local dependents, done = keys.task(member.id, "dependents"), 0
  while done < most do
    local piece = math.min(PIECE, most - done)
    local entries = redis.call("ZPOPMIN", dependents, piece)
    for at = 1, #entries, 2 do
      tell(opened, ending, member, entries[at], entries[at + 1])
    end
    done = done + #entries / 2
    if #entries / 2 < piece then
      return done, true
    end
  end
  return done, redis.call("EXISTS", dependents) == 0
end

-- Tell the dependents of what has ended in this script, and of what ends as a result.
local function run(opened, ending, budget)
  hold.settle_in(opened)
  if opened.members then
    require("lib.depend").save_members(opened)
  end
  local left, at, parents, member = budget or MOST, 1, ending.parents, {}
  while at <= #parents do
    local done, all = 0, false
    member.id, member.state, member.label = parents[at], parents[at + 1], nil
    if left > 0 then
      done, all = tell_of(opened, ending, member, left)
    end
    left = left - done
    if not all then
      redis.call("ZADD", keys.unsettled, opened.stamp, parents[at])
      rare.set(opened, "u")
      require("lib.timers").alarm(0)
    end
    at = at + 2
  end
  ending.parents = {}
  write_count(opened)
  hold.flush(opened)
  return left
end

-- Continue what earlier scripts left; returns what is left of the budget.
local function resume(opened, ending, budget)
  local left = budget or MOST
  for _, id in ipairs(redis.call("ZRANGE", keys.unsettled, 0, PIECE - 1)) do
    if left <= 0 then
      break
    end
    local state = redis.call("HGET", keys.task(id), "state")
    local done, all = 0, true
    if state and states.is_ended(state) then
      done, all = tell_of(opened, ending, { id = id, state = state }, left)
    end
    left = left - math.max(1, done)
    if all then
      redis.call("ZREM", keys.unsettled, id)
    end
  end
  left = run(opened, ending, math.max(0, left))
  if redis.call("EXISTS", keys.unsettled) == 0 then
    rare.clear(opened, "u")
  end
  return left
end

return {
  run = run,
  resume = resume,
}
